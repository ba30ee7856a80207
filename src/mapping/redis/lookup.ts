/**
 * Redis as a worker asks it: GET prefix + identifier, spread over a few connections, pipelined. A lookup
 * settles within its deadline whatever the server does. While no connection is up it fails at once: the cache has
 * something better than waiting. A connection that is lost under a lookup gives it one more try on another one.
 *
 * A key of another type, or a value longer than any destination's name, is not "no mapping": the account would be sent
 * to the default destination because of a slip. It is the store's failure (SOURCE_INVALID) and a warning names it.
 */
import type { Clock } from '../../clock.ts'
import { parseRedisUrl } from '../../config/redis-url.ts'
import { SignalboxError } from '../../errors.ts'
import { LOOKUPS_IN_FLIGHT, MAPPING_VALUE } from '../../limits.ts'
import { mappingUnreadable } from '../../observe/events.ts'
import { OnceAMinute, type SourceLog } from '../notice.ts'
import type { MappingLookup } from '../source.ts'
import { RedisConnection } from './connection.ts'
import { isReplyError, redisFailure } from './failure.ts'

export interface RedisLookupOptions {
  readonly url: string
  /** Stands before the identifier in a key. */
  readonly keyPrefix: string
  /** At least one. */
  readonly connections: number
  /** Milliseconds that one lookup may take. */
  readonly lookupTimeout: number
  readonly clock: Clock
  readonly log: SourceLog
  /** What a log may say of an account. Default: nothing. */
  readonly redact?: (account: string) => string
  /** Open although Redis is away; it is connected to as soon as it is there. */
  readonly allowUnavailable?: boolean
  /** PEM bundle that verifies rediss://; undefined: the system's store. */
  readonly ca?: string | undefined
}

/** Connects. Rejects with CONFIG_INVALID for the URL, SOURCE_UNAVAILABLE unless `allowUnavailable`. */
export async function openRedisLookup(options: RedisLookupOptions): Promise<MappingLookup> {
  const lookup = new RedisLookup(options)
  await lookup.open()
  return lookup
}

/** A lookup under way. */
interface Asked {
  readonly identifier: string
  readonly key: string
  readonly resolve: (destination: string | undefined) => void
  readonly reject: (error: SignalboxError) => void
  done: boolean
}

export class RedisLookup implements MappingLookup {
  readonly #options: RedisLookupOptions
  readonly #connections: readonly RedisConnection[]
  readonly #notices: OnceAMinute
  #next = 0
  #current: RedisConnection | undefined
  /** Commands that Redis hasn't answered, those of lookups that have timed out included. */
  #inFlight = 0
  #open = 0
  #closed = false
  #drained: (() => void) | undefined

  constructor(options: RedisLookupOptions) {
    this.#options = options
    this.#notices = new OnceAMinute(options.clock)
    const target = parseRedisUrl(options.url)
    const made = { target, clock: options.clock, name: 'signalbox-lookup', ca: options.ca, pipelining: true }
    this.#connections = Array.from({ length: Math.max(1, options.connections) }, () => new RedisConnection(made))
  }

  /** Waits for the connections, and makes sure that the server answers (it may still be loading its data). */
  async open(): Promise<void> {
    const { lookupTimeout, allowUnavailable } = this.#options
    const all = this.#connections.map((connection) => connection.whenReady(lookupTimeout, false))
    try {
      await Promise.all(all)
      // The prefix alone is no mapping, but a key that every permission to look up covers.
      await this.lookup('')
    } catch (error) {
      if (allowUnavailable === true || (error instanceof SignalboxError && error.code === 'SOURCE_INVALID')) return
      await Promise.allSettled(all)
      await this.close()
      throw error
    }
  }

