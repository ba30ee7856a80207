/**
 * Redis as the primary has it: writes, import, export, and the watch. Any writable key under the prefix is a mapping,
 * whoever set it. Replication is asynchronous: with `waitReplicas` a write says SOURCE_NOT_REPLICATED when it is stored
 * but not yet where a failover would find it. A write that gets no answer in time (SOURCE_TIMEOUT) may still happen.
 *
 * An import writes first and removes last, so that no account is without a mapping in between; Redis has no transaction
 * over millions of keys, so an import that fails half-way stays half done, and doing it again completes it.
 */
import { Cluster } from 'ioredis'
import { parseRedisUrl, type RedisTarget } from '../../config/redis-url.ts'
import { SignalboxError } from '../../errors.ts'
import { within } from '../deadline.ts'
import { checkEntry, onlyInStores } from '../entry.ts'
import { leaseText, readLease } from '../lease.ts'
import type { LeaseHolder } from '../lease.ts'
import { Fingerprints } from '../fingerprints.ts'
import { compareBytes, smallestBehind } from '../page.ts'
import type { Exchanged, ImportOptions, ImportResult, Mapping, MappingSource, ReloadResult } from '../source.ts'
import { spool } from '../spool.ts'
import { summarise } from '../summary.ts'
import { Tally } from '../tally.ts'
import { makeWatchClient, RedisConnection } from './connection.ts'
import { redisFailure, replyCode } from './failure.ts'
import { Keyspace, LEASE_PREFIX } from './keyspace.ts'
import { RedisLookup, type RedisLookupOptions } from './lookup.ts'
import { RedisWatch, type WatchedServer, type WatchState } from './watch.ts'

export interface RedisSourceOptions extends Omit<RedisLookupOptions, 'connections'> {
  /** See what others change. */
  readonly watch: boolean
  /** Milliseconds between two looks at the watch (cluster.heartbeat). */
  readonly heartbeat: number
  /** Replicas that must confirm a write; 0: none. */
  readonly waitReplicas: number
}

type Listener = Parameters<MappingSource['onChange']>[0]

