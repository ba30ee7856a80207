/**
 * What the chaos run and the soak act upon: two instances with two workers each and a listener for every protocol, plain and TLS,
 * over one Redis or one shared file; two houses of mail servers behind them; a link that can be broken before source, bus and one
 * listener of each instance.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Redis } from 'ioredis'
import { stringify } from 'smol-toml'
import { makeAuthority } from '../support/certificates.ts'
import type { Issued } from '../support/certificates.ts'
import { until } from '../support/fleet-rig.ts'
import { freePorts } from '../support/ports.ts'
import { RedisServer } from '../support/redis.ts'
import { Signalbox } from '../support/signalbox.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'
import type { HouseOptions, HousePorts } from './house.ts'
import { MAIL_PROTOCOLS } from './speech.ts'
import type { MailProtocol } from './speech.ts'

const HOUSE = fileURLToPath(new URL('house.ts', import.meta.url))
export const PREFIX = 'route:'
const NAMES_PER_HOUSE = 6
export const MEMBERS = ['a', 'b'] as const
/** Where accounts without a mapping go, and mail that is passed through. */
export const DEFAULT = 'd0'

/** A way for clients into an instance. */
export interface Door {
  readonly protocol: MailProtocol | 'http'
  readonly tls: 'plain' | 'starttls' | 'implicit'
  readonly port: number
}

/** A process of mail servers. */
export class House {
  readonly names: readonly string[]
  readonly #options: HouseOptions
  #process: ChildProcess | undefined

  constructor(options: HouseOptions) {
    this.#options = options
    this.names = Object.keys(options.names)
  }

  get pid(): number {
    return this.#process?.pid ?? 0
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, [HOUSE], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#process = child
    child.stdin.on('error', () => {})
    child.stdin.write(`${JSON.stringify(this.#options)}\n`)
    const [first] = (await Promise.race([once(createInterface({ input: child.stdout }), 'line'), once(child, 'exit')])) as unknown[]
    if (first !== 'open') throw new Error(`the house did not open: ${String(first)}`)
  }

  /** Kills it and waits for its end. */
  async stop(): Promise<void> {
    const child = this.#process
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }

  /** Changes one byte of the next cargo. */
  spoil(): void {
    this.#process?.stdin?.write('spoil\n')
  }
}

/** One instance. */
export interface Member {
  readonly name: (typeof MEMBERS)[number]
  box: Signalbox
  readonly doors: readonly Door[]
  /** The same without a link before any. */
  readonly straight: readonly Door[]
  /** Ways to the source, to the bus, and of IMAP's clients to the plain port. */
  readonly links: Readonly<Record<'source' | 'bus' | 'clients', TcpProxy>>
  /** A port for IMAP that wants a PROXY header; no door for visitors. */
  readonly behindBalancer: number
  readonly start: () => Promise<Signalbox>
  /** Writes another configuration in place of the one that it was started with. */
  readonly rewrite: (tables: Tables) => Promise<void>
}

type Tables = Readonly<Record<string, Readonly<Record<string, unknown>>>>

export interface ChaosFleetOptions {
  readonly source: 'redis' | 'file'
  /** Where the mapping file is, for a file. */
  readonly disk?: string
  readonly accounts: readonly string[]
  readonly tables?: Tables
  /** Keys for every listener. */
  readonly listener?: Readonly<Record<string, unknown>>
  readonly env?: NodeJS.ProcessEnv
}

export class ChaosFleet implements AsyncDisposable {
  readonly members: Member[] = []
  readonly houses: House[] = []
  readonly source: 'redis' | 'file'
  readonly redis: RedisServer
  readonly ca: string
  /** Names of all destinations; the first is the default one. */
  readonly destinations: readonly string[]
  readonly mappings: string
  readonly directory: string
  readonly #hand: Redis
  readonly #temporary: Temporary

  private constructor(source: 'redis' | 'file', redis: RedisServer, ca: string, temporary: Temporary, destinations: readonly string[], mappings: string) {
    this.source = source
    this.redis = redis
    this.ca = ca
    this.#temporary = temporary
    this.directory = temporary.path
    this.destinations = destinations
    this.mappings = mappings
    this.#hand = redis.client()
  }

