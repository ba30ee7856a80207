/**
 * The proxy with a configuration file of its own on free ports: IMAPS, IMAP with STARTTLS and management, a mapping
 * file, certificates. A test says which servers stand behind it and changes what it is about.
 */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'smol-toml'
import { systemClock } from '../../src/clock.ts'
import { makeAuthority } from './certificates.ts'
import type { Authority } from './certificates.ts'
import { freePorts } from './ports.ts'
import { Signalbox } from './signalbox.ts'
import type { AdminClient, LogLine } from './signalbox.ts'
import { makeTemporary } from './temporary.ts'
import type { Temporary } from './temporary.ts'
import { WireClient } from './wire-client.ts'

type Table = Readonly<Record<string, unknown>>

/** A configuration before it is text. */
export type RigConfig = Readonly<Record<string, Table>>

export interface RigDestination {
  readonly port: number
  readonly tls: 'implicit' | 'starttls' | 'plain'
  /** More keys of [destination.<name>]; the certificate is checked against the rig's authority unless these say otherwise. */
  readonly keys?: Table
}

export interface RigOptions {
  /** By name; the first is the default one. */
  readonly destinations: Readonly<Record<string, RigDestination>>
  readonly mappings?: Readonly<Record<string, string>>
  /** Keys for both IMAP listeners. */
  readonly listener?: Table
  /** More tables, e.g. { limits: { auth_failure_delay: '10ms' } }; [server] and [tls] are added to ours. */
  readonly tables?: Readonly<Record<string, Table>>
  /** File descriptors that each process of the proxy may have. */
  readonly descriptors?: number
  /** Signs the certificates of servers and proxy; made when absent. */
  readonly authority?: Authority
}

export class Rig implements AsyncDisposable {
  readonly authority: Authority
  readonly imaps: number
  readonly imap: number
  /** The management API's port and token, for clients other than `admin`. */
  readonly management: number
  readonly token: string
  readonly directory: string
  readonly mappingPath: string
  readonly box: Signalbox
  /** As it was started. */
  readonly config: RigConfig
  readonly #temporary: Temporary

  private constructor(fields: Pick<Rig, 'authority' | 'imaps' | 'imap' | 'management' | 'token' | 'mappingPath' | 'box' | 'config'>, temporary: Temporary) {
    this.authority = fields.authority
    this.imaps = fields.imaps
    this.imap = fields.imap
    this.management = fields.management
    this.token = fields.token
    this.mappingPath = fields.mappingPath
    this.box = fields.box
    this.config = fields.config
    this.directory = temporary.path
    this.#temporary = temporary
  }

  static async start(options: RigOptions): Promise<Rig> {
    const temporary = await makeTemporary('rig')
    try {
      return await Rig.#startIn(temporary, options)
    } catch (error) {
      await temporary.remove()
      throw error
    }
  }

