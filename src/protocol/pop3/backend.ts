/**
 * The dialogue with a POP3 backend: greeting, CAPA, STLS, XCLIENT, UTF8, the client's login repeated (RFC 1939, RFC 2449,
 * RFC 2595, RFC 5034). A backend without CAPA (older than RFC 2449) gets USER and PASS. One that doesn't keep to the
 * grammar, or speaks out of turn, is trouble: nothing is guessed. The login is forgotten with the answer.
 */
import { type ErrorCode, SignalboxError, impossible } from '../../errors.ts'
import { BACKEND_LINE, BACKEND_PREAMBLE, POP3_AUTH_LINE } from '../../limits.ts'
import { decodeBase64 } from '../../sasl/base64.ts'
import { SaslReplay, actsAsItself, chooseMechanism } from '../../sasl/replay.ts'
import { LineReader } from '../line-reader.ts'
import type { BackendDialogue, BackendOptions, BackendPort, Login, Refusal } from '../protocol.ts'
import { xclientAttributes, xclientText } from '../xclient.ts'
import { TEXTS } from './replies.ts'

type State =
  | { readonly at: 'greeting' }
  /** CAPA was sent; undefined: its status line hasn't come. */
  | { readonly at: 'capa'; lines: string[] | undefined }
  | { readonly at: 'stls' }
  | { readonly at: 'tls' }
  | { readonly at: 'xclient' }
  | { readonly at: 'utf8' }
  | { readonly at: 'announced' }
  | { readonly at: 'sasl'; readonly sasl: SaslReplay }
  /** USER was sent; PASS with these bytes follows. */
  | { readonly at: 'user'; readonly pass: Buffer }
  | { readonly at: 'pass' }
  | { readonly at: 'over' }

const CAPA = Buffer.from('CAPA\r\n')
const STLS = Buffer.from('STLS\r\n')
const UTF8 = Buffer.from('UTF8\r\n')
const CANCEL = Buffer.from('*\r\n')
const CRLF = Buffer.from('\r\n')
const OVER: State = { at: 'over' }
/** RFC 3206 and RFC 2449 §8.1: the credentials may well be right. */
const TEMPORARY = /^-ERR \[(SYS\/TEMP|IN-USE|LOGIN-DELAY)\]/i
/** As much of a greeting as an error repeats. */
const SHOWN = 120

export class Pop3Backend implements BackendDialogue {
  readonly #port: BackendPort
  readonly #options: BackendOptions
  readonly #bytes = new LineReader()
  #state: State = { at: 'greeting' }
  #received = 0
  #secured = false
  #reading = false
  /** The lines of CAPA; undefined: the backend doesn't know the command. */
  #capa: readonly string[] | undefined
  #greetingOffersXclient = false

  constructor(port: BackendPort, options: BackendOptions) {
    this.#port = port
    this.#options = options
  }

  get capabilities(): readonly string[] {
    return this.#capa ?? []
  }