  lookup(identifier: string): Promise<string | undefined> {
    // Half a surrogate pair would be sent as U+FFFD, and so find somebody else.
    if (!this.#closed && !identifier.isWellFormed()) return Promise.resolve(undefined)
    return new Promise((resolve, reject) => {
      const connection = this.#pick()
      if (this.#closed) return reject(new SignalboxError('SOURCE_UNAVAILABLE', 'Redis: the source is closed'))
      if (connection === undefined) return reject(this.#unavailable())
      if (this.#inFlight >= LOOKUPS_IN_FLIGHT) {
        return reject(new SignalboxError('SOURCE_UNAVAILABLE', `Redis: ${LOOKUPS_IN_FLIGHT} lookups are under way already`))
      }
      const replies = connection.replies
      const timer = this.#options.clock.after(this.#options.lookupTimeout, () => {
        settled()
        reject(new SignalboxError('SOURCE_TIMEOUT', `Redis: no answer within ${this.#options.lookupTimeout} ms`))
        // Not a word since: the server stands still, or the network in between has forgotten the connection.
        if (connection.replies === replies) connection.remake('no answer to lookups')
      })
      const settled = (): void => {
        timer.cancel()
        asked.done = true
        if (--this.#open === 0) this.#drained?.()
      }
      const asked: Asked = {
        identifier,
        key: this.#options.keyPrefix + identifier,
        resolve: (destination) => {
          settled()
          resolve(destination)
        },
        reject: (error) => {
          settled()
          reject(error)
        },
        done: false,
      }
      this.#open++
      this.#ask(asked, connection, true)
    })
  }

  /** Lets lookups under way end (their deadline bounds it), then disconnects. */
  async close(): Promise<void> {
    this.#closed = true
    if (this.#open > 0) await new Promise<void>((resolve) => (this.#drained = resolve))
    for (const connection of this.#connections) connection.close()
  }

  #ask(asked: Asked, connection: RedisConnection, first: boolean): void {
    const cuts = connection.cuts
    this.#send(
      connection,
      () => connection.commands.get(asked.key),
      (value) => this.#answered(asked, value),
      (error: unknown) => {
        if (asked.done) return
        if (isReplyError(error)) return this.#fail(asked, error)
        const other = first ? this.#pick() : undefined
        if (other === undefined) return asked.reject(redisFailure(error, `the connection was lost (${connection.lastError})`))
        // Somebody's value was too long for the guard. Is it ours?
        if (connection.cuts > cuts) this.#askLength(asked, other)
        else this.#ask(asked, other, false)
      },
    )
  }

  #askLength(asked: Asked, connection: RedisConnection): void {
    this.#send(
      connection,
      () => connection.commands.strlen(asked.key),
      (length) => {
        if (asked.done) return
        if (length > MAPPING_VALUE) asked.reject(this.#unreadable(asked.identifier, `its value has ${length} bytes`))
        else this.#ask(asked, connection, false)
      },
      (error: unknown) => {
        if (!asked.done) this.#fail(asked, error)
      },
    )
  }

  #answered(asked: Asked, value: unknown): void {
    if (asked.done) return
    if (value === null || value === '') return asked.resolve(undefined)
    if (typeof value !== 'string') return asked.reject(this.#unreadable(asked.identifier, 'the answer is no string'))
    // A code unit takes at most three bytes: most values needn't be measured.
    if (value.length * 3 > MAPPING_VALUE && Buffer.byteLength(value) > MAPPING_VALUE) {
      return asked.reject(this.#unreadable(asked.identifier, `its value has ${Buffer.byteLength(value)} bytes`))
    }
    asked.resolve(value)
  }

  #fail(asked: Asked, error: unknown): void {
    const failure = redisFailure(error, 'lookup')
    asked.reject(failure.code === 'SOURCE_INVALID' ? this.#unreadable(asked.identifier, 'its key holds no string') : failure)
  }

  #unreadable(identifier: string, reason: string): SignalboxError {
    const { log, redact } = this.#options
    if (this.#notices.allows(identifier)) {
      mappingUnreadable(log, { reason, ...(redact === undefined ? {} : { account: redact(identifier) }) })
    }
    return new SignalboxError('SOURCE_INVALID', `Redis: a mapping cannot be read: ${reason}`)
  }

  /** Sends a command and counts it until Redis has answered it, or its connection is gone. */
  #send<T>(connection: RedisConnection, command: () => Promise<T>, answered: (value: T) => void, failed: (error: unknown) => void): void {
    connection.busy++
    this.#inFlight++
    connection.gather()
    command().then(
      (value) => {
        connection.busy--
        this.#inFlight--
        connection.replies++
        answered(value)
      },
      (error: unknown) => {
        connection.busy--
        this.#inFlight--
        if (isReplyError(error)) connection.replies++
        failed(error)
      },
    )
  }

  /** The one that gathers already; else the least busy of those that are up, in turn among equals. */
  #pick(): RedisConnection | undefined {
    if (this.#current?.gathering === true && this.#current.ready) return this.#current
    const count = this.#connections.length
    let best: RedisConnection | undefined
    for (let i = 0; i < count; i++) {
      const candidate = this.#connections[(this.#next + i) % count]
      if (candidate?.ready === true && (best === undefined || candidate.busy < best.busy)) best = candidate
    }
    this.#next = (this.#next + 1) % count
    this.#current = best
    return best
  }

  #unavailable(): SignalboxError {
    return this.#connections[0]?.unavailable() ?? new SignalboxError('SOURCE_UNAVAILABLE', 'Redis: no connection')
  }
}
