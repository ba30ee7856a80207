/**
 * Several instances of the proxy as processes, over one Redis or one shared file, each with its own way to source and bus
 * that a test can cut. Clients speak IMAP without TLS: what a fleet does is the same, and logins are many.
 */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import { stringify } from 'smol-toml'
import { systemClock } from '../../src/clock.ts'
import { makeAuthority } from './certificates.ts'
import { freePorts } from './ports.ts'
import { RedisServer } from './redis.ts'
import type { RedisServerOptions } from './redis.ts'
import { Signalbox } from './signalbox.ts'
import type { AdminClient, LogLine } from './signalbox.ts'
import { TcpProxy } from './tcp-proxy.ts'
import { makeTemporary } from './temporary.ts'
import type { Temporary } from './temporary.ts'
import { WireClient } from './wire-client.ts'

type Table = Readonly<Record<string, unknown>>

export const PREFIX = 'route:'
const PATIENCE_MS = 30_000

export interface FleetOptions {
  /** Name → port of a plain IMAP server; the first is the default one. */
  readonly destinations: Readonly<Record<string, number>>
  /** Name → port of a plain HTTP server; requests are routed by their credentials. */
  readonly web?: Readonly<Record<string, number>>
  readonly mapping?: Table
  /** Keys of [mapping.redis]. */
  readonly redis?: Table
  readonly cluster?: Table
  readonly server?: Table
  /** Instead of Redis: the text of a file that all share. */
  readonly file?: string
  readonly redisOptions?: RedisServerOptions
  /** The bus has a Redis of its own. */
  readonly separateBus?: boolean
  /** Instead of a server of the rig's own: the URL for source and bus, which can't be cut then. */
  readonly url?: string
}

export interface MemberOptions {
  readonly destinations?: Readonly<Record<string, number>>
  readonly cluster?: Table
}

/** What one worker answers. */
export interface WorkerRoute {
  readonly destination: string
  readonly source: string
  readonly routed_to_default: boolean
}

/** One instance. */
export class FleetMember {
  readonly name: string
  readonly imap: number
  /** Its http listener, where the fleet has one. */
  readonly web: number
  /** Its ways to the source and to the bus. */
  readonly source: TcpProxy
  readonly bus: TcpProxy
  readonly #start: () => Promise<Signalbox>
  box: Signalbox

  constructor(fields: Pick<FleetMember, 'name' | 'imap' | 'web' | 'source' | 'bus' | 'box'>, start: () => Promise<Signalbox>) {
    this.name = fields.name
    this.imap = fields.imap
    this.web = fields.web
    this.source = fields.source
    this.bus = fields.bus
    this.box = fields.box
    this.#start = start
  }

  get admin(): AdminClient {
    return this.box.admin
  }

  /** Ends it, by this signal, and starts it anew on the same ports. */
  async restart(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    await this.box.stop(signal)
    this.box = await this.#start()
  }

  /** What each worker says of an account; undefined: at least one doesn't know (503). */
  async routes(identifier: string): Promise<readonly WorkerRoute[] | undefined> {
    const { status, json, body } = await this.admin.lookup(identifier, { workers: 'all' })
    if (status === 503) return undefined
    const workers = typeof json === 'object' && json !== null && 'workers' in json ? json.workers : undefined
    if (status !== 200 || !Array.isArray(workers)) throw new Error(`${this.name}: lookup: ${status} ${body}`)
    return workers.map((worker: WorkerRoute) => worker)
  }

  /** Where each worker would send it. */
  async destinations(identifier: string): Promise<readonly string[]> {
    return ((await this.routes(identifier)) ?? []).map(({ destination }) => destination)
  }

  async stat(name: string): Promise<unknown> {
    const { json, status, body } = await this.admin.stats()
    if (status !== 200 || typeof json !== 'object' || json === null) throw new Error(`${this.name}: stats: ${status} ${body}`)
    return Reflect.get(json, name)
  }