  /** The backend speaks first. */
  start(): void {
    if (this.#state.at !== 'greeting') throw new SignalboxError('INTERNAL', 'started twice')
  }

  receive(chunk: Buffer): void {
    if (this.#state.at === 'over' || chunk.length === 0) return
    if (this.#state.at === 'tls') {
      this.#trouble('BACKEND_INJECTION', 'plaintext behind the answer to STLS')
      return
    }
    this.#received += chunk.length
    if (this.#received > BACKEND_PREAMBLE) {
      this.#trouble('BACKEND_PROTOCOL', 'too much before the login')
      return
    }
    this.#bytes.feed(chunk)
    this.#read()
  }

  secured(): void {
    if (this.#state.at !== 'tls') throw new SignalboxError('INTERNAL', `POP3 backend is at ${this.#state.at}, not tls`)
    this.#secured = true
    this.#askCapa()
  }

  replay(login: Login): void {
    if (this.#state.at === 'over') return
    if (this.#state.at !== 'announced') {
      throw new SignalboxError('INTERNAL', `POP3 backend is at ${this.#state.at}, not announced`)
    }
    if (!this.#open(login)) this.#trouble('BACKEND_NO_MECHANISM', `no way to repeat a ${login.mechanism} login`)
  }

  respond(answer: Buffer | undefined): void {
    if (this.#state.at === 'over') return
    if (this.#state.at !== 'sasl') throw new SignalboxError('INTERNAL', `POP3 backend is at ${this.#state.at}, not sasl`)
    this.#port.write(answer === undefined ? CANCEL : Buffer.from(`${answer.toString('base64')}\r\n`))
  }

  // ---- the login ----

  /** Begins to repeat the login; false: the backend offers no way. */
  #open({ credentials }: Login): boolean {
    const offered = this.#arguments('SASL')
    const mechanism = chooseMechanism(credentials, (name) => offered?.includes(name) === true)
    if (mechanism !== undefined) {
      const sasl = new SaslReplay(credentials, mechanism)
      const line = sasl.initial === undefined ? '' : `AUTH ${mechanism} ${sasl.initial === '' ? '=' : sasl.initial}\r\n`
      const whole = line !== '' && line.length <= POP3_AUTH_LINE
      if (whole) sasl.initialSent()
      this.#state = { at: 'sasl', sasl }
      this.#port.write(Buffer.from(whole ? line : `AUTH ${mechanism}\r\n`))
      return true
    }
    const user = this.#capa === undefined || this.#arguments('USER') !== undefined
    if (credentials.kind === 'token' || !actsAsItself(credentials) || !user) return false
    this.#state = { at: 'user', pass: Buffer.concat([Buffer.from('PASS '), credentials.password, CRLF]) }
    this.#port.write(Buffer.from(`USER ${credentials.authcid}\r\n`))
    return true
  }

  /** The arguments of a capability, in upper case; undefined: the backend doesn't have it. */
  #arguments(name: string): readonly string[] | undefined {
    for (const line of this.#capa ?? []) {
      const [word = '', ...rest] = line.toUpperCase().split(' ')
      if (word === name) return rest
    }
    return undefined
  }

  // ---- reading ----

  #read(): void {
    if (this.#reading) return
    this.#reading = true
    try {
      while (this.#step());
    } finally {
      this.#reading = false
    }
    if (this.#state.at !== 'over') this.#bytes.settle()
  }

  /** Deals with one line. False: nothing more can be read for now. */
  #step(): boolean {
    if (this.#state.at === 'over') return false
    if (this.#state.at === 'tls') {
      if (this.#bytes.length > 0) this.#trouble('BACKEND_INJECTION', 'plaintext behind the answer to STLS')
      return false
    }
    const bytes = this.#bytes
    const end = bytes.lineEnd()
    const textEnd = end < 0 ? bytes.length - 1 : bytes.textEnd(0, end)
    if (textEnd > BACKEND_LINE) {
      this.#trouble('BACKEND_PROTOCOL', 'a line is too long')
      return false
    }
    if (end < 0) return false
    const line = bytes.view(0, textEnd).toString('latin1')
    bytes.consume(end)
    this.#line(line)
    return true
  }

  #line(line: string): void {
    const state = this.#state
    switch (state.at) {
      case 'greeting':
        return this.#greeting(line)
      case 'capa':
        return this.#capaLine(state, line)
      case 'stls':
        return this.#startTls(line)
      case 'xclient':
        // A backend that doesn't trust us with it still takes logins.
        if (!isOk(line)) this.#port.addressLost()
        return this.#askUtf8()
      case 'utf8':
        if (isOk(line)) this.#announced()
        else this.#trouble('BACKEND_PROTOCOL', 'UTF8 was promised to the client, and the backend refused it')
        return
      case 'announced':
        this.#trouble('BACKEND_PROTOCOL', 'an answer to nothing')
        return
      case 'sasl':
        return this.#saslLine(state.sasl, line)
      case 'user':
        if (isOk(line)) {
          this.#state = { at: 'pass' }
          this.#port.write(state.pass)
        } else this.#refused(line)
        return
      case 'pass':
        return isOk(line) ? this.#accept(line) : this.#refused(line)
      case 'tls':
      case 'over':
        throw new SignalboxError('INTERNAL', `a line was read at ${state.at}`)
      default:
        return impossible(state)
    }
  }

  #greeting(line: string): void {
    if (!isOk(line)) {
      const shown = line.slice(0, SHOWN).replace(/[^\x20-\x7e]/g, '?')
      this.#trouble('BACKEND_GREETING', `the greeting is not +OK: ${shown}`)
      return
    }
    this.#greetingOffersXclient = /^\+OK \[XCLIENT\]/i.test(line)
    this.#askCapa()
  }

  #askCapa(): void {
    this.#capa = undefined
    this.#state = { at: 'capa', lines: undefined }
    this.#port.write(CAPA)
  }

  #capaLine(state: Extract<State, { at: 'capa' }>, line: string): void {
    if (state.lines === undefined) {
      if (isOk(line)) state.lines = []
      else if (!isErr(line)) this.#trouble('BACKEND_PROTOCOL', 'neither +OK nor -ERR in answer to CAPA')
      else if (this.#options.headerInClear && !this.#secured) {
        this.#trouble('BACKEND_PROTOCOL', 'a refusal where CAPA was asked, which the PROXY header may be the reason for')
      } else this.#useCapa(undefined)
    } else if (line === '.') this.#useCapa(state.lines)
    else state.lines.push(line.startsWith('.') ? line.slice(1) : line)
  }

  #useCapa(lines: readonly string[] | undefined): void {
    this.#capa = lines
    if (this.#options.startTls && !this.#secured) {
      if (this.#arguments('STLS') === undefined) {
        this.#trouble('BACKEND_PROTOCOL', 'STLS is not advertised')
        return
      }
      this.#state = { at: 'stls' }
      this.#port.write(STLS)
      return
    }
    const { announceClient, facts } = this.#options
    if (announceClient === undefined) return this.#askUtf8()
    if (!this.#greetingOffersXclient && this.#arguments('XCLIENT') === undefined) {
      this.#port.addressLost()
      return this.#askUtf8()
    }
    this.#state = { at: 'xclient' }
    this.#port.write(Buffer.from(`XCLIENT ${xclientText(xclientAttributes(announceClient, facts, { smtp: false }))}\r\n`))
  }

  #startTls(line: string): void {
    if (!isOk(line)) {
      this.#trouble('BACKEND_PROTOCOL', 'STLS was advertised but refused')
      return
    }
    if (this.#bytes.length > 0) {
      this.#trouble('BACKEND_INJECTION', 'plaintext behind the answer to STLS')
      return
    }
    // Nothing that was said in the clear counts from here on, but the greeting's offer of XCLIENT: it isn't made again, and a
    // forged one costs a refused command.
    this.#capa = undefined
    this.#state = { at: 'tls' }
    this.#port.startTls()
  }

  #askUtf8(): void {
    if (this.#options.facts.utf8 !== true) return this.#announced()
    this.#state = { at: 'utf8' }
    this.#port.write(UTF8)
  }

  #announced(): void {
    this.#state = { at: 'announced' }
    this.#port.announced()
  }

  #saslLine(sasl: SaslReplay, line: string): void {
    if (isOk(line)) return this.#accept(line)
    if (isErr(line)) return this.#refused(line)
    if (line !== '+' && !line.startsWith('+ ')) {
      this.#trouble('BACKEND_PROTOCOL', 'no answer to AUTH where it was due')
      return
    }
    const next = sasl.next()
    if (next === 'relay') {
      const challenge = decodeBase64(Buffer.from(line.slice(2), 'latin1'))
      if (challenge === undefined) this.#trouble('BACKEND_PROTOCOL', 'a challenge that is not base64')
      else this.#port.challenge(challenge)
    } else if (next === 'unexpected') {
      this.#trouble('BACKEND_PROTOCOL', 'a challenge where none was due')
    } else {
      this.#port.write(Buffer.from(`${next.text}\r\n`))
    }
  }

