/**
 * What an operator has before the first start: a directory with certificate, key, token and mapping file, and a sound
 * configuration for them with one plain destination. A test spoils one thing and starts it. Also finds every process that a
 * start has left behind, by a mark in its environment.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { stringify } from 'smol-toml'
import { systemClock } from '../../src/clock.ts'
import { makeAuthority } from './certificates.ts'
import type { Authority } from './certificates.ts'
import { freePorts } from './ports.ts'
import { Signalbox } from './signalbox.ts'
import { makeTemporary } from './temporary.ts'
import type { Temporary } from './temporary.ts'

type Table = Readonly<Record<string, unknown>>

export interface PremisesOptions {
  /** Port of the plain destination "one"; nobody listens there unless the test sees to it. */
  readonly backend?: number
  /** Address and ports to listen on instead of free ones of 127.0.0.1: IMAPS and IMAP. */
  readonly bind?: { readonly host: string; readonly imaps: number; readonly imap: number }
  /** Added to the environment of every start. */
  readonly env?: NodeJS.ProcessEnv
}

export class Premises implements AsyncDisposable {
  readonly directory: string
  readonly authority: Authority
  readonly host: string
  readonly imaps: number
  readonly imap: number
  readonly management: number
  readonly token = randomBytes(24).toString('hex')
  readonly #mark = randomUUID()
  readonly #temporary: Temporary
  readonly #backend: number
  readonly #env: NodeJS.ProcessEnv
  readonly #boxes: Signalbox[] = []

  private constructor(temporary: Temporary, authority: Authority, ports: readonly number[], { backend, bind, env }: PremisesOptions) {
    const [imaps = 0, imap = 0, management = 0] = ports
    this.#temporary = temporary
    this.directory = temporary.path
    this.authority = authority
    this.host = bind?.host ?? '127.0.0.1'
    this.imaps = bind?.imaps ?? imaps
    this.imap = bind?.imap ?? imap
    this.management = management
    this.#backend = backend ?? 1
    this.#env = env ?? {}
  }

  static async make(options: PremisesOptions = {}): Promise<Premises> {
    const temporary = await makeTemporary('premises')
    const authority = await makeAuthority()
    const premises = new Premises(temporary, authority, await freePorts(3), options)
    const { cert, key } = await authority.issue({ names: ['localhost', '127.0.0.1'] })
    await writeFile(premises.at('cert.pem'), cert)
    await writeFile(premises.at('key.pem'), key, { mode: 0o600 })
    await writeFile(premises.at('token'), `${premises.token}\n`, { mode: 0o600 })
    await writeFile(premises.at('mappings'), 'ann@example.com\tone\n')
    return premises
  }

  at(name: string): string {
    return join(this.directory, name)
  }

  /** The sound configuration with these keys of these tables added. */
  config(tables: Readonly<Record<string, Table>> = {}): string {
    const sound = this.tables()
    for (const [name, keys] of Object.entries(tables)) sound[name] = { ...sound[name], ...keys }
    return stringify(sound)
  }

  /** The sound configuration. */
  tables(): Record<string, Table> {
    const listener = (port: number, tls: string): Table => ({ protocol: 'imap', bind: [`${this.host}:${port}`], tls })
    return {
      server: { threads: 2, shutdown_grace: '1s', log_format: 'json' },
      tls: { certificate: { test: { cert: this.at('cert.pem'), key: this.at('key.pem') } } },
      listener: { imaps: listener(this.imaps, 'implicit'), imap: listener(this.imap, 'starttls') },
      destination: {
        one: { host: '127.0.0.1', forwarding: 'none', allow_plaintext_auth: true, protocol: { imap: { port: this.#backend, tls: 'plain' } } },
      },
      routing: { default_destination: 'one' },
      mapping: { source: 'file', normalize: 'lowercase', file: { path: this.at('mappings') } },
      admin: { bind: `127.0.0.1:${this.management}`, tls: 'implicit', bearer_token_file: this.at('token') },
    }
  }

  /** Starts it on these premises and waits for nothing. */
  async launch(config: string): Promise<Signalbox> {
    const box = await Signalbox.launch(this.#options(config))
    this.#boxes.push(box)
    return box
  }

  /** Starts it, by another `command` than usual if need be, and waits until it is ready. */
  async start(config: string, command?: readonly string[]): Promise<Signalbox> {
    const box = await Signalbox.start({ ...this.#options(config), ...(command === undefined ? {} : { command }) })
    this.#boxes.push(box)
    return box
  }

  #options(config: string) {
    const admin = { port: this.management, token: this.token, ca: this.authority.cert }
    return { directory: this.directory, config, admin, env: { ...this.#env, PREMISES_MARK: this.#mark } }
  }

  /** Process ids of everything that was started here and is still there. */
  leftovers(): number[] {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
      try {
        // A process that has ended but was not waited for has no environment any more.
        return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`PREMISES_MARK=${this.#mark}`)
      } catch {
        return false
      }
    })
  }

  /** Waits until nothing is left; rejects with the process ids when that takes too long. */
  async empty(): Promise<void> {
    for (let tries = 0; this.leftovers().length > 0; tries++) {
      if (tries === 200) throw new Error(`still running: ${this.leftovers().join(' ')}`)
      await systemClock.sleep(50)
    }
  }

  /** Which of our own ports somebody listens on. */
  async open(): Promise<number[]> {
    const ports = [this.imaps, this.imap, this.management]
    const found = await Promise.all(ports.map((port) => listens(port, port === this.management ? '127.0.0.1' : this.host)))
    return ports.filter((_, index) => found[index] === true)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#boxes.map((box) => box.stop('SIGKILL')))
    await this.#temporary.remove()
  }
}

function listens(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