  /** A client that has read the greeting. */
  async greeted(): Promise<WireClient> {
    const client = await WireClient.connect({ port: this.imap })
    await client.until(/^\* OK .*\r\n/)
    return client
  }

  /** Log lines of an event, from an index on. */
  events(event: string, from = 0): LogLine[] {
    return this.box.lines.slice(from).filter((line) => line['event'] === event)
  }
}

export class FleetRig implements AsyncDisposable {
  readonly members: FleetMember[] = []
  readonly redis: RedisServer | undefined
  /** The one that the bus is on. */
  readonly busRedis: RedisServer | undefined
  readonly directory: string
  readonly #hand: Redis | undefined
  readonly #options: FleetOptions
  readonly #temporary: Temporary
  /** Ways of those whose process is the caller's. */
  readonly #launched: Pick<FleetMember, 'source' | 'bus'>[] = []
  readonly #token = randomBytes(24).toString('hex')
  #ca = ''

  private constructor(options: FleetOptions, temporary: Temporary, redis: RedisServer | undefined, busRedis: RedisServer | undefined) {
    this.#options = options
    this.#temporary = temporary
    this.directory = temporary.path
    this.redis = redis
    this.busRedis = busRedis
    this.#hand = redis?.client()
  }

  /** Starts the instances one after the other and waits until each knows all. */
  static async start(names: readonly string[], options: FleetOptions): Promise<FleetRig> {
    const redis = options.url === undefined ? await RedisServer.start(options.redisOptions) : undefined
    const busRedis = options.separateBus === true ? await RedisServer.start() : redis
    const rig = new FleetRig(options, await makeTemporary('fleet'), redis, busRedis)
    try {
      await rig.#prepare()
      for (const name of names) await rig.add(name)
      await rig.together()
      return rig
    } catch (error) {
      await rig.stop()
      throw error
    }
  }

  /** Two of a kind: the first and the second instance. */
  get pair(): readonly [FleetMember, FleetMember] {
    const [first, second] = this.members
    if (first === undefined || second === undefined) throw new Error('there are no two instances')
    return [first, second]
  }