  static async #startIn(temporary: Temporary, options: RigOptions): Promise<Rig> {
    const authority = options.authority ?? (await makeAuthority())
    const certificate = await authority.issue({ names: ['localhost', '127.0.0.1'] })
    const at = (name: string): string => join(temporary.path, name)
    const [imaps = 0, imap = 0, management = 0] = await freePorts(3)
    const token = randomBytes(24).toString('hex')
    const mappingPath = at('mappings')
    await writeFile(at('ca.pem'), authority.cert)
    await writeFile(at('cert.pem'), certificate.cert)
    await writeFile(at('key.pem'), certificate.key, { mode: 0o600 })
    await writeFile(at('token'), `${token}\n`, { mode: 0o600 })
    await writeFile(mappingPath, Object.entries(options.mappings ?? {}).map((mapping) => `${mapping.join('\t')}\n`).join(''))
    const listener = (port: number, tls: string): Table => ({ protocol: 'imap', bind: [`127.0.0.1:${port}`], tls, ...options.listener })
    const destination = ({ port, tls, keys }: RigDestination): Table => ({
      host: '127.0.0.1',
      forwarding: 'none',
      ...(tls === 'plain' ? { allow_plaintext_auth: true } : { tls_server_name: 'localhost' }),
      ...(tls === 'plain' || keys?.['tls_pinned_cert_sha256'] !== undefined ? {} : { tls_ca: at('ca.pem') }),
      protocol: { imap: { port, tls } },
      ...keys,
    })
    const config = {
      ...options.tables,
      server: { threads: 2, shutdown_grace: '1s', log_format: 'json', ...options.tables?.['server'] },
      tls: { certificate: { test: { cert: at('cert.pem'), key: at('key.pem') } }, ...options.tables?.['tls'] },
      listener: { imaps: listener(imaps, 'implicit'), imap: listener(imap, 'starttls') },
      destination: Object.fromEntries(Object.entries(options.destinations).map(([name, value]) => [name, destination(value)])),
      routing: { default_destination: Object.keys(options.destinations)[0] ?? '' },
      mapping: { source: 'file', normalize: 'lowercase', ...options.tables?.['mapping'], file: { path: mappingPath } },
      admin: { bind: `127.0.0.1:${management}`, tls: 'implicit', bearer_token_file: at('token') },
      log: { accounts: 'full' },
    }
    const box = await Signalbox.start({
      directory: temporary.path,
      config: stringify(config),
      admin: { port: management, token, ca: authority.cert },
      ...(options.descriptors === undefined ? {} : { descriptors: options.descriptors }),
    })
    return new Rig({ authority, imaps, imap, management, token, mappingPath, box, config }, temporary)
  }

  /** Writes another configuration file in place of the one that it was started with. */
  async rewrite(config: RigConfig | string): Promise<void> {
    await writeFile(this.box.path, typeof config === 'string' ? config : stringify(config))
  }

  get admin(): AdminClient {
    return this.box.admin
  }

  /** A client on the IMAPS listener that has read the greeting. */
  async greeted(from?: string): Promise<WireClient> {
    const client = await WireClient.connect({ port: this.imaps, ca: this.authority.cert, ...(from === undefined ? {} : { from }) })
    await client.until(/^\* OK .*\r\n/)
    return client
  }

  /** A client that has logged in. Rejects, with the answer, when that was refused. */
  async loggedIn(user: string, password = 'secret', from?: string): Promise<WireClient> {
    const client = await this.greeted(from)
    const answer = await client.command(`login LOGIN ${user} ${password}`)
    if (/^login OK /m.test(answer)) return client
    client.destroy()
    throw new Error(`not logged in: ${answer}`)
  }

  /** The number of the worker that holds the account's newest login, from the log. */
  async workerOf(user: string): Promise<number> {
    const fits = (line: LogLine): boolean => line['event'] === 'login' && line['account'] === user
    await this.box.line(fits)
    const worker = this.box.lines.findLast(fits)?.['worker']
    if (typeof worker !== 'number') throw new Error(`the log names no worker for ${user}`)
    return worker
  }

  /** Waits until as many workers as configured are ready and one of them has this process id no more. */
  async respawned(dead: number, count = 2, patience = 30_000): Promise<void> {
    const deadline = systemClock.now() + patience
    for (;;) {
      const pids = [...this.box.workers().values()]
      if (pids.length === count && !pids.includes(dead)) return
      if (systemClock.now() > deadline) throw new Error(`worker ${dead} was not replaced: ${pids.join(' ')}`)
      await systemClock.sleep(20)
    }
  }

  async stop(): Promise<void> {
    await this.box.stop()
    await this.#temporary.remove()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

/** Which server answers: the text of the message in INBOX. */
export async function serverOf(client: WireClient): Promise<string> {
  await client.command('where1 EXAMINE INBOX')
  const answer = await client.command('where2 FETCH 1 BODY.PEEK[TEXT]')
  return /You are on the (\w+) server/.exec(answer)?.[1] ?? `unknown: ${answer}`
}

/** What each worker says of an account: worker → destination. Fails when the answer isn't 200. */
export async function routesOf(rig: Rig, identifier: string): Promise<readonly { readonly destination: unknown; readonly cached: unknown }[]> {
  const answer = await rig.admin.lookup(identifier, { workers: 'all' })
  if (answer.status !== 200) throw new Error(`lookup: ${answer.status} ${answer.body}`)
  const { json } = answer
  const workers = typeof json === 'object' && json !== null && 'workers' in json ? json.workers : undefined
  if (!Array.isArray(workers)) throw new Error(`lookup: no workers in ${answer.body}`)
  return workers.map((worker: unknown) =>
    typeof worker === 'object' && worker !== null && 'destination' in worker && 'cached' in worker
      ? { destination: worker.destination, cached: worker.cached }
      : { destination: undefined, cached: undefined },
  )
}
