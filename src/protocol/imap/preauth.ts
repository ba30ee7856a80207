/**
 * The dialogue with an IMAP client up to its login (RFC 9051 §6.1, §6.2; SASL-IR: RFC 4959; ID: RFC 2971). Answers
 * from configuration alone. It owns what the client has sent and how far it has come; sockets, TLS and time are the
 * session's. One state at a time; bytes that come while the session works are kept, bounded, and read afterwards.
 * Once the login is accepted the object is done with, and every credential with it. Longer than most files, because
 * every transition of the machine is here and nowhere else.
 */
import { type ErrorCode, SignalboxError, impossible } from '../../errors.ts'
import { PIPELINED_BEHIND_LOGIN, PREAUTH_COMMANDS, SASL_LINE } from '../../limits.ts'
import { SaslExchange, type SaslStep, readResponse } from '../../sasl/exchange.ts'
import { passwordCredentials } from '../../sasl/password.ts'
import { judgeMechanism } from '../../sasl/policy.ts'
import { looksLikeHttp, looksLikeTls } from '../foreign.ts'
import type { Credentials, DialogueFacts, Preauth, PreauthPort, Refusal } from '../protocol.ts'
import { readClientId } from './client-id.ts'
import { type ImapListener, loginClosed } from './listener.ts'
import { readAuthenticate, readLogin } from './login-arguments.ts'
import { type ImapReplies, LINES, TAGGED, continuation, failure, logout, tagged, untaggedThenTagged } from './replies.ts'
import { ArgumentScanner, type CommandHead, CommandReader, readHead } from './wire.ts'

type State =
  /** Reads commands. */
  | { readonly at: 'commands' }
  /** AUTHENTICATE: the next line is a SASL message. */
  | { readonly at: 'sasl'; readonly tag: string; readonly exchange: SaslExchange }
  /** The session is trying a login. */
  | { readonly at: 'login'; readonly tag: string }
  /** The next line answers a challenge of the backend. */
  | { readonly at: 'relay'; readonly tag: string }
  /** An attempt failed; the session holds its answer back. */
  | { readonly at: 'denied' }
  /** The session does the TLS handshake. */
  | { readonly at: 'tls' }
  | { readonly at: 'over' }

const COMMANDS: State = { at: 'commands' }
const DENIED: State = { at: 'denied' }
const TLS: State = { at: 'tls' }
const OVER: State = { at: 'over' }
const REFUSED_MECHANISM = {
  'unsupported': TAGGED.unsupportedMechanism,
  'privacy-required': TAGGED.privacyRequired,
} as const
const NO_AUTHZID = Buffer.alloc(0)
/** Commands whose arguments are read; a literal anywhere else is refused where it is announced. */
const WITH_ARGUMENTS: ReadonlySet<string> = new Set(['LOGIN', 'AUTHENTICATE', 'ID'])

export class ImapPreauth implements Preauth {
  readonly #port: PreauthPort
  readonly #listener: ImapListener
  readonly #reader: CommandReader
  #secure: boolean
  #state: State = COMMANDS
  #reading = false
  #firstLine = true
  #commands = 0
  #failures = 0
  #askedCapability = false
  #announcedTtl: number | undefined

  constructor(port: PreauthPort, listener: ImapListener, secure: boolean) {
    this.#port = port
    this.#listener = listener
    this.#secure = secure
    this.#reader = new CommandReader({ literalPlus: listener.literalPlus, total: listener.preauthBuffer })
  }

  get held(): number {
    return this.#reader.bytes.length
  }

  start(): void {
    this.#port.write(this.#replies.greeting)
  }