/** A missing mapping and an empty one are the same. */
const EXCHANGE = `local is = redis.call('GET', KEYS[1])
if (is or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1`
/** Nobody ends a lease that has become somebody else's. */
const END_LEASE = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`
/** How often a lease that ends while we look at it is tried for again. */
const LEASE_TRIES = 5

/** Connects, and starts to watch. Rejects with CONFIG_INVALID for the URL, SOURCE_UNAVAILABLE unless `allowUnavailable`. */
export async function openRedisSource(options: RedisSourceOptions): Promise<RedisSource> {
  const source = new RedisSource(options)
  await source.open()
  return source
}

export class RedisSource implements MappingSource {
  readonly kind = 'redis'
  readonly writable = true
  readonly #options: RedisSourceOptions
  readonly #target: RedisTarget
  readonly #lookup: RedisLookup
  readonly #writes: RedisConnection
  readonly #watch: RedisWatch | undefined
  #bulk: { connection: RedisConnection; keyspace: Keyspace } | undefined
  #listener: Listener | undefined
  /** Ours, as they are stored, by id and account. */
  readonly #leases = new Map<string, string>()
  readonly #underWay = new Set<Promise<unknown>>()
  #closed = false

  constructor(options: RedisSourceOptions) {
    this.#options = options
    this.#target = parseRedisUrl(options.url)
    this.#lookup = new RedisLookup({ ...options, connections: 1 })
    this.#writes = this.#connect('signalbox-writes', false)
    this.#watch = options.watch ? this.#makeWatch() : undefined
  }

  async open(): Promise<void> {
    const { lookupTimeout, allowUnavailable } = this.#options
    const writes = this.#writes.whenReady(lookupTimeout, false)
    try {
      await Promise.all([this.#lookup.open(), writes])
    } catch (error) {
      await Promise.allSettled([writes])
      if (allowUnavailable !== true) {
        await this.close()
        throw error
      }
    }
    await this.#watch?.open()
  }

  /** Whether changes that others make are seen at once. */
  get watch(): WatchState {
    return this.#watch?.state ?? 'off'
  }

  lookup(identifier: string): Promise<string | undefined> {
    return this.#lookup.lookup(identifier)
  }

  async put(identifier: string, destination: string): Promise<void> {
    checkEntry(identifier, destination)
    this.#refuseClosed()
    const { waitReplicas, keyPrefix } = this.#options
    const { commands } = this.#writes
    const key = keyPrefix + identifier
    if (waitReplicas === 0) {
      await this.#write('put', commands.set(key, destination))
      return
    }
    await this.#replicated(key, 'put', (pipeline) => pipeline.set(key, destination))
  }

  async delete(identifier: string): Promise<boolean> {
    this.#refuseClosed()
    const key = this.#options.keyPrefix + identifier
    if (this.#options.waitReplicas === 0) return (await this.#write('delete', this.#writes.commands.del(key))) > 0
    return (await this.#replicated(key, 'delete', (pipeline) => pipeline.del(key))) !== 0
  }

  async exchange(identifier: string, { from = '', to }: Exchanged): Promise<boolean> {
    if (to !== undefined) checkEntry(identifier, to)
    this.#refuseClosed()
    const key = this.#options.keyPrefix + identifier
    if (this.#options.waitReplicas === 0) return (await this.#write('exchange', this.#writes.commands.eval(EXCHANGE, 1, key, from, to ?? ''))) === 1
    return (await this.#replicated(key, 'exchange', (pipeline) => pipeline.eval(EXCHANGE, 1, key, from, to ?? ''))) === 1
  }

  async lease(identifier: string, holder: LeaseHolder, ms: number): Promise<LeaseHolder | undefined> {
    this.#refuseClosed()
    const { commands } = this.#writes
    const key = this.#leaseKey(identifier)
    const own = `${holder.id} ${identifier}`
    for (let tries = 0; tries < LEASE_TRIES; tries++) {
      const text = leaseText(holder)
      // Before it is known whether it could be taken: an answer that never comes may have been a yes.
      this.#leases.set(own, text)
      if ((await this.#write('lease', commands.set(key, text, 'PX', Math.ceil(ms), 'NX'))) === 'OK') return undefined
      this.#leases.delete(own)
      const held = await this.#write('lease', commands.get(key))
      if (held !== null) return readLease(held)
    }
    throw new SignalboxError('SOURCE_UNAVAILABLE', 'Redis: lease: it keeps changing hands')
  }

  async endLease(identifier: string, id: string): Promise<void> {
    const own = `${id} ${identifier}`
    const text = this.#leases.get(own)
    if (text === undefined) return
    this.#leases.delete(own)
    await this.#write('end of a lease', this.#writes.commands.eval(END_LEASE, 1, this.#leaseKey(identifier), text))
  }

  /** Nothing is kept here that could be re-read. */
  reload(): Promise<ReloadResult> {
    return Promise.resolve({ added: 0, changed: 0, removed: 0, invalidate: { all: false, identifiers: [] }, warnings: [] })
  }

  /** In no order, one entry possibly twice; ordered and each once when `limit` is given (which looks at all keys). */
  async *export(options: { prefix?: string; destination?: string; after?: string; limit?: number } = {}): AsyncGenerator<Mapping> {
    const { prefix, destination, after, limit } = options
    const { keyspace } = await this.#openBulk()
    const wanted = filter(keyspace.mappings(prefix), destination, after)
    if (limit === undefined) yield* wanted
    else yield* await smallestBehind(wanted, after ?? '', limit)
  }

  /**
   * Merges, or replaces all keys under the prefix. All of it is read and checked before anything changes: a mistake
   * (SOURCE_INVALID) or a broken stream changes nothing.
   */
  async import(
    mappings: AsyncIterable<Mapping> | Iterable<Mapping>,
    mode: 'merge' | 'replace',
    { dryRun = false, begun, progress }: ImportOptions = {},
  ): Promise<ImportResult> {
    if (mode === 'replace' && this.#options.keyPrefix === '') {
      throw new SignalboxError('SOURCE_READ_ONLY', 'Redis: replacing everything needs a key_prefix: without one it would remove foreign keys')
    }
    await using spooled = await spool(mappings)
    const { connection, keyspace } = await this.#openBulk()
    const { keyPrefix } = this.#options
    const { commands } = connection
    const tally = new Tally()
    const imported = mode === 'replace' || dryRun ? new Fingerprints() : undefined
    let done = 0
    for await (const batch of spooled.batches()) {
      const before = await keyspace.destinations(batch.map(({ identifier }) => identifier))
      const writes: Promise<unknown>[] = []
      if (!dryRun) begun?.()
      connection.gather()
      for (const [index, { identifier, destination }] of batch.entries()) {
        const isNew = imported?.add(identifier)
        // What was not written the first time would be counted again.
        if (dryRun && isNew === false) continue
        if (before[index] !== destination && !dryRun) writes.push(commands.set(keyPrefix + identifier, destination))
        tally.count(identifier, before[index], destination)
      }
      await keyspace.step('import', Promise.all(writes))
      progress?.((done += batch.length))
    }
    if (mode === 'replace' && imported !== undefined) {
      await (dryRun ? countOthers(keyspace, imported, tally) : this.#removeOthers(keyspace, connection, imported, tally))
    }
    if (!dryRun) await this.#waitForReplicas(keyspace)
    return tally.result()
  }

  async summary(): Promise<ReadonlyMap<string, number>> {
    return summarise((await this.#openBulk()).keyspace.mappings())
  }

  onChange(listener: Listener): void {
    this.#listener = listener
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#watch?.close()
    // What was accepted is brought to its end; each has its deadline.
    await Promise.allSettled(this.#underWay)
    this.#bulk?.connection.close()
    this.#writes.close()
    await this.#lookup.close()
  }

  #leaseKey(identifier: string): string {
    return `${LEASE_PREFIX}${this.#options.keyPrefix}${identifier}`
  }

  #refuseClosed(): void {
    if (this.#closed) throw new SignalboxError('SOURCE_UNAVAILABLE', 'Redis: the source is closed')
  }

  async #removeOthers(keyspace: Keyspace, connection: RedisConnection, imported: Fingerprints, tally: Tally): Promise<void> {
    for await (const identifiers of keyspace.identifiers()) {
      const others = identifiers.filter((identifier) => !imported.has(identifier) && !onlyInStores(identifier))
      const before = await keyspace.destinations(others)
      connection.gather()
      const removed = await keyspace.step(
        'import',
        Promise.all(others.map((identifier) => connection.commands.del(this.#options.keyPrefix + identifier))),
      )
      for (const [index, identifier] of others.entries()) {
        // What was no mapping (another type) has gone too, and nothing of it may stay cached.
        if (removed[index] !== 0) tally.count(identifier, before[index] ?? '', undefined)
      }
    }
  }

  /** The command and WAIT on one connection, to the server that holds the key. Answers what the command did. */
  async #replicated(key: string, doing: string, add: (pipeline: ReturnType<Cluster['pipeline']>) => unknown): Promise<unknown> {
    const { waitReplicas } = this.#options
    const { commands } = this.#writes
    // In a cluster a pipeline goes to one server and is not redirected half-way: a plain command finds the way first.
    if (commands instanceof Cluster) await this.#write(doing, commands.exists(key))
    const pipeline = commands.pipeline()
    add(pipeline)
    pipeline.wait(waitReplicas, this.#waitMs())
    const [written, waited] = (await this.#write(doing, pipeline.exec())) ?? []
    if (written === undefined || written[0] !== null) throw redisFailure(written?.[0], doing)
    this.#checkReplicas(waited?.[0] ?? null, waited?.[1])
    return written[1]
  }

  async #waitForReplicas(keyspace: Keyspace): Promise<void> {
    const { waitReplicas } = this.#options
    if (waitReplicas === 0) return
    for (const node of keyspace.primaries()) {
      const confirmed = await keyspace.step('wait', node.wait(waitReplicas, this.#waitMs()))
      this.#checkReplicas(null, confirmed)
    }
  }

  #checkReplicas(error: Error | null, confirmed: unknown): void {
    const { waitReplicas } = this.#options
    if (error === null && Number(confirmed) >= waitReplicas) return
    const found = error === null ? `${String(confirmed)} of ${waitReplicas} replicas` : `WAIT: ${replyCode(error)}`
    throw new SignalboxError('SOURCE_NOT_REPLICATED', `Redis: written, not replicated: ${found}`)
  }

  /** The server must give up before we do, else nobody knows that the write itself was done. */
  #waitMs(): number {
    return Math.max(1, Math.floor(this.#options.lookupTimeout * 0.8))
  }

  async #write<T>(doing: string, command: Promise<T>): Promise<T> {
    const { clock, lookupTimeout } = this.#options
    const write = within(clock, lookupTimeout, `Redis: ${doing}`, command, () => this.#writes.remake(`no answer to ${doing}`))
    this.#underWay.add(write)
    try {
      return await write
    } catch (error) {
      const failure = redisFailure(error, doing)
      throw failure.code === 'SOURCE_UNAVAILABLE' && !this.#writes.ready ? this.#writes.unavailable() : failure
    } finally {
      this.#underWay.delete(write)
    }
  }

  /** A connection of its own, so that an export doesn't stand in the way of a write. Made when it is first needed. */
  async #openBulk(): Promise<{ connection: RedisConnection; keyspace: Keyspace }> {
    this.#refuseClosed()
    const { clock, keyPrefix, lookupTimeout } = this.#options
    if (this.#bulk === undefined) {
      const connection = this.#connect('signalbox-bulk', true)
      this.#bulk = { connection, keyspace: new Keyspace({ connection, keyPrefix, clock, stepTimeout: lookupTimeout }) }
    }
    await this.#bulk.connection.whenReady(lookupTimeout, true)
    return this.#bulk
  }

  #connect(name: string, pipelining: boolean): RedisConnection {
    const { clock, ca } = this.#options
    return new RedisConnection({ target: this.#target, clock, name, ca, pipelining })
  }

  #makeWatch(): RedisWatch {
    const { clock, log, heartbeat, keyPrefix } = this.#options
    return new RedisWatch({
      servers: () => this.#servers(),
      prefix: keyPrefix,
      clock,
      log,
      heartbeat,
      onChange: (change) => this.#listener?.(change),
    })
  }

  #servers(): WatchedServer[] {
    const { clock, ca } = this.#options
    const base = { target: this.#target, clock, ca }
    const { commands } = this.#writes
    if (!(commands instanceof Cluster)) {
      return [{ id: this.#target.text, connect: (name) => makeWatchClient({ ...base, name }) }]
    }
    return commands.nodes('master').map(({ options: { host = '', port = 0 } }) => ({
      id: `${host}:${port}`,
      connect: (name) => makeWatchClient({ ...base, name }, { host, port }),
    }))
  }
}

/** What a replacing import would remove. SCAN may give a key twice. */
async function countOthers(keyspace: Keyspace, imported: Fingerprints, tally: Tally): Promise<void> {
  for await (const identifiers of keyspace.identifiers()) {
    for (const identifier of identifiers) if (!onlyInStores(identifier) && imported.add(identifier)) tally.count(identifier, '', undefined)
  }
}

async function* filter(mappings: AsyncIterable<Mapping>, destination: string | undefined, after: string | undefined): AsyncGenerator<Mapping> {
  for await (const mapping of mappings) {
    if (destination !== undefined && mapping.destination !== destination) continue
    if (after !== undefined && compareBytes(mapping.identifier, after) <= 0) continue
    yield mapping
  }
}