  static async start(options: ChaosFleetOptions): Promise<ChaosFleet> {
    const temporary = await makeTemporary('chaos')
    // What it has answered has been written to the file: enough for a process that is killed.
    const redis = await RedisServer.start({ args: ['--appendonly', 'yes', '--appendfsync', 'no'] })
    const authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost', '127.0.0.1'] })
    const destinations = Array.from({ length: 2 * NAMES_PER_HOUSE }, (_, index) => `d${index}`)
    const fleet = new ChaosFleet(options.source, redis, authority.cert, temporary, destinations, join(options.disk ?? temporary.path, 'mappings'))
    try {
      await fleet.#fill(options, certificate)
      return fleet
    } catch (error) {
      await fleet.stop()
      throw error
    }
  }

  async #fill(options: ChaosFleetOptions, certificate: Issued): Promise<void> {
    const at = (name: string): string => join(this.directory, name)
    await writeFile(at('ca.pem'), this.ca)
    await writeFile(at('cert.pem'), certificate.cert)
    await writeFile(at('key.pem'), certificate.key, { mode: 0o600 })
    const kinds = [...MAIL_PROTOCOLS, 'http'] as const
    const free = await freePorts(kinds.length * 2)
    const ports = Object.fromEntries(kinds.map((kind, index) => [kind, [free[2 * index] ?? 0, free[2 * index + 1] ?? 0]])) as unknown as HousePorts
    // An address of its own for each destination; another block of them for every run that goes on beside this one.
    const block = 1 + (process.pid % 250)
    const hosts = Object.fromEntries(this.destinations.map((name, index) => [name, `127.${block}.7.${10 + index}`]))
    for (let house = 0; house < 2; house++) {
      const names = this.destinations.filter((_, index) => Math.floor(index / NAMES_PER_HOUSE) === house)
      const opened = new House({ names: Object.fromEntries(names.map((name) => [name, hosts[name] ?? ''])), ports, cert: certificate.cert, key: certificate.key })
      this.houses.push(opened)
      await opened.start()
    }
    // Everybody is somewhere to begin with.
    const rows = options.accounts.map((account, index) => [account, this.destinations[1 + (index % (this.destinations.length - 1))] ?? ''] as const)
    if (this.source === 'file') await writeFile(this.mappings, rows.map((row) => `${row.join('\t')}\n`).join(''))
    else await this.#hand.mset(rows.flatMap(([account, destination]) => [PREFIX + account, destination]))
    for (const name of MEMBERS) this.members.push(await this.#member(name, options, hosts, ports))
    await this.together()
  }

  /** Which house holds a destination. */
  houseOf(destination: string): House | undefined {
    return this.houses.find(({ names }) => names.includes(destination))
  }

