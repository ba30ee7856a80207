/**
 * The dialogue with a submission client up to its login (RFC 6409 §4, RFC 5321 §4.1, RFC 4954, RFC 3207). Answers from
 * configuration alone: no mail is taken here. States, exchanges and bounds are PreauthMachine's.
 *
 * Clients send longer initial responses than a command line may hold by the book (512 bytes); they are taken up to what a
 * SASL message may be. AUTH is an extension and comes after EHLO; under HELO it is out of sequence.
 */
import { isUtf8 } from 'node:buffer'
import { HELO_NAME, SASL_LINE, SMTP_LINE } from '../../limits.ts'
import { SaslExchange } from '../../sasl/exchange.ts'
import { judgeMechanism } from '../../sasl/policy.ts'
import { LineReader } from '../line-reader.ts'
import { PreauthMachine } from '../preauth-machine.ts'
import type { ClientConnection, DialogueFacts, PreauthPort } from '../protocol.ts'
import type { SubmissionListener } from './listener.ts'
import { LINES, type SubmissionReplies, TEXTS, WORDS } from './replies.ts'

const SP = 0x20
/** The longest command name. */
const NAME = 16
/** `AUTH`, a mechanism's name and a whole SASL message. */
const AUTH_LINE = SASL_LINE + 64
const AUTH = /^auth /i

export class SubmissionPreauth extends PreauthMachine<undefined> {
  readonly #listener: SubmissionListener
  readonly #localAddress: string
  readonly #bytes: LineReader
  /** What the client called itself last. */
  #hello: { readonly name: string; readonly esmtp: boolean } | undefined

  constructor(port: PreauthPort, listener: SubmissionListener, { secure, localAddress }: Pick<ClientConnection, 'secure' | 'localAddress'>) {
    const bytes = new LineReader()
    super(port, { words: WORDS, bounds: listener, bytes, secure })
    this.#listener = listener
    this.#localAddress = localAddress
    this.#bytes = bytes
  }

  protected greeting(): Buffer {
    return this.#replies.greeting
  }

  protected fresh(): void {
    this.#hello = undefined
  }

  protected forget(): void {}

  protected readMessage(): Buffer | 'more' | 'too-long' {
    return this.readMessageLine()
  }

  protected facts(): DialogueFacts {
    return this.#hello === undefined ? {} : { heloName: this.#hello.name, esmtp: this.#hello.esmtp }
  }

  protected readCommand(): boolean {
    const auth = AUTH.test(this.#bytes.view(0, Math.min(this.#bytes.length, NAME)).toString('latin1'))
    return this.readCommandLine(auth ? AUTH_LINE : SMTP_LINE, (line) => this.#command(line))
  }

  get #replies(): SubmissionReplies {
    return this.#listener.replies(this.#localAddress, this.secure)
  }

  #command(line: Buffer): void {
    const space = line.indexOf(SP)
    const name = line.toString('latin1', 0, Math.min(space < 0 ? line.length : space, NAME + 1)).toUpperCase()
    // RFC 5321 §4.1.1: white space before the line's end is tolerated.
    const argument = space < 0 ? '' : line.toString('latin1', space + 1).trim()
    switch (name) {
      case 'EHLO':
      case 'HELO':
        return this.#greeted(Buffer.from(argument, 'latin1'), name === 'EHLO')
      case 'AUTH':
        return this.#auth(argument)
      case 'STARTTLS':
        return this.#startTls(argument)
      case 'NOOP':
        return this.port.write(LINES.ok)
      case 'RSET':
        return this.port.write(argument === '' ? LINES.ok : LINES.badArguments)
      case 'VRFY':
        return this.port.write(argument === '' ? LINES.badArguments : LINES.verify)
      case 'HELP':
        return this.port.write(LINES.help)
      case 'QUIT':
        return argument === '' ? this.logout(LINES.goodbye) : this.port.write(LINES.badArguments)
      case 'MAIL':
      case 'RCPT':
      case 'DATA':
      case 'BDAT':
      case 'BURL':
        return this.port.write(this.#replies.loginFirst)
      case 'EXPN':
      case 'ETRN':
      case 'TURN':
      case 'XCLIENT':
      case 'XFORWARD':
        return this.port.write(LINES.notImplemented)
      default:
        return this.port.write(LINES.unknown)
    }
  }

  #greeted(argument: Buffer, esmtp: boolean): void {
    const name = argument.toString(isUtf8(argument) ? 'utf8' : 'latin1')
    if (argument.length === 0 || argument.length > HELO_NAME || /\p{Cc}/u.test(name)) {
      this.port.write(LINES.badName)
      return
    }
    this.#hello = { name, esmtp }
    this.port.write(esmtp ? this.#replies.ehlo : this.#replies.helo)
  }

  #startTls(argument: string): void {
    if (argument !== '') this.port.write(LINES.badArguments)
    else if (!this.#listener.startTls) this.port.write(LINES.startTlsNotOffered)
    else if (this.secure) this.port.write(LINES.startTlsDone)
    else this.startTls(LINES.startTls)
  }

  #auth(argument: string): void {
    if (this.#hello?.esmtp !== true) return this.port.write(LINES.ehloFirst)
    const [name = '', initial, ...more] = argument.split(' ')
    if (name === '' || more.length > 0) return this.fail(undefined, TEXTS.badArguments)
    const mechanism = judgeMechanism(this.#listener.capabilities, this.secure, name)
    if (mechanism === 'unsupported') return this.fail(undefined, TEXTS.unsupportedMechanism)
    if (mechanism === 'privacy-required') return this.fail(undefined, TEXTS.privacyRequired)
    const exchange = new SaslExchange(mechanism)
    this.sasl(undefined, exchange, exchange.begin(initial === undefined ? undefined : Buffer.from(initial, 'latin1')))
  }
}