  receive(chunk: Buffer): void {
    if (this.#state.at === 'over') return
    if (this.#state.at === 'tls') {
      this.#close(LINES.injection, 'CLIENT_PROTOCOL', 'plaintext behind STARTTLS')
      return
    }
    this.#reader.bytes.feed(chunk)
    this.#read()
  }

  secured(): void {
    this.#expect('tls')
    this.#secure = true
    this.#firstLine = true
    this.#askedCapability = false
    this.#announcedTtl = undefined
    this.#reader.drop()
    this.#state = COMMANDS
  }

  resume(): void {
    if (this.#state.at === 'over') return
    this.#expect('denied')
    this.#state = COMMANDS
    this.#read()
  }

  accepted(): Buffer {
    // What the client sent meanwhile, or the end of its time, may have ended the dialogue under a login that succeeded.
    if (this.#state.at === 'over') throw new SignalboxError('CLIENT_CLOSED', 'the dialogue ended before its login')
    this.#expect('login')
    const behind = this.#reader.bytes.takeAll()
    this.#end()
    return behind
  }

  refused(refusal: Refusal): void {
    if (this.#state.at === 'over') return
    const { tag } = this.#expect('login')
    if (refusal.temporary === true) this.#goOn(failure(tag, refusal.text ?? TAGGED.unavailable, false))
    else this.#fail(tag, refusal.text ?? TAGGED.failed)
    this.#read()
  }

  unavailable(): void {
    if (this.#state.at === 'over') return
    const { tag } = this.#expect('login')
    this.#goOn(tagged(tag, TAGGED.unavailable))
    this.#read()
  }

  challenge(challenge: Buffer): void {
    if (this.#state.at === 'over') return
    const { tag } = this.#expect('login')
    this.#state = { at: 'relay', tag }
    this.#port.write(continuation(Buffer.from(challenge.toString('base64'), 'latin1')))
    this.#read()
  }

  expire(reason: 'timeout' | 'shutdown'): void {
    if (this.#state.at === 'over') return
    const handshake = this.#state.at === 'tls'
    if (reason === 'timeout') this.#close(handshake ? LINES.empty : LINES.timeout, 'CLIENT_TIMEOUT', 'no login in time')
    else this.#close(handshake ? LINES.empty : LINES.shutdown, 'DRAINING', 'the instance is shutting down')
  }

  get #replies(): ImapReplies {
    return this.#secure ? this.#listener.secure : this.#listener.plain
  }

  /** Reads what is held as far as the state allows. Safe when the session answers from within a call of the port. */
  #read(): void {
    if (this.#reading) return
    this.#reading = true
    try {
      while (this.#step());
    } finally {
      this.#reading = false
    }
    if (this.#state.at !== 'over') this.#keep()
  }

  /** Keeps what is left for later, within the bounds. */
  #keep(): void {
    const waiting = this.#state.at === 'login' || this.#state.at === 'denied'
    const bound = Math.min(this.#listener.preauthBuffer, PIPELINED_BEHIND_LOGIN)
    if (waiting && this.held > bound) this.#close(LINES.bufferFull, 'CLIENT_BUFFER', 'too much data behind a login')
    else this.#reader.bytes.settle()
  }

  /** One step of the dialogue. False: nothing more can be read for now. */
  #step(): boolean {
    const state = this.#state
    switch (state.at) {
      case 'commands':
        return this.#readCommand()
      case 'sasl':
        return this.#readSasl((line) => this.#sasl(state.tag, state.exchange, state.exchange.answer(line)))
      case 'relay':
        return this.#readSasl((line) => this.#relay(state.tag, line))
      case 'login':
      case 'denied':
      case 'tls':
      case 'over':
        return false
      default:
        return impossible(state)
    }
  }

  #readCommand(): boolean {
    if (this.#firstLine && looksLikeTls(this.#reader.bytes.at(0))) {
      this.#close(LINES.empty, 'CLIENT_PROTOCOL', 'a TLS handshake where none belongs')
      return false
    }
    const event = this.#reader.next()
    switch (event) {
      case 'more':
        return false
      case 'command':
        return this.#counted(() => {
          this.#command(this.#reader.command)
        })
      case 'literal':
      case 'literal-too-large':
        return this.#literal(event === 'literal')
      case 'line-too-long':
        this.#close(LINES.lineTooLong, 'CLIENT_PROTOCOL', 'command line too long')
        return false
      case 'non-synchronising-literal-too-large':
        this.#close(LINES.literalTooLarge, 'CLIENT_PROTOCOL', 'non-synchronising literal too large')
        return false
      default:
        return impossible(event)
    }
  }

  /** A whole command, or one that is refused at its literal: counts it, deals with it, forgets its bytes. */
  #counted(handle: () => void): boolean {
    if (this.#firstLine && looksLikeHttp(this.#reader.command)) {
      this.#close(LINES.notImap, 'CLIENT_PROTOCOL', 'an HTTP request')
      return false
    }
    this.#firstLine = false
    if (++this.#commands > PREAUTH_COMMANDS) {
      this.#close(LINES.tooManyCommands, 'CLIENT_PROTOCOL', 'too many commands before login')
      return false
    }
    handle()
    return true
  }

  /** A synchronising literal was announced: asks for it only where it will be used. */
  #literal(fits: boolean): boolean {
    const head = readHead(this.#reader.command)
    const refusal = this.#refuseLiteral(head, fits)
    if (refusal === undefined) {
      this.#reader.grant()
      this.#port.write(LINES.continueLiteral)
      return true
    }
    return this.#counted(() => {
      this.#reader.take()
      if (head.kind === 'bad-tag') this.#port.write(LINES.badTag)
      else if (refusal.startsWith('NO')) this.#fail(head.tag, refusal)
      else this.#port.write(tagged(head.tag, refusal))
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
          (head.name === 'LOGIN' ? loginClosed(this.#listener, this.#secure) : undefined) ??
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
        this.#port.write(LINES.badTag)
        return
      case 'tag-only':
        this.#reader.take()
        this.#port.write(tagged(head.tag, TAGGED.missingCommand))
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
        this.#port.write(untaggedThenTagged(this.#replies.capabilityLine, tag, TAGGED.capability))
        return
      case 'NOOP':
        if (!bare) break
        this.#port.write(tagged(tag, TAGGED.noop))
        return
      case 'LOGOUT':
        if (!bare) break
        this.#end()
        this.#port.close(logout(tag), undefined)
        return
      case 'STARTTLS':
        if (!bare) break
        this.#startTls(tag)
        return
      default:
        this.#port.write(tagged(tag, TAGGED.notBeforeLogin))
        return
    }
    this.#port.write(tagged(tag, TAGGED.badArguments))
  }

  #startTls(tag: string): void {
    if (this.#secure || !this.#listener.startTls) {
      this.#port.write(tagged(tag, TAGGED.startTlsNotOffered))
      return
    }
    if (this.held > 0) {
      this.#close(LINES.injection, 'CLIENT_PROTOCOL', 'plaintext behind STARTTLS')
      return
    }
    this.#state = TLS
    this.#port.write(tagged(tag, TAGGED.startTls))
    this.#port.startTls()
  }

  #id(tag: string, scanner: ArgumentScanner): void {
    const id = readClientId(scanner)
    this.#reader.take()
    if (id === undefined) {
      this.#port.write(tagged(tag, TAGGED.badArguments))
      return
    }
    if (id.ttl !== undefined) this.#announcedTtl = id.ttl
    this.#port.write(untaggedThenTagged(this.#replies.idLine, tag, TAGGED.id))
  }

  #login(tag: string, scanner: ArgumentScanner): void {
    const closed = loginClosed(this.#listener, this.#secure)
    const found = closed === undefined ? readLogin(scanner) : undefined
    const credentials = found && passwordCredentials(NO_AUTHZID, found.name, found.password)
    this.#reader.take()
    if (closed !== undefined) this.#fail(tag, closed)
    else if (found === undefined) this.#fail(tag, TAGGED.badArguments)
    else if (credentials === undefined) this.#fail(tag, TAGGED.failed)
    else this.#submit(tag, 'PLAIN', credentials)
  }

  #authenticate(tag: string, scanner: ArgumentScanner): void {
    const found = readAuthenticate(scanner)
    const mechanism = found && judgeMechanism(this.#listener.capabilities, this.#secure, found.mechanism)
    switch (mechanism) {
      case undefined:
      case 'unsupported':
      case 'privacy-required':
        this.#reader.take()
        this.#fail(tag, mechanism === undefined ? TAGGED.badArguments : REFUSED_MECHANISM[mechanism])
        return
      default: {
        const exchange = new SaslExchange(mechanism)
        const step = exchange.begin(found?.initial)
        this.#reader.take()
        this.#sasl(tag, exchange, step)
      }
    }
  }

  /** Reads one line of a SASL exchange. */
  #readSasl(handle: (line: Buffer) => void): boolean {
    const { bytes } = this.#reader
    const end = bytes.lineEnd()
    const textEnd = end < 0 ? bytes.length - 1 : bytes.textEnd(0, end)
    if (textEnd > Math.min(SASL_LINE, this.#listener.preauthBuffer)) {
      this.#close(LINES.lineTooLong, 'CLIENT_PROTOCOL', 'SASL message too long')
      return false
    }
    if (end < 0) return false
    // The handler decodes before it speaks, but what it calls may come back to us: the line is taken by value first.
    const line = Buffer.from(bytes.view(0, textEnd))
    bytes.consume(end)
    handle(line)
    return true
  }

  #sasl(tag: string, exchange: SaslExchange, step: SaslStep): void {
    switch (step.kind) {
      case 'challenge':
        this.#state = { at: 'sasl', tag, exchange }
        this.#port.write(continuation(step.text))
        return
      case 'credentials':
        this.#submit(tag, exchange.mechanism, step.credentials)
        return
      case 'cancelled':
        this.#goOn(tagged(tag, TAGGED.cancelled))
        return
      case 'malformed':
        this.#fail(tag, step.reason === 'base64' ? TAGGED.badBase64 : TAGGED.failed)
        return
      default:
        impossible(step)
    }
  }

  /** What isn't base64 cancels towards the backend: the attempt fails there, in its own words. */
  #relay(tag: string, line: Buffer): void {
    const response = readResponse(line)
    this.#state = { at: 'login', tag }
    this.#port.respond(response === 'cancel' ? undefined : response)
  }

