/**
 * A mail server for tests that does as it is told in every phase of a login: answer, stall until released, close, reset,
 * or say something wrong. Records what it got. Plain, with STARTTLS or with implicit TLS. After a login every command is
 * answered with an untagged line that names the server, so a client sees where it is.
 */
import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'
import { systemClock } from '../../src/clock.ts'
import type { Issued } from './certificates.ts'

/** What to do in a phase. `text`: exactly these bytes, then go on reading. `inject`: the ordinary answer to STARTTLS with these bytes behind it in the clear. */
export type StubAction = 'answer' | 'stall' | 'close' | 'reset' | { readonly text: string } | { readonly inject: string }
export type StubPhase = 'connect' | 'greeting' | 'capability' | 'starttls' | 'login' | 'command'

export interface StubOptions {
  readonly name: string
  readonly tls: 'plain' | 'starttls' | 'implicit'
  readonly certificate?: Issued
  /** Passwords it refuses. */
  readonly refuses?: readonly string[]
  readonly script?: Partial<Record<StubPhase, StubAction>>
}

/** One connection, as the server saw it. */
export interface StubConnection {
  /** Everything received after decryption, latin1. */
  received: string
  /** A login command came in whole. */
  loginSeen: boolean
  /** A login was answered with OK. */
  loggedIn: boolean
  closed: boolean
  destroy(): void
}

const CAPABILITIES = 'IMAP4rev1 SASL-IR AUTH=PLAIN IDLE'

export class StubImap {
  readonly name: string
  readonly connections: StubConnection[] = []
  readonly #options: StubOptions
  readonly #script: Partial<Record<StubPhase, StubAction>>
  readonly #server: Server
  #port = 0
  #stalled: (() => void)[] = []

  private constructor(options: StubOptions) {
    this.name = options.name
    this.#options = options
    this.#script = { ...options.script }
    this.#server = createServer({ noDelay: true }, (socket) => this.#accept(socket))
  }

  static async start(options: StubOptions): Promise<StubImap> {
    const stub = new StubImap(options)
    await new Promise<void>((resolve, reject) => {
      stub.#server.once('error', reject)
      stub.#server.listen(0, '127.0.0.1', resolve)
    })
    const address = stub.#server.address()
    stub.#port = typeof address === 'object' && address !== null ? address.port : 0
    return stub
  }

  get port(): number {
    return this.#port
  }

  /** Changes what is done in a phase, for what reaches it from now on. */
  set(phase: StubPhase, action: StubAction): void {
    this.#script[phase] = action
  }

  /** Lets everything that stalls go on with the ordinary answer. */
  release(): void {
    const stalled = this.#stalled
    this.#stalled = []
    for (const go of stalled) go()
  }

  /** How many connections stall at the moment. */
  get stalling(): number {
    return this.#stalled.length
  }

  get logins(): number {
    return this.connections.filter((connection) => connection.loggedIn).length
  }

  /** Waits until a condition on this stub holds. Rejects at the deadline. */
  async until(condition: (stub: StubImap) => boolean, patience = 15_000): Promise<void> {
    const deadline = systemClock.now() + patience
    while (!condition(this)) {
      if (systemClock.now() > deadline) throw new Error(`${this.name}: not within ${patience} ms: ${condition}`)
      await systemClock.sleep(10)
    }
  }

  async stop(): Promise<void> {
    for (const connection of this.connections) connection.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #accept(plain: Socket): void {
    let socket = plain
    let pending = Buffer.alloc(0)
    let secure = false
    let awaitingPlain: string | undefined
    const record: StubConnection = { received: '', loginSeen: false, loggedIn: false, closed: false, destroy: () => plain.destroy() }
    this.connections.push(record)
    plain.on('close', () => (record.closed = true))
    plain.on('error', () => plain.destroy())

    const perform = (phase: StubPhase, answer: (behind?: string) => void): void => {
      const action = this.#script[phase] ?? 'answer'
      if (action === 'answer') answer()
      else if (action === 'stall') this.#stalled.push(() => void (record.closed || answer()))
      else if (action === 'close') socket.end()
      else if (action === 'reset') plain.resetAndDestroy()
      else if ('text' in action) socket.write(Buffer.from(action.text, 'latin1'))
      else answer(action.inject)
    }
    const say = (text: string): void => void (socket.writable && socket.write(`${text}\r\n`))
    const capabilities = (): string => (this.#options.tls === 'starttls' && !secure ? `${CAPABILITIES} STARTTLS` : CAPABILITIES)
    const login = (tag: string, password: string): void => {
      record.loginSeen = true
      perform('login', () => {
        if (this.#options.refuses?.includes(password) === true) return say(`${tag} NO [AUTHENTICATIONFAILED] ${this.name} says no`)
        record.loggedIn = true
        say(`${tag} OK [CAPABILITY ${CAPABILITIES}] welcome to ${this.name}`)
      })
    }
    const passwordOf = (base64: string): string => Buffer.from(base64, 'base64').toString('utf8').split('\0')[2] ?? ''
    const handle = (line: string): void => {
      if (awaitingPlain !== undefined) {
        const tag = awaitingPlain
        awaitingPlain = undefined
        return login(tag, passwordOf(line))
      }
      const [tag = '', name = '', ...rest] = line.split(' ')
      switch (name.toUpperCase()) {
        case 'CAPABILITY':
          return perform('capability', () => {
            say(`* CAPABILITY ${capabilities()}`)
            say(`${tag} OK done`)
          })
        case 'STARTTLS':
          return perform('starttls', (behind = '') => {
            socket.write(`${tag} OK begin\r\n${behind}`)
            upgrade(() => undefined)
          })
        case 'LOGIN': return login(tag, (rest[1] ?? '').replaceAll('"', ''))
        case 'AUTHENTICATE':
          if (rest[1] !== undefined) return login(tag, passwordOf(rest[1]))
          awaitingPlain = tag
          return say('+ ')
        case 'LOGOUT':
          say('* BYE')
          say(`${tag} OK done`)
          return void socket.end()
      }
      return perform('command', () => {
        say(`* OK this is ${this.name}`)
        say(`${tag} OK done`)
      })
    }
    const receive = (chunk: Buffer): void => {
      record.received += chunk.toString('latin1')
      pending = Buffer.concat([pending, chunk])
      for (let end = pending.indexOf(10); end >= 0; end = pending.indexOf(10)) {
        const line = pending.toString('latin1', 0, end).replace(/\r$/, '')
        pending = pending.subarray(end + 1)
        handle(line)
      }
    }
    const upgrade = (whenUp: () => void): void => {
      const { certificate } = this.#options
      if (certificate === undefined) throw new Error('the stub has no certificate')
      plain.off('data', receive)
      pending = Buffer.alloc(0)
      socket = new TLSSocket(plain, { isServer: true, secureContext: createSecureContext(certificate) })
      socket.on('data', receive)
      socket.on('error', () => plain.destroy())
      socket.once('secure', () => {
        secure = true
        whenUp()
      })
    }
    const greet = (): void => perform('greeting', () => say(`* OK [CAPABILITY ${capabilities()}] ${this.name}`))
    perform('connect', () => {
      if (this.#options.tls === 'implicit') return upgrade(greet)
      plain.on('data', receive)
      return greet()
    })
  }
}