  // ---- the outcome ----

  #accept(line: string): void {
    const behind = this.#bytes.takeAll()
    this.#state = OVER
    this.#port.accepted(Buffer.concat([Buffer.from(`${line}\r\n`, 'latin1'), behind]))
  }

  #refused(line: string): void {
    if (!isErr(line)) {
      this.#trouble('BACKEND_PROTOCOL', 'neither +OK nor -ERR in answer to a login')
      return
    }
    const temporary = TEMPORARY.test(line)
    const generic = temporary ? Buffer.from(TEXTS.unavailable) : undefined
    // A bare CR or NUL is no text.
    const words = Buffer.from(line.replace(/[\r\0]/g, ' '), 'latin1')
    const text = this.#options.hideAuthErrors ? generic : words
    const refusal: Refusal = temporary ? { text, temporary } : { text }
    this.#end()
    this.#port.refused(refusal)
  }

  #trouble(code: ErrorCode, message: string): void {
    this.#end()
    this.#port.trouble(new SignalboxError(code, message))
  }

  #end(): void {
    this.#state = OVER
    this.#bytes.drop()
  }
}

function isOk(line: string): boolean {
  return /^\+OK( |$)/i.test(line)
}

function isErr(line: string): boolean {
  return /^-ERR( |$)/i.test(line)
}
