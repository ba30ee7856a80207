/**
 * What the dialogues of all protocols with a login have in common on the backend's leg: reading whole answers, STARTTLS and
 * whatever is injected around it, the login repeated, challenges passed on, and the outcome, which is told once. A protocol
 * adds its grammar (Answers), its `Step`s (what the answer that is waited for belongs to) and its words.
 *
 * A backend that doesn't keep to the grammar, or speaks out of turn, is trouble: nothing is guessed. Answers from within a
 * call of the port are safe. The login is forgotten with the outcome.
 */
import { type ErrorCode, SignalboxError } from '../errors.ts'
import { BACKEND_PREAMBLE } from '../limits.ts'
import { decodeBase64 } from '../sasl/base64.ts'
import type { SaslReplay } from '../sasl/replay.ts'
import type { LineReader } from './line-reader.ts'
import type { BackendDialogue, BackendOptions, BackendPort, Login } from './protocol.ts'

/** Reads a backend's answers off the bytes that came. */
export interface Answers<Answer> {
  readonly bytes: LineReader
  /** The next whole answer; 'more' when none is held; 'too-long' beyond the bounds; 'malformed': none of this protocol. */
  next(): Answer | 'more' | 'too-long' | 'malformed'
}

/** What a protocol calls itself and asks for TLS with. */
export interface BackendWords {
  readonly protocol: string
  /** The command's name, and the command as it is sent. */
  readonly startTls: string
  readonly startTlsCommand: Buffer
  /** Takes a SASL exchange back. */
  readonly cancel: Buffer
}

type Phase =
  /** The answer that is waited for belongs to #step. */
  | 'asked'
  /** TLS was asked for. */
  | 'starttls'
  /** The session does the TLS handshake. */
  | 'tls'
  /** Ready for a login. */
  | 'announced'
  /** As 'asked', and a challenge was passed on: the session brings the client's answer. */
  | 'relay'
  | 'over'

/** As much of an answer as an error repeats. */
const SHOWN = 120

export abstract class BackendMachine<Answer, Step> implements BackendDialogue {
  protected readonly port: BackendPort
  protected readonly options: BackendOptions
  readonly #words: BackendWords
  readonly #answers: Answers<Answer>
  #phase: Phase = 'asked'
  #step: Step | undefined
  /** Bytes that came. */
  #received = 0
  #greeted = false
  #secured = false
  #reading = false

  /** `greeting`: the step that the backend's first answer belongs to. */
  protected constructor(
    port: BackendPort,
    options: BackendOptions,
    { words, answers, greeting }: { words: BackendWords; answers: Answers<Answer>; greeting: Step },
  ) {
    this.port = port
    this.options = options
    this.#words = words
    this.#answers = answers
    this.#step = greeting
  }

  // ---- what a protocol adds ----

  abstract readonly capabilities: readonly string[]
  /** Deals with the answer that belongs to `step`: asks for the next thing, or ends in an outcome. */
  protected abstract answered(answer: Answer, step: Step): void
  /** Whether TLS may begin; undefined: this answers something else, and the wait goes on. */
  protected abstract takesStartTls(answer: Answer): boolean | undefined
  /** Forgets what was said in the clear; TLS begins. */
  protected abstract fresh(): void
  /** TLS is up: asks anew, or waits for what the backend says by itself. */
  protected abstract afterTls(): void
  /** How the login is repeated here: the first bytes, and what the answer to them belongs to. Undefined: the backend offers no way. */
  protected abstract open(login: Login): { readonly step: Step; readonly bytes: Buffer } | undefined
  /** The words of an answer, for an error. */
  protected abstract wordsOf(answer: Answer): string
  /** The backend is about to close the connection. */
  protected saysGoodbye(_answer: Answer, _step: Step | undefined): boolean {
    return false
  }

  /** What a backend may say while nothing was asked. */
  protected isNews(_answer: Answer): boolean {
    return false
  }

  /** A SASL message as it goes to the backend. */
  protected message(base64: string): Buffer {
    return Buffer.from(`${base64}\r\n`)
  }

  // ---- BackendDialogue ----