  /** What the store holds for accounts. Rejects while it can't be asked. */
  async stored(accounts: readonly string[]): Promise<readonly (string | undefined)[]> {
    if (this.source === 'redis') return (await this.#hand.mget(accounts.map((account) => PREFIX + account))).map((value) => value ?? undefined)
    const lines = (await readFile(this.mappings, 'utf8')).split('\n').map((line) => line.split('\t'))
    const held = new Map(lines.map(([account = '', destination]) => [account, destination]))
    return accounts.map((account) => held.get(account))
  }

  /** Writes past every instance. Only Redis. */
  async set(account: string, destination: string): Promise<void> {
    await this.#hand.set(PREFIX + account, destination)
  }

  async flush(): Promise<void> {
    await this.#hand.flushall()
  }

  /** Waits until every instance has its workers, bus and watch, and every other among its peers. */
  async together(): Promise<void> {
    for (const { name, box } of this.members) {
      await until(
        `${name} is whole`,
        async () => {
          const { json, status } = await box.admin.stats()
          if (status !== 200 || typeof json !== 'object' || json === null) return false
          const peers: unknown = Reflect.get(json, 'peers')
          const others = MEMBERS.filter((other) => other !== name)
          const watches = this.source === 'file' || Reflect.get(json, 'watch') === 'on'
          return watches && Reflect.get(json, 'bus') === 'up' && Array.isArray(peers) && others.every((other) => peers.includes(other))
        },
        60_000,
      )
    }
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.members.map(async ({ box, links }) => {
        await box.stop()
        await Promise.all(Object.values(links).map((link) => link.close()))
      }),
    )
    await Promise.all(this.houses.map((house) => house.stop()))
    await this.redis[Symbol.asyncDispose]()
    await this.#temporary.remove()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #member(name: Member['name'], options: ChaosFleetOptions, hosts: Readonly<Record<string, string>>, ports: HousePorts): Promise<Member> {
    const at = (file: string): string => join(this.directory, file)
    const directory = at(name)
    await mkdir(directory)
    const token = randomBytes(24).toString('hex')
    await writeFile(join(directory, 'token'), `${token}\n`, { mode: 0o600 })
    const kinds = [
      ...(['imap', 'pop3', 'managesieve', 'submission'] as const).flatMap((protocol) => (['plain', 'starttls', 'implicit'] as const).map((tls) => ({ protocol, tls }))),
      ...(['smtp', 'lmtp', 'http'] as const).flatMap((protocol) => (['plain', 'implicit'] as const).map((tls) => ({ protocol, tls }))),
    ]
    const [management = 0, behindBalancer = 0, ...free] = await freePorts(kinds.length + 2)
    const listening = kinds.map((kind, index) => ({ ...kind, port: free[index] ?? 0 }))
    const [source, bus, clients] = await Promise.all([this.redis.port, this.redis.port, listening[0]?.port ?? 0].map((port) => TcpProxy.open({ port })))
    if (source === undefined || bus === undefined || clients === undefined) throw new Error('no links')
    // IMAP's plain clients come through the link.
    const doors = listening.map((door, index) => (index === 0 ? { ...door, port: clients.port } : door))
    const secured = { tls_server_name: 'localhost', tls_ca: at('ca.pem') }
    const open = { allow_plain_auth_without_tls: true }
    const sound: Tables = {
      limits: { auth_failure_delay: '10ms' },
      tls: { certificate: { test: { cert: at('cert.pem'), key: at('key.pem') } } },
      listener: {
        ...Object.fromEntries(listening.map(({ protocol, tls, port }) => [`${protocol}-${tls}`, { protocol, bind: [`127.0.0.1:${port}`], tls, ...options.listener }])),
        'behind-balancer': { protocol: 'imap', bind: [`127.0.0.1:${behindBalancer}`], tls: 'plain', proxy_protocol: 'required', proxy_trusted: ['127.0.0.0/8'], ...options.listener },
      },
      capabilities: { imap: open, pop3: open, managesieve: open, submission: open },
      destination: Object.fromEntries(
        Object.entries(hosts).map(([destination, host], index) => {
          const encrypted = index % 2 === 1
          const legs = Object.fromEntries(Object.entries(ports).map(([protocol, pair]) => [protocol, { port: pair[encrypted ? 1 : 0], tls: encrypted ? 'implicit' : 'plain' }]))
          return [destination, { host, forwarding: 'none', allow_plaintext_auth: true, ...(encrypted ? secured : {}), protocol: legs }]
        }),
      ),
      routing: { default_destination: DEFAULT, smtp_passthrough_destination: DEFAULT },
      http: { route: [{ match: '/cargo/**', extract: { from: 'authorization' } }] },
      mapping:
        this.source === 'redis'
          ? { source: 'redis', lookup_timeout: '2s', settle: '0s', redis: { url: `redis://127.0.0.1:${source.port}`, key_prefix: PREFIX, pool_size: 4 } }
          : { source: 'file', file: { path: this.mappings, shared: true } },
      cluster: { instance: name, bus: `redis://127.0.0.1:${bus.port}`, channel: 'signalbox:chaos', heartbeat: '300ms', bus_down_ttl: '1s' },
      admin: { bind: `127.0.0.1:${management}`, tls: 'implicit', bearer_token_file: join(directory, 'token') },
      log: { accounts: 'full' },
      ...options.tables,
    }
    const text = (tables: Tables = {}): string =>
      stringify({
        ...sound,
        ...tables,
        // A backend that comes back is tried soon.
        server: { threads: 2, shutdown_grace: '1s', log_format: 'json', host_down_cooldown: '500ms', roll_grace: '30s', ...options.tables?.['server'], ...tables['server'] },
      })
    const admin = { port: management, token, ca: this.ca, keepAlive: true }
    const start = (): Promise<Signalbox> => Signalbox.start({ directory, config: text(), admin, ...(options.env === undefined ? {} : { env: options.env }) })
    const member: Member = {
      name,
      box: await start(),
      doors,
      straight: listening,
      links: { source, bus, clients },
      behindBalancer,
      start,
      rewrite: (tables) => writeFile(member.box.path, text(tables)),
    }
    return member
  }
}