  #submit(tag: string, mechanism: SaslExchange['mechanism'], credentials: Credentials): void {
    const facts: DialogueFacts = {
      tag,
      askedCapability: this.#askedCapability,
      ...(this.#announcedTtl === undefined ? undefined : { announcedTtl: this.#announcedTtl }),
    }
    this.#state = { at: 'login', tag }
    this.#port.login({ mechanism, credentials, facts })
  }

  /** An attempt failed. The last one ends the connection. */
  #fail(tag: string, text: string | Buffer): void {
    const final = ++this.#failures >= this.#listener.maxAuthAttempts
    if (final) this.#end()
    else this.#state = DENIED
    this.#port.deny(failure(tag, text, final), final)
  }

  #goOn(answer: Buffer): void {
    this.#state = COMMANDS
    this.#port.write(answer)
  }

  #close(last: Buffer, code: ErrorCode, message: string): void {
    this.#end()
    this.#port.close(last, new SignalboxError(code, message))
  }

  #end(): void {
    this.#state = OVER
    this.#reader.drop()
  }

  /** The state, which the session's call demands to be `at`. */
  #expect<At extends State['at']>(at: At): Extract<State, { at: At }> {
    const state = this.#state
    if (isAt(state, at)) return state
    throw new SignalboxError('INTERNAL', `IMAP dialogue is at ${state.at}, not ${at}`)
  }
}

function isAt<At extends State['at']>(state: State, at: At): state is Extract<State, { at: At }> {
  return state.at === at
}
