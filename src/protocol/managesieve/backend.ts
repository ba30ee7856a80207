/**
 * The dialogue with a ManageSieve backend: the capability block that it greets with, STARTTLS, XCLIENT (as Dovecot's
 * managesieve-login takes it), the client's login repeated (RFC 5804 §1.7, §2.1, §2.2). A backend that doesn't keep to the
 * grammar, or speaks out of turn, is trouble: nothing is guessed. The login is forgotten with the answer.
 *
 * The block that follows the TLS handshake is waited for: RFC 5804 §2.2 makes every server send it.
 */
import { type ErrorCode, SignalboxError, impossible } from '../../errors.ts'
import { decodeBase64 } from '../../sasl/base64.ts'
import { SaslReplay, chooseMechanism } from '../../sasl/replay.ts'
import type { BackendDialogue, BackendOptions, BackendPort, Login, Refusal } from '../protocol.ts'
import { xclientAttributes, xclientText } from '../xclient.ts'
import { TEXTS } from './replies.ts'
import { type Capabilities, type Response, ResponseReader, wordsOf } from './response.ts'
import { writeString } from './wire.ts'

type Status = Extract<Response, { kind: 'status' }>

type State =
  /** A capability block is on its way: in the greeting, behind TLS, or asked for (after XCLIENT or a PROXY header). */
  | { readonly at: 'block'; readonly as: 'greeting' | 'tls' | 'answer'; readonly found: Map<string, string> }
  | { readonly at: 'starttls' }
  | { readonly at: 'tls' }
  | { readonly at: 'xclient' }
  | { readonly at: 'announced' }
  | { readonly at: 'replay'; readonly sasl: SaslReplay }
  | { readonly at: 'over' }

const STARTTLS = Buffer.from('STARTTLS\r\n')
const CAPABILITY = Buffer.from('CAPABILITY\r\n')
const CANCEL = Buffer.from('"*"\r\n')
const CRLF = Buffer.from('\r\n')
const NONE: Capabilities = new Map()
const OVER: State = { at: 'over' }
/** As much of a response as an error repeats. */
const SHOWN = 120

export class ManageSieveBackend implements BackendDialogue {
  readonly #port: BackendPort
  readonly #options: BackendOptions
  readonly #reader = new ResponseReader()
  #state: State = { at: 'block', as: 'greeting', found: new Map() }
  #secured = false
  /** XCLIENT has had its turn. */
  #told = false
  /** The backend was asked something behind the PROXY header. */
  #heard = false
  #capabilities = NONE
  #reading = false

  constructor(port: BackendPort, options: BackendOptions) {
    this.#port = port
    this.#options = options
  }

