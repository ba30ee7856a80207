/**
 * The dialogue with a POP3 client up to its login (RFC 1939 §4 and §7, RFC 2449, RFC 5034): the commands of the
 * AUTHORIZATION state. Answers from configuration alone. States, exchanges and bounds are PreauthMachine's.
 *
 * A name or password is all that stands behind the one space after USER or PASS, spaces included (RFC 1939 §7).
 */
import { POP3_LINE, SASL_LINE } from '../../limits.ts'
import { SaslExchange } from '../../sasl/exchange.ts'
import { passwordCredentials } from '../../sasl/password.ts'
import { judgeMechanism } from '../../sasl/policy.ts'
import { LineReader } from '../line-reader.ts'
import { PreauthMachine } from '../preauth-machine.ts'
import type { DialogueFacts, PreauthPort } from '../protocol.ts'
import { type Pop3Listener, passwordsClosed } from './listener.ts'
import { LINES, type Pop3Replies, TEXTS, WORDS } from './replies.ts'

const SP = 0x20
/** The longest command name. */
const NAME = 16
/** `AUTH`, a mechanism's name and a whole SASL message. */
const AUTH_LINE = SASL_LINE + 64
const AUTH = /^auth /i
const NOTHING = Buffer.alloc(0)

export class Pop3Preauth extends PreauthMachine<undefined> {
  readonly #listener: Pop3Listener
  readonly #bytes: LineReader
  /** The name of the last USER. */
  #user: Buffer | undefined
  #utf8 = false

  constructor(port: PreauthPort, listener: Pop3Listener, secure: boolean) {
    const bytes = new LineReader()
    super(port, { words: WORDS, bounds: listener, bytes, secure })
    this.#listener = listener
    this.#bytes = bytes
  }

  protected greeting(): Buffer {
    return this.#replies.greeting
  }

  protected fresh(): void {
    this.#utf8 = false
  }

  protected forget(): void {
    this.#user = undefined
  }

  protected readMessage(): Buffer | 'more' | 'too-long' {
    return this.readMessageLine()
  }

  protected facts(): DialogueFacts {
    return { utf8: this.#utf8 }
  }

  protected readCommand(): boolean {
    return this.readCommandLine(this.#lineLimit(), (line) => this.#command(line))
  }

  #lineLimit(): number {
    const auth = AUTH.test(this.#bytes.view(0, Math.min(this.#bytes.length, NAME)).toString('latin1'))
    return auth ? AUTH_LINE : POP3_LINE
  }

  get #replies(): Pop3Replies {
    return this.secure ? this.#listener.secure : this.#listener.plain
  }

  #command(line: Buffer): void {
    const space = line.indexOf(SP)
    const name = line.toString('latin1', 0, Math.min(space < 0 ? line.length : space, NAME + 1)).toUpperCase()
    const argument = space < 0 ? undefined : line.subarray(space + 1)
    // A name is good for the very next command.
    const user = this.#user
    this.#user = undefined
    switch (name) {
      case 'USER':
        return this.#takeUser(argument ?? NOTHING)
      case 'PASS':
        return this.#pass(user, argument ?? NOTHING)
      case 'AUTH':
        return argument === undefined ? this.port.write(this.#replies.mechanisms) : this.#auth(argument.toString('latin1'))
      case 'APOP':
        return this.port.write(LINES.apop)
      default:
        if (argument === undefined) this.#bare(name, user)
        else this.port.write(['CAPA', 'NOOP', 'UTF8', 'QUIT', 'STLS'].includes(name) ? LINES.badArguments : LINES.notBeforeLogin)
    }
  }

  /** Commands without arguments. */
  #bare(name: string, user: Buffer | undefined): void {
    switch (name) {
      case 'CAPA':
        // Clients ask in between; it changes nothing.
        this.#user = user
        return this.port.write(this.#replies.capa)
      case 'NOOP':
        this.#user = user
        return this.port.write(LINES.ok)
      case 'UTF8':
        if (!this.#listener.utf8) break
        this.#utf8 = true
        return this.port.write(LINES.utf8)
      case 'QUIT':
        return this.logout(LINES.goodbye)
      case 'STLS':
        if (this.secure || !this.#listener.startTls) return this.port.write(LINES.startTlsNotOffered)
        return this.startTls(LINES.startTls)
      default:
        break
    }
    this.port.write(LINES.notBeforeLogin)
  }

  /** No password is asked for that couldn't be used. */
  #takeUser(name: Buffer): void {
    const closed = passwordsClosed(this.#listener, this.secure)
    if (closed !== undefined) return this.fail(undefined, closed)
    if (name.length === 0) return this.port.write(LINES.badArguments)
    this.#user = name
    this.port.write(LINES.password)
  }

  #pass(user: Buffer | undefined, password: Buffer): void {
    const closed = passwordsClosed(this.#listener, this.secure)
    if (closed !== undefined) return this.fail(undefined, closed)
    if (user === undefined) return this.port.write(LINES.noUser)
    const credentials = passwordCredentials(NOTHING, user, password)
    if (credentials === undefined) this.fail(undefined, TEXTS.failed)
    else this.submit(undefined, 'PLAIN', credentials)
  }

  #auth(argument: string): void {
    const [name = '', initial, ...more] = argument.split(' ')
    if (name === '' || more.length > 0) return this.fail(undefined, '-ERR Syntax error in arguments')
    const mechanism = judgeMechanism(this.#listener.capabilities, this.secure, name)
    if (mechanism === 'unsupported') return this.fail(undefined, TEXTS.unsupportedMechanism)
    if (mechanism === 'privacy-required') return this.fail(undefined, TEXTS.privacyRequired)
    const exchange = new SaslExchange(mechanism)
    this.sasl(undefined, exchange, exchange.begin(initial === undefined ? undefined : Buffer.from(initial, 'latin1')))
  }
}
