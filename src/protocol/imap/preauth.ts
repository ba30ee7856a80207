/**
 * The dialogue with an IMAP client up to its login (RFC 9051 §6.1, §6.2; SASL-IR: RFC 4959; ID: RFC 2971): the commands
 * and their literals. Answers from configuration alone. States, exchanges and bounds are PreauthMachine's.
 */
import { impossible } from '../../errors.ts'
import { SaslExchange } from '../../sasl/exchange.ts'
import { passwordCredentials } from '../../sasl/password.ts'
import { judgeMechanism } from '../../sasl/policy.ts'
import { PreauthMachine } from '../preauth-machine.ts'
import type { DialogueFacts, PreauthPort } from '../protocol.ts'
import { readClientId } from './client-id.ts'
import { type ImapListener, loginClosed } from './listener.ts'
import { readAuthenticate, readLogin } from './login-arguments.ts'
import { type ImapReplies, LINES, TAGGED, WORDS, logout, tagged, untaggedThenTagged } from './replies.ts'
import { ArgumentScanner, type CommandHead, CommandReader, readHead } from './wire.ts'

const REFUSED_MECHANISM = {
  'unsupported': TAGGED.unsupportedMechanism,
  'privacy-required': TAGGED.privacyRequired,
} as const
const NO_AUTHZID = Buffer.alloc(0)
/** Commands whose arguments are read; a literal anywhere else is refused where it is announced. */
const WITH_ARGUMENTS: ReadonlySet<string> = new Set(['LOGIN', 'AUTHENTICATE', 'ID'])

export class ImapPreauth extends PreauthMachine<string> {
  readonly #listener: ImapListener
  readonly #reader: CommandReader
  #askedCapability = false
  #announcedTtl: number | undefined

  constructor(port: PreauthPort, listener: ImapListener, secure: boolean) {
    const reader = new CommandReader({ literalPlus: listener.literalPlus, total: listener.preauthBuffer })
    super(port, { words: WORDS, bounds: listener, bytes: reader.bytes, secure })
    this.#listener = listener
    this.#reader = reader
  }

  protected greeting(): Buffer {
    return this.#replies.greeting
  }

  protected fresh(): void {
    this.#askedCapability = false
    this.#announcedTtl = undefined
  }

  protected forget(): void {
    this.#reader.drop()
  }

  protected readMessage(): Buffer | 'more' | 'too-long' {
    return this.readMessageLine()
  }

  protected facts(tag: string): DialogueFacts {
    return {
      tag,
      askedCapability: this.#askedCapability,
      ...(this.#announcedTtl === undefined ? undefined : { announcedTtl: this.#announcedTtl }),
    }
  }

  get #replies(): ImapReplies {
    return this.secure ? this.#listener.secure : this.#listener.plain
  }

  protected readCommand(): boolean {
    const event = this.#reader.next()
    switch (event) {
      case 'more':
        return false
      case 'command':
        return this.counted(this.#reader.command, () => this.#command(this.#reader.command))
      case 'literal':
      case 'literal-too-large':
        return this.#literal(event === 'literal')
      case 'line-too-long':
        this.close(LINES.lineTooLong, 'CLIENT_PROTOCOL', 'command line too long')
        return false
      case 'non-synchronising-literal-too-large':
        this.close(LINES.literalTooLarge, 'CLIENT_PROTOCOL', 'non-synchronising literal too large')
        return false
      default:
        return impossible(event)
    }
  }

  /** A synchronising literal was announced: asks for it only where it will be used. */
  #literal(fits: boolean): boolean {
    const head = readHead(this.#reader.command)
    const refusal = this.#refuseLiteral(head, fits)
    if (refusal === undefined) {
      this.#reader.grant()
      this.port.write(LINES.continueLiteral)
      return true
    }
    return this.counted(this.#reader.command, () => {
      this.#reader.take()
      if (head.kind === 'bad-tag') this.port.write(LINES.badTag)
      else if (refusal.startsWith('NO')) this.fail(head.tag, refusal)
      else this.port.write(tagged(head.tag, refusal))
    })
  }