  /** Our own hand at Redis, past every proxy. */
  get hand(): Redis {
    if (this.#hand === undefined) throw new Error('this fleet has no Redis of its own')
    return this.#hand
  }

  /** Maps by hand. */
  async set(identifier: string, destination: string): Promise<void> {
    await this.hand.set(PREFIX + identifier, destination)
  }

  async add(name: string, options: MemberOptions = {}): Promise<FleetMember> {
    const prepared = await this.#member(name, options)
    const box = await prepared.start().catch(async (error: unknown) => {
      await end(prepared)
      throw error
    })
    const member = new FleetMember({ ...prepared, name, box }, prepared.start)
    this.members.push(member)
    return member
  }

  /** Starts an instance and waits for nothing; it is the caller's to stop. */
  async launch(name: string, options: MemberOptions = {}): Promise<Signalbox> {
    const { launch, source, bus } = await this.#member(name, options)
    this.#launched.push({ source, bus })
    return launch()
  }

  /** Waits until every instance is on the bus and has every other among its peers. */
  async together(): Promise<void> {
    const names = this.members.map(({ name }) => name)
    for (const member of this.members) {
      const others = names.filter((name) => name !== member.name)
      await until(`${member.name} is together with ${others.join()}`, async () => {
        const [bus, peers] = await Promise.all([member.stat('bus'), member.stat('peers')])
        return bus === 'up' && Array.isArray(peers) && others.every((name) => peers.includes(name))
      })
    }
  }

  /** Shuts an instance down: it is none of ours any more. */
  async remove(member: FleetMember): Promise<void> {
    this.members.splice(this.members.indexOf(member), 1)
    await end(member)
  }

  async stop(): Promise<void> {
    await Promise.all([...this.members, ...this.#launched].map(end))
    await this.redis?.[Symbol.asyncDispose]()
    if (this.busRedis !== this.redis) await this.busRedis?.[Symbol.asyncDispose]()
    await this.#temporary.remove()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #prepare(): Promise<void> {
    const authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost', '127.0.0.1'] })
    this.#ca = authority.cert
    await writeFile(this.#at('cert.pem'), certificate.cert)
    await writeFile(this.#at('key.pem'), certificate.key, { mode: 0o600 })
    await writeFile(this.#at('token'), `${this.#token}\n`, { mode: 0o600 })
    if (this.#options.file !== undefined) await writeFile(this.#at('mappings'), this.#options.file)
  }

  #at(name: string): string {
    return join(this.directory, name)
  }

  async #member(name: string, more: MemberOptions): Promise<Pick<FleetMember, 'imap' | 'web' | 'source' | 'bus'> & Record<'start' | 'launch', () => Promise<Signalbox>>> {
    const [imap = 0, management = 0, web = 0] = await freePorts(3)
    const port = this.redis?.port ?? 1
    const [source, bus] = await Promise.all([TcpProxy.open({ port }), TcpProxy.open({ port: this.busRedis?.port ?? port })])
    const { url, mapping, redis, cluster, server, file, web: webServers } = this.#options
    const destinations = more.destinations ?? this.#options.destinations
    const config = {
      server: { threads: 2, shutdown_grace: '1s', log_format: 'json', ...server },
      tls: { certificate: { test: { cert: this.#at('cert.pem'), key: this.#at('key.pem') } } },
      listener: {
        imap: { protocol: 'imap', bind: [`127.0.0.1:${imap}`], tls: 'plain' },
        ...(webServers === undefined ? {} : { web: { protocol: 'http', bind: [`127.0.0.1:${web}`], tls: 'plain' } }),
      },
      ...(webServers === undefined ? {} : { http: { route: [{ match: '/**', extract: { from: 'authorization' } }] } }),
      capabilities: { imap: { allow_plain_auth_without_tls: true } },
      limits: { auth_failure_delay: '10ms' },
      destination: Object.fromEntries(
        Object.entries(destinations).map(([destination, at]) => [
          destination,
          {
            host: '127.0.0.1',
            forwarding: 'none',
            allow_plaintext_auth: true,
            protocol: { imap: { port: at, tls: 'plain' }, ...(webServers === undefined ? {} : { http: { port: webServers[destination], tls: 'plain' } }) },
          },
        ]),
      ),
      routing: { default_destination: Object.keys(destinations)[0] ?? '' },
      mapping: {
        source: file === undefined ? 'redis' : 'file',
        normalize: 'lowercase',
        audit_rate: 0,
        ...mapping,
        ...(file === undefined
          ? { redis: { url: url ?? `redis://127.0.0.1:${source.port}`, key_prefix: PREFIX, pool_size: 2, ...redis } }
          : { file: { path: this.#at('mappings'), shared: true } }),
      },
      cluster: { instance: name, bus: url ?? `redis://127.0.0.1:${bus.port}`, channel: 'signalbox:test', heartbeat: '200ms', ...cluster, ...more.cluster },
      admin: { bind: `127.0.0.1:${management}`, tls: 'implicit', bearer_token_file: this.#at('token') },
      log: { accounts: 'full' },
    }
    const options = {
      directory: this.directory,
      config: stringify(config),
      admin: { port: management, token: this.#token, ca: this.#ca, keepAlive: true },
    }
    return { imap, web, source, bus, start: () => Signalbox.start(options), launch: () => Signalbox.launch(options) }
  }
}

async function end({ box, source, bus }: Pick<FleetMember, 'source' | 'bus'> & { readonly box?: Signalbox }): Promise<void> {
  await box?.stop()
  await Promise.all([source.close(), bus.close()])
}

/** Polls until the condition holds; the bound only keeps a failing test from hanging. */
export async function until(what: string, condition: () => boolean | Promise<boolean>, patience = PATIENCE_MS): Promise<void> {
  const deadline = systemClock.now() + patience
  while (!(await condition())) {
    if (systemClock.now() > deadline) throw new Error(`waited in vain: ${what}`)
    await systemClock.sleep(5)
  }
}