  /** The backend speaks first. */
  start(): void {
    if (this.#greeted) throw new SignalboxError('INTERNAL', 'started twice')
  }

  receive(chunk: Buffer): void {
    if (this.#phase === 'over' || chunk.length === 0) return
    this.#received += chunk.length
    if (this.#phase === 'tls') this.#injected()
    else if (this.#received > BACKEND_PREAMBLE) this.trouble('BACKEND_PROTOCOL', 'too much before the login')
    else {
      this.#answers.bytes.feed(chunk)
      this.#read()
    }
  }

  secured(): void {
    this.#expect('tls')
    this.#secured = true
    this.afterTls()
  }

  replay(login: Login): void {
    if (this.#phase === 'over') return
    this.#expect('announced')
    const opening = this.open(login)
    if (opening === undefined) this.trouble('BACKEND_NO_MECHANISM', `no way to repeat a ${login.mechanism} login`)
    else this.ask(opening.step, opening.bytes)
  }

  respond(answer: Buffer | undefined): void {
    if (this.#phase === 'over') return
    this.#expect('relay')
    this.#phase = 'asked'
    this.port.write(answer === undefined ? this.#words.cancel : this.message(answer.toString('base64')))
  }

  // ---- for the protocol ----

  /** TLS was begun by STARTTLS and is up. */
  protected get secure(): boolean {
    return this.#secured
  }

  /** Waits for what belongs to `step`, and sends `bytes` that lead to it where some are due. */
  protected ask(step: Step, bytes?: Buffer): void {
    this.#greeted = true
    this.#phase = 'asked'
    this.#step = step
    if (bytes !== undefined) this.port.write(bytes)
  }

  /** Sees to STARTTLS where the leg wants it. False: there is nothing to do. */
  protected secures(offered: boolean): boolean {
    if (!this.options.startTls || this.#secured) return false
    if (offered) {
      this.#greeted = true
      this.#phase = 'starttls'
      this.port.write(this.#words.startTlsCommand)
    } else this.trouble('BACKEND_PROTOCOL', `${this.#words.startTls} is not advertised`)
    return true
  }

  /** Greeting, TLS and capabilities are done. */
  protected announced(): void {
    this.#greeted = true
    this.#phase = 'announced'
    this.#step = undefined
    this.port.announced()
  }

  /** The backend asks for the next message of a SASL exchange. `base64`: its challenge; undefined: it says more than a challenge holds. */
  protected challenged(sasl: SaslReplay, base64: Buffer | undefined): void {
    // One challenge at a time goes to the client.
    const next = base64 === undefined || this.#phase === 'relay' ? 'unexpected' : sasl.next()
    if (next === 'unexpected' || base64 === undefined) {
      this.trouble('BACKEND_PROTOCOL', 'a challenge where none was due')
    } else if (next === 'relay') {
      const challenge = decodeBase64(base64)
      if (challenge === undefined) {
        this.trouble('BACKEND_PROTOCOL', 'a challenge that is not base64')
        return
      }
      this.#phase = 'relay'
      this.port.challenge(challenge)
    } else this.port.write(this.message(next.text))
  }

  /** The login was taken. `bytes` go to the client, with whatever the backend has sent behind them. */
  protected accept(...bytes: readonly Buffer[]): void {
    const behind = this.#answers.bytes.takeAll()
    this.#end()
    this.port.accepted(Buffer.concat([...bytes, behind]))
  }

  /**
   * The login was turned down. `words`: the backend's; `unavailable`: ours where it couldn't judge the credentials (they may
   * well be right), else undefined.
   */
  protected refuse(words: string, unavailable: string | undefined): void {
    // A bare CR or NUL is no text. Lengths stay as they are: there may be literals.
    const own = Buffer.from(words.replace(/\r(?!\n)|\0/g, ' '), 'latin1')
    const generic = unavailable === undefined ? undefined : Buffer.from(unavailable)
    const text = this.options.hideAuthErrors ? generic : own
    this.#end()
    this.port.refused(unavailable === undefined ? { text } : { text, temporary: true })
  }

  protected trouble(code: ErrorCode, message: string): void {
    this.#end()
    this.port.trouble(new SignalboxError(code, message))
  }

  /** An answer as an error repeats it. */
  protected shown(answer: Answer): string {
    return this.wordsOf(answer).slice(0, SHOWN).replace(/[^\x20-\x7e]/g, '?')
  }

  // ---- reading ----

  #read(): void {
    if (this.#reading) return
    this.#reading = true
    try {
      while (this.#next());
    } finally {
      this.#reading = false
    }
    if (this.#phase !== 'over') this.#answers.bytes.settle()
  }

  /** Deals with one answer. False: nothing more can be read for now. */
  #next(): boolean {
    if (this.#phase === 'over') return false
    if (this.#phase === 'tls') {
      if (this.#answers.bytes.length > 0) this.#injected()
      return false
    }
    const answer = this.#answers.next()
    if (answer === 'more') return false
    if (answer === 'too-long') this.trouble('BACKEND_PROTOCOL', 'a line or literal is too long')
    else if (answer === 'malformed') {
      this.trouble(this.#greeted ? 'BACKEND_PROTOCOL' : 'BACKEND_GREETING', `no ${this.#words.protocol} answer`)
    } else this.#take(answer)
    return true
  }

  #take(answer: Answer): void {
    if (this.#greeted && this.saysGoodbye(answer, this.#step)) {
      this.trouble('BACKEND_CLOSED', `the backend said goodbye: ${this.shown(answer)}`)
    } else if (this.#phase === 'starttls') this.#startTls(answer)
    else if (this.#step !== undefined) this.answered(answer, this.#step)
    else if (!this.isNews(answer)) this.trouble('BACKEND_PROTOCOL', 'an answer to nothing')
  }

  #startTls(answer: Answer): void {
    const taken = this.takesStartTls(answer)
    if (taken === undefined) return
    if (!taken) {
      this.trouble('BACKEND_PROTOCOL', `${this.#words.startTls} was advertised but refused: ${this.shown(answer)}`)
    } else if (this.#answers.bytes.length > 0) this.#injected()
    else {
      this.fresh()
      this.#phase = 'tls'
      this.port.startTls()
    }
  }

  #injected(): void {
    this.trouble('BACKEND_INJECTION', `plaintext behind the answer to ${this.#words.startTls}`)
  }

  #end(): void {
    this.#phase = 'over'
    this.#step = undefined
    this.#answers.bytes.drop()
  }

  #expect(due: Phase): void {
    if (this.#phase !== due) throw new SignalboxError('INTERNAL', `${this.#words.protocol} backend is at ${this.#phase}, not ${due}`)
  }
}
