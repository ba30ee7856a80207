/**
 * What the dialogues of all protocols with a login have in common on the client's leg: the states from the greeting to a
 * login and back after a refusal, SASL exchanges, STARTTLS, and every bound. A protocol adds its grammar (readCommand,
 * readMessage) and its words (DialogueWords). `Tag` is what an answer to a login must repeat; undefined where nothing is.
 *
 * One state at a time; bytes that come while the session works are kept, bounded, and read afterwards. Answers from
 * within a call of the port are safe. Once a login is accepted the object is done with, and every credential with it.
 */
import { type ErrorCode, SignalboxError, impossible } from '../errors.ts'
import { PIPELINED_BEHIND_LOGIN, PREAUTH_COMMANDS, SASL_LINE } from '../limits.ts'
import { type SaslExchange, type SaslStep, readResponse } from '../sasl/exchange.ts'
import { looksLikeHttp, looksLikeTls } from './foreign.ts'
import type { LineReader } from './line-reader.ts'
import type { Credentials, DialogueFacts, Preauth, PreauthPort, Refusal } from './protocol.ts'

/** What a protocol says of its own accord. All of it ends with its line end. */
export interface DialogueWords<Tag> {
  /** Before a close. */
  readonly timeout: Buffer
  readonly shutdown: Buffer
  readonly tooManyCommands: Buffer
  readonly lineTooLong: Buffer
  /** Too much data behind a login. */
  readonly bufferFull: Buffer
  /** To a client that speaks HTTP. */
  readonly foreign: Buffer
  /** Plaintext behind STARTTLS. */
  readonly injection: Buffer
  /** The backend's text, or ours, as a failed attempt; the last one says goodbye as well. */
  failure(tag: Tag, text: string | Buffer, final: boolean): Buffer
  /** The login could not be tried, or the account has as many sessions as it may (`limit`); never an authentication error. */
  unavailable(tag: Tag, reason?: 'limit'): Buffer
  /** The client took its attempt back with `*`. */
  cancelled(tag: Tag): Buffer
  /** A challenge, base64 encoded already (empty for none). */
  challenge(base64: Buffer): Buffer
  /** Texts for `failure`: a refused or malformed login, and what isn't base64. */
  readonly failed: string
  readonly badBase64: string
}

export interface DialogueBounds {
  /** listener.max_auth_attempts. */
  readonly maxAuthAttempts: number
  /** limits.preauth_buffer, bytes. */
  readonly preauthBuffer: number
}

type State<Tag> =
  /** Reads commands. */
  | { readonly at: 'commands' }
  /** The next message belongs to a SASL exchange. */
  | { readonly at: 'sasl'; readonly tag: Tag; readonly exchange: SaslExchange }
  /** The session is trying a login. */
  | { readonly at: 'login'; readonly tag: Tag }
  /** The next message answers a challenge of the backend. */
  | { readonly at: 'relay'; readonly tag: Tag }
  /** An attempt failed; the session holds its answer back. */
  | { readonly at: 'denied' }
  /** The session does the TLS handshake. */
  | { readonly at: 'tls' }
  | { readonly at: 'over' }

const COMMANDS = { at: 'commands' } as const
const DENIED = { at: 'denied' } as const
const TLS = { at: 'tls' } as const
const OVER = { at: 'over' } as const
const NOTHING = Buffer.alloc(0)

export abstract class PreauthMachine<Tag> implements Preauth {
  protected readonly port: PreauthPort
  readonly #words: DialogueWords<Tag>
  readonly #bounds: DialogueBounds
  readonly #bytes: LineReader
  #secure: boolean
  #state: State<Tag> = COMMANDS
  #reading = false
  #firstLine = true
  #commands = 0
  #failures = 0

  protected constructor(
    port: PreauthPort,
    { words, bounds, bytes, secure }: { words: DialogueWords<Tag>; bounds: DialogueBounds; bytes: LineReader; secure: boolean },
  ) {
    this.port = port
    this.#words = words
    this.#bounds = bounds
    this.#bytes = bytes
    this.#secure = secure
  }

  // ---- what a protocol adds ----

  /** The greeting. */
  protected abstract greeting(): Buffer
  /** Reads and deals with one command, through `counted`. False: nothing more can be read for now. */
  protected abstract readCommand(): boolean
  /** Takes one message of a SASL exchange by value: what stands on the wire, still base64. */
  protected abstract readMessage(): Buffer | 'more' | 'too-long'
  /** What the dialogue learned, for a login under this tag. */
  protected abstract facts(tag: Tag): DialogueFacts
  /** Forgets everything that was said; TLS has begun. */
  protected abstract fresh(): void
  /** After TLS some protocols speak first. */
  protected afterTls(): Buffer {
    return NOTHING
  }