  get capabilities(): readonly string[] {
    return [...this.#capabilities].map(([name, value]) => (value === '' ? name : `${name} ${value}`))
  }

  /** The backend speaks first. */
  start(): void {
    if (this.#state.at !== 'block' || this.#state.as !== 'greeting') throw new SignalboxError('INTERNAL', 'started twice')
  }

  receive(chunk: Buffer): void {
    if (this.#state.at === 'over' || chunk.length === 0) return
    if (this.#state.at === 'tls') this.#trouble('BACKEND_INJECTION', 'plaintext behind the answer to STARTTLS')
    else if (!this.#reader.feed(chunk)) this.#trouble('BACKEND_PROTOCOL', 'too much before the login')
    else this.#read()
  }

  secured(): void {
    if (this.#state.at !== 'tls') throw this.#outOfTurn('tls')
    this.#secured = true
    this.#state = { at: 'block', as: 'tls', found: new Map() }
  }

  replay(login: Login): void {
    if (this.#state.at === 'over') return
    if (this.#state.at !== 'announced') throw this.#outOfTurn('announced')
    const { credentials } = login
    const offered = wordsOf(this.#capabilities, 'SASL')
    const mechanism = chooseMechanism(credentials, (name) => offered.includes(name))
    if (mechanism === undefined) {
      this.#trouble('BACKEND_NO_MECHANISM', `no way to repeat a ${login.mechanism} login`)
      return
    }
    const sasl = new SaslReplay(credentials, mechanism)
    const command: Buffer[] = [Buffer.from(`AUTHENTICATE "${mechanism}"`)]
    if (sasl.initial !== undefined) {
      command.push(Buffer.from(' '), string(sasl.initial))
      sasl.initialSent()
    }
    this.#state = { at: 'replay', sasl }
    this.#port.write(Buffer.concat([...command, CRLF]))
  }

  respond(answer: Buffer | undefined): void {
    if (this.#state.at === 'over') return
    if (this.#state.at !== 'replay') throw this.#outOfTurn('replay')
    this.#port.write(answer === undefined ? CANCEL : Buffer.concat([string(answer.toString('base64')), CRLF]))
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
    if (this.#state.at !== 'over') this.#reader.bytes.settle()
  }

  /** Deals with one response. False: nothing more can be read for now. */
  #step(): boolean {
    const state = this.#state
    if (state.at === 'over') return false
    if (state.at === 'tls') {
      if (this.#reader.bytes.length > 0) this.#trouble('BACKEND_INJECTION', 'plaintext behind the answer to STARTTLS')
      return false
    }
    const response = this.#reader.next()
    switch (response) {
      case 'more':
        return false
      case 'too-long':
        this.#trouble('BACKEND_PROTOCOL', 'a line or literal is too long')
        return false
      case 'malformed':
        this.#trouble(isGreeting(state) ? 'BACKEND_GREETING' : 'BACKEND_PROTOCOL', 'no ManageSieve response')
        return false
      default:
        this.#response(response)
        return true
    }
  }

  #response(response: Response): void {
    const state = this.#state
    if (response.kind === 'status' && response.status === 'BYE' && !isGreeting(state)) {
      this.#trouble('BACKEND_CLOSED', `the backend said goodbye: ${shown(response)}`)
      return
    }
    switch (state.at) {
      case 'block':
        return this.#block(state, response)
      case 'starttls':
        return this.#startTls(response)
      case 'xclient':
        return this.#xclient(response)
      case 'announced':
        this.#trouble('BACKEND_PROTOCOL', 'an answer to nothing')
        return
      case 'replay':
        return response.kind === 'strings' ? this.#challenged(state.sasl, response.values) : this.#answer(response)
      case 'tls':
      case 'over':
        throw new SignalboxError('INTERNAL', `a response was read at ${state.at}`)
      default:
        return impossible(state)
    }
  }

  // ---- before the login ----

  #block(state: Extract<State, { at: 'block' }>, response: Response): void {
    if (response.kind === 'strings') {
      const [name, value] = response.values
      if (name !== undefined) state.found.set(name.toString('latin1').toUpperCase(), value?.toString('latin1') ?? '')
    } else if (response.status === 'OK') {
      this.#useCapabilities(state.found)
    } else if (isGreeting(state)) {
      this.#trouble('BACKEND_GREETING', `the greeting is not OK: ${shown(response)}`)
    } else {
      this.#trouble('BACKEND_PROTOCOL', `no capabilities where they were due: ${shown(response)}`)
    }
  }

  #useCapabilities(capabilities: Capabilities): void {
    this.#capabilities = capabilities
    const { startTls, announceClient, headerInClear, facts } = this.#options
    if (startTls && !this.#secured) {
      if (!capabilities.has('STARTTLS')) {
        this.#trouble('BACKEND_PROTOCOL', 'STARTTLS is not advertised')
        return
      }
      this.#state = { at: 'starttls' }
      this.#port.write(STARTTLS)
      return
    }
    if (headerInClear && !startTls && !this.#heard) {
      this.#heard = true
      this.#askCapabilities()
      return
    }
    if (announceClient !== undefined && !this.#told) {
      this.#told = true
      const attributes = xclientAttributes(announceClient, facts, { smtp: false })
      if (capabilities.has('XCLIENT') && attributes.some(([name]) => name === 'ADDR')) {
        this.#state = { at: 'xclient' }
        this.#port.write(Buffer.from(`XCLIENT ${xclientText(attributes)}\r\n`, 'latin1'))
        return
      }
      this.#port.addressLost()
    }
    this.#announced()
  }

  #startTls(response: Response): void {
    if (response.kind !== 'status' || response.status !== 'OK') {
      this.#trouble('BACKEND_PROTOCOL', 'STARTTLS was advertised but refused')
      return
    }
    if (this.#reader.bytes.length > 0) {
      this.#trouble('BACKEND_INJECTION', 'plaintext behind the answer to STARTTLS')
      return
    }
    // Nothing that was said in the clear counts from here on.
    this.#capabilities = NONE
    this.#state = { at: 'tls' }
    this.#port.startTls()
  }

  #askCapabilities(): void {
    this.#state = { at: 'block', as: 'answer', found: new Map() }
    this.#port.write(CAPABILITY)
  }

  /** Taken, the backend may offer this client other mechanisms than it offered us. */
  #xclient(response: Response): void {
    if (response.kind !== 'status') {
      this.#trouble('BACKEND_PROTOCOL', 'no answer to XCLIENT where it was due')
    } else if (response.status === 'OK') {
      this.#askCapabilities()
    } else {
      // A backend that doesn't believe us still takes logins.
      this.#port.addressLost()
      this.#announced()
    }
  }

  #announced(): void {
    this.#state = { at: 'announced' }
    this.#port.announced()
  }

  // ---- the login ----

  #challenged(sasl: SaslReplay, [text, more]: readonly Buffer[]): void {
    const next = more === undefined ? sasl.next() : 'unexpected'
    if (next === 'relay') {
      const challenge = text === undefined ? undefined : decodeBase64(text)
      if (challenge === undefined) this.#trouble('BACKEND_PROTOCOL', 'a challenge that is not base64')
      else this.#port.challenge(challenge)
    } else if (next === 'unexpected') {
      this.#trouble('BACKEND_PROTOCOL', 'a challenge where none was due')
    } else {
      this.#port.write(Buffer.concat([string(next.text), CRLF]))
    }
  }

  /** What came with the OK, such as the mechanism's last data (`SASL "…"`), goes to the client with it. */
  #answer(response: Status): void {
    if (response.status === 'OK') {
      const behind = this.#reader.bytes.takeAll()
      this.#state = OVER
      this.#port.accepted(Buffer.concat([response.raw, CRLF, behind]))
    } else if (response.code === 'ENCRYPT-NEEDED') {
      // No login of any client could succeed over this leg, so none is blamed.
      this.#trouble('BACKEND_NO_MECHANISM', `the backend wants TLS for that: ${shown(response)}`)
    } else {
      this.#refused(response)
    }
  }

  #refused({ raw, code }: Status): void {
    const temporary = code === 'TRYLATER'
    const generic = temporary ? Buffer.from(TEXTS.unavailable) : undefined
    // A bare CR or NUL is no text. Lengths stay as they are: there may be literals.
    const words = Buffer.from(raw.toString('latin1').replace(/\r(?!\n)|\0/g, ' '), 'latin1')
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
    this.#reader.bytes.drop()
  }

  #outOfTurn(due: State['at']): SignalboxError {
    return new SignalboxError('INTERNAL', `ManageSieve backend is at ${this.#state.at}, not ${due}`)
  }
}

function isGreeting(state: State): boolean {
  return state.at === 'block' && state.as === 'greeting'
}

function string(text: string): Buffer {
  return writeString(Buffer.from(text, 'latin1'), 'client')
}

/** A response as an error repeats it. */
function shown({ raw }: Status): string {
  return raw.toString('latin1', 0, Math.min(raw.length, SHOWN)).replace(/[^\x20-\x7e]/g, '?')
}
