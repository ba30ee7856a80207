/**
 * The dialogue with a ManageSieve client up to its login (RFC 5804 §2.1 to §2.4, §2.13): CAPABILITY, NOOP, LOGOUT, STARTTLS,
 * AUTHENTICATE. Answers from configuration alone. States, exchanges and bounds are PreauthMachine's; the messages of an
 * exchange are strings here, as everything is.
 */
import { impossible } from '../../errors.ts'
import { MANAGESIEVE_LINE, MANAGESIEVE_LITERALS, SASL_LINE } from '../../limits.ts'
import { SaslExchange } from '../../sasl/exchange.ts'
import { judgeMechanism } from '../../sasl/policy.ts'
import { PreauthMachine } from '../preauth-machine.ts'
import type { DialogueFacts, PreauthPort } from '../protocol.ts'
import type { ManageSieveListener } from './listener.ts'
import { LINES, type ManageSieveReplies, TEXTS, WORDS, tagged } from './replies.ts'
import { type LineEvent, Scanner, SieveReader, readStrings } from './wire.ts'

/** The longest command name. */
const NAME = 32
/** A line with AUTHENTICATE may hold a whole SASL message. */
const AUTHENTICATE_LINE = SASL_LINE + 2 * NAME
const AUTHENTICATE = /^authenticate /i
/** Stands for a message that is no string: it is no base64 either, and fails the attempt as such. */
const NO_STRING = Buffer.from('"')

export class ManageSievePreauth extends PreauthMachine<undefined> {
  readonly #listener: ManageSieveListener
  readonly #reader: SieveReader

  constructor(port: PreauthPort, listener: ManageSieveListener, secure: boolean) {
    const reader = new SieveReader('client')
    super(port, { words: WORDS, bounds: listener, bytes: reader.bytes, secure })
    this.#listener = listener
    this.#reader = reader
  }

  protected greeting(): Buffer {
    return this.#replies.greeting
  }

  protected override afterTls(): Buffer {
    return this.#replies.afterTls
  }

  protected fresh(): void {}

  protected forget(): void {
    this.#reader.drop()
  }

  protected facts(): DialogueFacts {
    return {}
  }

  protected readMessage(): Buffer | 'more' | 'too-long' {
    const bound = this.messageBound
    // The string's quotes, or the announcement of a literal, come on top.
    const event = this.#reader.next({ line: bound + NAME, literals: bound, total: bound + 2 * NAME })
    if (event === 'more') return 'more'
    if (event !== 'whole') return 'too-long'
    // The handler decodes before it speaks, but what it calls may come back to us: the string is taken by value first.
    const [value] = readStrings(this.#reader.whole, 1) ?? []
    const message = value === undefined ? NO_STRING : Buffer.from(value)
    this.#reader.take()
    return message.length > bound ? 'too-long' : message
  }

  protected readCommand(): boolean {
    const { bytes } = this.#reader
    const authenticate = AUTHENTICATE.test(bytes.view(0, Math.min(bytes.length, NAME)).toString('latin1'))
    const line = authenticate ? AUTHENTICATE_LINE : MANAGESIEVE_LINE
    return this.#event(this.#reader.next({ line, literals: MANAGESIEVE_LITERALS, total: this.#listener.preauthBuffer }))
  }

  get #replies(): ManageSieveReplies {
    return this.secure ? this.#listener.secure : this.#listener.plain
  }

  #event(event: LineEvent): boolean {
    switch (event) {
      case 'more':
        return false
      case 'whole':
        return this.counted(this.#reader.whole, () => this.#command(new Scanner(this.#reader.whole)))
      case 'line-too-long':
        this.close(LINES.lineTooLong, 'CLIENT_PROTOCOL', 'command line too long')
        return false
      case 'literal-too-large':
        this.close(LINES.literalTooLarge, 'CLIENT_PROTOCOL', 'literal too large')
        return false
      case 'literal-form':
        this.close(LINES.literalForm, 'CLIENT_PROTOCOL', 'a synchronising literal')
        return false
      default:
        return impossible(event)
    }
  }

  /** Deals with a whole command: a view that is gone once it is taken off the reader. */
  #command(scanner: Scanner): void {
    const name = scanner.word(NAME)
    switch (name) {
      case 'AUTHENTICATE':
        return this.#authenticate(scanner)
      case 'NOOP':
        return this.#noop(scanner)
      case 'CAPABILITY':
      case 'LOGOUT':
      case 'STARTTLS': {
        const bare = scanner.done
        this.#reader.take()
        return bare ? this.#bare(name) : this.port.write(LINES.badArguments)
      }
      default:
        this.#reader.take()
        this.port.write(LINES.notBeforeLogin)
    }
  }

  /** Commands without arguments. */
  #bare(name: 'CAPABILITY' | 'LOGOUT' | 'STARTTLS'): void {
    switch (name) {
      case 'CAPABILITY':
        return this.port.write(this.#replies.capability)
      case 'LOGOUT':
        return this.logout(LINES.logout)
      case 'STARTTLS':
        if (this.secure || !this.#listener.startTls) return this.port.write(LINES.startTlsNotOffered)
        return this.startTls(LINES.startTls)
      default:
        return impossible(name)
    }
  }

  #noop(scanner: Scanner): void {
    const bare = scanner.done
    const tag = !bare && scanner.space() ? scanner.string() : undefined
    const answer = tag !== undefined && scanner.done ? tagged(tag) : LINES.badArguments
    this.#reader.take()
    this.port.write(bare ? LINES.noop : answer)
  }

  #authenticate(scanner: Scanner): void {
    const name = scanner.space() ? scanner.string()?.toString('latin1') : undefined
    const initial = name !== undefined && scanner.space() ? scanner.string() : undefined
    const mechanism = name === undefined || !scanner.done ? undefined : judgeMechanism(this.#listener.capabilities, this.secure, name)
    switch (mechanism) {
      case undefined:
        this.#reader.take()
        return this.fail(undefined, TEXTS.badArguments)
      case 'unsupported':
        this.#reader.take()
        return this.fail(undefined, TEXTS.unsupportedMechanism)
      case 'privacy-required':
        this.#reader.take()
        return this.fail(undefined, TEXTS.privacyRequired)
      default: {
        const exchange = new SaslExchange(mechanism)
        const step = exchange.begin(initial)
        this.#reader.take()
        this.sasl(undefined, exchange, step)
      }
    }
  }
}