  /** Drops what the grammar holds besides the bytes. */
  protected abstract forget(): void

  // ---- Preauth ----

  get held(): number {
    return this.#bytes.length
  }

  start(): void {
    this.port.write(this.greeting())
  }

  receive(chunk: Buffer): void {
    if (this.#state.at === 'over') return
    if (this.#state.at === 'tls') {
      this.close(this.#words.injection, 'CLIENT_PROTOCOL', 'plaintext behind STARTTLS')
      return
    }
    this.#bytes.feed(chunk)
    this.#read()
  }

  secured(): void {
    this.#expect('tls')
    this.#secure = true
    this.#firstLine = true
    this.#drop()
    this.fresh()
    this.#state = COMMANDS
    const words = this.afterTls()
    if (words.length > 0) this.port.write(words)
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
    const behind = this.#bytes.takeAll()
    this.#end()
    return behind
  }

  refused(refusal: Refusal): void {
    if (this.#state.at === 'over') return
    const { tag } = this.#expect('login')
    if (refusal.temporary === true) {
      this.goOn(refusal.text === undefined ? this.#words.unavailable(tag) : this.#words.failure(tag, refusal.text, false))
    } else this.fail(tag, refusal.text ?? this.#words.failed)
    this.#read()
  }

  unavailable(reason?: 'limit'): void {
    if (this.#state.at === 'over') return
    const { tag } = this.#expect('login')
    this.goOn(this.#words.unavailable(tag, reason))
    this.#read()
  }

  challenge(challenge: Buffer): void {
    if (this.#state.at === 'over') return
    const { tag } = this.#expect('login')
    this.#state = { at: 'relay', tag }
    this.port.write(this.#words.challenge(Buffer.from(challenge.toString('base64'), 'latin1')))
    this.#read()
  }

  expire(reason: 'timeout' | 'shutdown'): void {
    if (this.#state.at === 'over') return
    const handshake = this.#state.at === 'tls'
    if (reason === 'timeout') this.close(handshake ? NOTHING : this.#words.timeout, 'CLIENT_TIMEOUT', 'no login in time')
    else this.close(handshake ? NOTHING : this.#words.shutdown, 'DRAINING', 'the instance is shutting down')
  }

  // ---- for the grammar ----

  /** TLS is up. */
  protected get secure(): boolean {
    return this.#secure
  }

  /** Whether a TLS handshake lies where a command was due; the connection is closed then. */
  protected refusesTls(): boolean {
    if (!this.#firstLine || !looksLikeTls(this.#bytes.at(0))) return false
    this.close(NOTHING, 'CLIENT_PROTOCOL', 'a TLS handshake where none belongs')
    return true
  }

  /** A whole command, or one that is refused on its way: counts it and deals with it. `line` is its beginning. */
  protected counted(line: Buffer, handle: () => void): boolean {
    if (this.#firstLine && looksLikeHttp(line)) {
      this.close(this.#words.foreign, 'CLIENT_PROTOCOL', 'an HTTP request')
      return false
    }
    this.#firstLine = false
    if (++this.#commands > PREAUTH_COMMANDS) {
      this.close(this.#words.tooManyCommands, 'CLIENT_PROTOCOL', 'too many commands before login')
      return false
    }
    handle()
    return true
  }

  /** Reads a command of one line, at most `limit` bytes, and deals with it by value: what most protocols' `readCommand` is. */
  protected readCommandLine(limit: number, handle: (line: Buffer) => void): boolean {
    const bytes = this.#bytes
    const end = bytes.lineEnd()
    // An unfinished line may end in the CR of its CRLF.
    const textEnd = end < 0 ? bytes.length - 1 : bytes.textEnd(0, end)
    if (textEnd > Math.min(limit, this.#bounds.preauthBuffer)) {
      this.close(this.#words.lineTooLong, 'CLIENT_PROTOCOL', 'command line too long')
      return false
    }
    if (end < 0) return false
    return this.counted(bytes.view(0, textEnd), () => {
      // What the command leads to may come back to us: the line is taken first.
      const line = Buffer.from(bytes.view(0, textEnd))
      bytes.consume(end)
      handle(line)
    })
  }

  /**
   * The command was STARTTLS and may be granted: says `answer` and begins. The command's own bytes have been consumed;
   * anything that lies behind them is injection.
   */
  protected startTls(answer: Buffer): void {
    if (this.held > 0) {
      this.close(this.#words.injection, 'CLIENT_PROTOCOL', 'plaintext behind STARTTLS')
      return
    }
    this.#state = TLS
    this.port.write(answer)
    this.port.startTls()
  }

  /** The longest SASL message that may come, bytes without its framing. */
  protected get messageBound(): number {
    return Math.min(SASL_LINE, this.#bounds.preauthBuffer)
  }

  /** A line as a SASL message: what most protocols' `readMessage` is. */
  protected readMessageLine(): Buffer | 'more' | 'too-long' {
    const bytes = this.#bytes
    const end = bytes.lineEnd()
    const textEnd = end < 0 ? bytes.length - 1 : bytes.textEnd(0, end)
    if (textEnd > this.messageBound) return 'too-long'
    if (end < 0) return 'more'
    // The handler decodes before it speaks, but what it calls may come back to us: the line is taken by value first.
    const line = Buffer.from(bytes.view(0, textEnd))
    bytes.consume(end)
    return line
  }

  /** Goes on with what a step of an exchange says. */
  protected sasl(tag: Tag, exchange: SaslExchange, step: SaslStep): void {
    switch (step.kind) {
      case 'challenge':
        this.#state = { at: 'sasl', tag, exchange }
        this.port.write(this.#words.challenge(step.text))
        return
      case 'credentials':
        this.submit(tag, exchange.mechanism, step.credentials)
        return
      case 'cancelled':
        this.goOn(this.#words.cancelled(tag))
        return
      case 'malformed':
        this.fail(tag, step.reason === 'base64' ? this.#words.badBase64 : this.#words.failed)
        return
      default:
        impossible(step)
    }
  }

  /** An attempt to log in: the dialogue is silent until the session has an answer. */
  protected submit(tag: Tag, mechanism: SaslExchange['mechanism'], credentials: Credentials): void {
    this.#state = { at: 'login', tag }
    this.port.login({ mechanism, credentials, facts: this.facts(tag) })
  }

  /** An attempt failed. The last one ends the connection. */
  protected fail(tag: Tag, text: string | Buffer): void {
    const final = ++this.#failures >= this.#bounds.maxAuthAttempts
    if (final) this.#end()
    else this.#state = DENIED
    this.port.deny(this.#words.failure(tag, text, final), final)
  }

  /** Answers and reads further commands. */
  protected goOn(answer: Buffer): void {
    this.#state = COMMANDS
    this.port.write(answer)
  }

  /** The client's own, polite end. */
  protected logout(answer: Buffer): void {
    this.#end()
    this.port.close(answer, undefined)
  }

  protected close(last: Buffer, code: ErrorCode, message: string): void {
    this.#end()
    this.port.close(last, new SignalboxError(code, message))
  }

  // ---- the machine ----

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
    const bound = Math.min(this.#bounds.preauthBuffer, PIPELINED_BEHIND_LOGIN)
    if (waiting && this.held > bound) this.close(this.#words.bufferFull, 'CLIENT_BUFFER', 'too much data behind a login')
    else this.#bytes.settle()
  }

  /** One step of the dialogue. False: nothing more can be read for now. */
  #step(): boolean {
    const state = this.#state
    switch (state.at) {
      case 'commands':
        return !this.refusesTls() && this.readCommand()
      case 'sasl':
        return this.#readMessage((message) => this.sasl(state.tag, state.exchange, state.exchange.answer(message)))
      case 'relay':
        return this.#readMessage((message) => this.#relay(state.tag, message))
      case 'login':
      case 'denied':
      case 'tls':
      case 'over':
        return false
      default:
        return impossible(state)
    }
  }

  #readMessage(handle: (message: Buffer) => void): boolean {
    const message = this.readMessage()
    if (message === 'more') return false
    if (message === 'too-long') {
      this.close(this.#words.lineTooLong, 'CLIENT_PROTOCOL', 'SASL message too long')
      return false
    }
    handle(message)
    return true
  }

  /** What isn't base64 cancels towards the backend: the attempt fails there, in its own words. */
  #relay(tag: Tag, message: Buffer): void {
    const response = readResponse(message)
    this.#state = { at: 'login', tag }
    this.port.respond(response === 'cancel' ? undefined : response)
  }

  #end(): void {
    this.#state = OVER
    this.#drop()
  }

  #drop(): void {
    this.#bytes.drop()
    this.forget()
  }

  /** The state, which the session's call demands to be `at`. */
  #expect<At extends State<Tag>['at']>(at: At): Extract<State<Tag>, { at: At }> {
    const state = this.#state
    if (isAt(state, at)) return state
    throw new SignalboxError('INTERNAL', `the dialogue is at ${state.at}, not ${at}`)
  }
}

function isAt<Tag, At extends State<Tag>['at']>(state: State<Tag>, at: At): state is Extract<State<Tag>, { at: At }> {
  return state.at === at
}