  #refuseLiteral(head: CommandHead, fits: boolean): string | undefined {
    switch (head.kind) {
      case 'bad-tag':
      case 'tag-only':
        return TAGGED.missingCommand
      case 'command':
        if (!WITH_ARGUMENTS.has(head.name)) return TAGGED.notBeforeLogin
        // No password is asked for that couldn't be used.
        return (
          (head.name === 'LOGIN' ? loginClosed(this.#listener, this.secure) : undefined) ??
          (fits ? undefined : TAGGED.literalTooLarge)
        )
      default:
        return impossible(head)
    }
  }

  /** Deals with a whole command. `command` is a view that is gone once its bytes are taken. */
  #command(command: Buffer): void {
    const head = readHead(command)
    switch (head.kind) {
      case 'bad-tag':
        this.#reader.take()
        this.port.write(LINES.badTag)
        return
      case 'tag-only':
        this.#reader.take()
        this.port.write(tagged(head.tag, TAGGED.missingCommand))
        return
      case 'command': {
        const scanner = new ArgumentScanner(command, head.end)
        switch (head.name) {
          case 'LOGIN':
            return this.#login(head.tag, scanner)
          case 'AUTHENTICATE':
            return this.#authenticate(head.tag, scanner)
          case 'ID':
            return this.#id(head.tag, scanner)
          default:
            return this.#simple(head.tag, head.name, scanner.done)
        }
      }
      default:
        return impossible(head)
    }
  }

  /** Commands without arguments. */
  #simple(tag: string, name: string, bare: boolean): void {
    this.#reader.take()
    switch (name) {
      case 'CAPABILITY':
        if (!bare) break
        this.#askedCapability = true
        this.port.write(untaggedThenTagged(this.#replies.capabilityLine, tag, TAGGED.capability))
        return
      case 'NOOP':
        if (!bare) break
        this.port.write(tagged(tag, TAGGED.noop))
        return
      case 'LOGOUT':
        if (!bare) break
        this.logout(logout(tag))
        return
      case 'STARTTLS':
        if (!bare) break
        this.#startTls(tag)
        return
      default:
        this.port.write(tagged(tag, TAGGED.notBeforeLogin))
        return
    }
    this.port.write(tagged(tag, TAGGED.badArguments))
  }

  #startTls(tag: string): void {
    if (this.secure || !this.#listener.startTls) {
      this.port.write(tagged(tag, TAGGED.startTlsNotOffered))
      return
    }
    this.startTls(tagged(tag, TAGGED.startTls))
  }

  #id(tag: string, scanner: ArgumentScanner): void {
    const id = readClientId(scanner)
    this.#reader.take()
    if (id === undefined) {
      this.port.write(tagged(tag, TAGGED.badArguments))
      return
    }
    if (id.ttl !== undefined) this.#announcedTtl = id.ttl
    this.port.write(untaggedThenTagged(this.#replies.idLine, tag, TAGGED.id))
  }

  #login(tag: string, scanner: ArgumentScanner): void {
    const closed = loginClosed(this.#listener, this.secure)
    const found = closed === undefined ? readLogin(scanner) : undefined
    const credentials = found && passwordCredentials(NO_AUTHZID, found.name, found.password)
    this.#reader.take()
    if (closed !== undefined) this.fail(tag, closed)
    else if (found === undefined) this.fail(tag, TAGGED.badArguments)
    else if (credentials === undefined) this.fail(tag, TAGGED.failed)
    else this.submit(tag, 'PLAIN', credentials)
  }

  #authenticate(tag: string, scanner: ArgumentScanner): void {
    const found = readAuthenticate(scanner)
    const mechanism = found && judgeMechanism(this.#listener.capabilities, this.secure, found.mechanism)
    switch (mechanism) {
      case undefined:
      case 'unsupported':
      case 'privacy-required':
        this.#reader.take()
        this.fail(tag, mechanism === undefined ? TAGGED.badArguments : REFUSED_MECHANISM[mechanism])
        return
      default: {
        const exchange = new SaslExchange(mechanism)
        const step = exchange.begin(found?.initial)
        this.#reader.take()
        this.sasl(tag, exchange, step)
      }
    }
  }
}
