/**
 * The dialogue with an IMAP backend: greeting, STARTTLS, capabilities, the client's login repeated (RFC 9051 §6.1, §6.2;
 * SASL-IR: RFC 4959). What the backend says before its answer passes to the client with it; what it says before the
 * login is ours. A backend that doesn't keep to the grammar, or speaks out of turn, is trouble: nothing is guessed.
 * The login is forgotten with the answer.
 */
import { type ErrorCode, SignalboxError, impossible } from '../../errors.ts'
import { IMAP_LINE } from '../../limits.ts'
import { decodeBase64 } from '../../sasl/base64.ts'
import { SaslReplay, actsAsItself, chooseMechanism } from '../../sasl/replay.ts'
import type { BackendDialogue, BackendOptions, BackendPort, DialogueFacts, Login, Refusal } from '../protocol.ts'
import { announceById } from './announce.ts'
import { loginCommand } from './login-command.ts'
import { TAGGED } from './replies.ts'
import {
  CAPABILITY,
  type CapabilityName,
  type Response,
  ResponseReader,
  capabilityBits,
  capabilityCode,
  responseCode,
  withoutUnauthenticate,
} from './response.ts'

/** What the replay says next when the backend asks for more. */
type Script =
  | { readonly by: 'sasl'; readonly sasl: SaslReplay }
  /** IMAP LOGIN: the pieces that wait for a continuation each. */
  | { readonly by: 'command'; readonly pieces: Buffer[] }

type State =
  | { readonly at: 'greeting' }
  | { readonly at: 'starttls' }
  | { readonly at: 'tls' }
  /** Asked for capabilities before the login; `list` once the answer has come. */
  | { readonly at: 'capability'; list: string | undefined }
  | { readonly at: 'id' }
  | { readonly at: 'announced' }
  | {
      readonly at: 'replay'
      readonly facts: DialogueFacts
      readonly tag: string
      readonly script: Script
      readonly untagged: Buffer[]
      /** The backend named its capabilities by itself. */
      capability: boolean
    }
  /** Logged in; the client wants a capability list that the backend didn't give by itself. */
  | {
      readonly at: 'fetch'
      readonly tag: string
      readonly text: string
      readonly untagged: Buffer[]
      list: string | undefined
    }
  | { readonly at: 'over' }

const TAG = { starttls: 'S1', capability: 'S2', id: 'S3', login: 'S4', fetch: 'S5' } as const
const STARTTLS = Buffer.from(`${TAG.starttls} STARTTLS\r\n`)
const ASK_CAPABILITY = Buffer.from(`${TAG.capability} CAPABILITY\r\n`)
const FETCH_CAPABILITY = Buffer.from(`${TAG.fetch} CAPABILITY\r\n`)
const CANCEL = Buffer.from('*\r\n')
const OVER: State = { at: 'over' }
/** RFC 5530 and 9051 §7.1: the backend couldn't judge the credentials; they may well be right. */
const TEMPORARY: ReadonlySet<string> = new Set(['UNAVAILABLE', 'SERVERBUG', 'INUSE', 'LIMIT'])
/** As much of a greeting as an error repeats. */
const SHOWN = 120

export class ImapBackend implements BackendDialogue {
  readonly #port: BackendPort
  readonly #options: BackendOptions
  readonly #reader = new ResponseReader()
  #state: State = { at: 'greeting' }
  #secured = false
  #capabilities = 0
  #advertised = ''
  #reading = false

  constructor(port: BackendPort, options: BackendOptions) {
    this.#port = port
    this.#options = options
  }

  get capabilities(): readonly string[] {
    return this.#advertised.split(' ').filter((name) => name !== '')
  }

  /** The backend speaks first. */
  start(): void {
    if (this.#state.at !== 'greeting') throw new SignalboxError('INTERNAL', 'started twice')
  }

  receive(chunk: Buffer): void {
    if (this.#state.at === 'over' || chunk.length === 0) return
    if (this.#state.at === 'tls') this.#trouble('BACKEND_INJECTION', 'plaintext behind the answer to STARTTLS')
    else if (!this.#reader.feed(chunk)) this.#trouble('BACKEND_PROTOCOL', 'too much before the login')
    else this.#read()
  }

  secured(): void {
    if (this.#state.at !== 'tls') throw new SignalboxError('INTERNAL', `IMAP backend is at ${this.#state.at}, not tls`)
    this.#secured = true
    this.#askCapabilities()
  }

  replay(login: Login): void {
    if (this.#state.at === 'over') return
    if (this.#state.at !== 'announced') {
      throw new SignalboxError('INTERNAL', `IMAP backend is at ${this.#state.at}, not announced`)
    }
    const { tag } = login.facts
    if (tag === undefined) throw new SignalboxError('INTERNAL', 'an IMAP login without a tag')
    const opening = this.#open(login)
    if (opening === undefined) {
      this.#trouble('BACKEND_NO_MECHANISM', `no way to repeat a ${login.mechanism} login`)
      return
    }
    const [script, first] = opening
    this.#state = { at: 'replay', facts: login.facts, tag, script, untagged: [], capability: false }
    this.#port.write(first)
  }

  respond(answer: Buffer | undefined): void {
    if (this.#state.at === 'over') return
    if (this.#state.at !== 'replay') {
      throw new SignalboxError('INTERNAL', `IMAP backend is at ${this.#state.at}, not replay`)
    }
    this.#port.write(answer === undefined ? CANCEL : Buffer.from(`${answer.toString('base64')}\r\n`))
  }

  #has(name: CapabilityName): boolean {
    return (this.#capabilities & CAPABILITY[name]) !== 0
  }

  /** How the login is repeated here, and its first bytes; undefined: the backend offers no way. */
  #open(login: Login): readonly [Script, Buffer] | undefined {
    const { credentials } = login
    const mechanism = chooseMechanism(credentials, (name) => this.#has(`AUTH=${name}`))
    if (mechanism !== undefined) {
      const sasl = new SaslReplay(credentials, mechanism)
      const command = `${TAG.login} AUTHENTICATE ${mechanism}`
      if (this.#has('SASL-IR') && sasl.initial !== undefined) {
        const line = `${command} ${sasl.initial}\r\n`
        if (line.length <= IMAP_LINE) {
          sasl.initialSent()
          return [{ by: 'sasl', sasl }, Buffer.from(line)]
        }
      }
      return [{ by: 'sasl', sasl }, Buffer.from(`${command}\r\n`)]
    }
    if (credentials.kind === 'token' || !actsAsItself(credentials) || this.#has('LOGINDISABLED')) return undefined
    const [first, ...pieces] = loginCommand(
      TAG.login,
      Buffer.from(credentials.authcid),
      credentials.password,
      this.#capabilities,
    )
    return first === undefined ? undefined : [{ by: 'command', pieces }, first]
  }

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
    if (this.#state.at === 'over') return false
    if (this.#state.at === 'tls') {
      if (this.#reader.bytes.length > 0) this.#trouble('BACKEND_INJECTION', 'plaintext behind the answer to STARTTLS')
      return false
    }
    const response = this.#reader.next()
    if (response === 'more') return false
    if (response === 'too-long') {
      this.#trouble('BACKEND_PROTOCOL', 'a line is too long')
      return false
    }
    this.#response(response)
    return true
  }

  #response(response: Response): void {
    const state = this.#state
    if (response.kind === 'untagged' && response.word === 'BYE' && state.at !== 'greeting') {
      this.#trouble('BACKEND_CLOSED', 'the backend said goodbye')
      return
    }
    switch (state.at) {
      case 'greeting':
        return this.#greeting(response)
      case 'starttls':
        return this.#startTls(response)
      case 'capability':
        return this.#capability(state, response)
      case 'id':
        return this.#id(response)
      case 'announced':
        if (response.kind !== 'untagged') this.#trouble('BACKEND_PROTOCOL', 'an answer to nothing')
        return
      case 'replay':
        return this.#answer(state, response)
      case 'fetch':
        return this.#fetched(state, response)
      case 'tls':
      case 'over':
        throw new SignalboxError('INTERNAL', `a response was read at ${state.at}`)
      default:
        return impossible(state)
    }
  }

  #greeting(response: Response): void {
    if (response.kind !== 'untagged' || response.word !== 'OK') {
      const words = response.kind === 'untagged' ? `${response.word} ${response.text}` : response.text
      const shown = words.slice(0, SHOWN).replace(/[^\x20-\x7e]/g, '?')
      this.#trouble('BACKEND_GREETING', `the greeting is not OK: ${shown}`)
      return
    }
    const list = capabilityCode(response.text)
    if (list === undefined) this.#askCapabilities()
    else this.#useCapabilities(list)
  }

  #askCapabilities(): void {
    this.#state = { at: 'capability', list: undefined }
    this.#port.write(ASK_CAPABILITY)
  }

  #capability(state: Extract<State, { at: 'capability' }>, response: Response): void {
    if (response.kind === 'untagged') {
      if (response.word === 'CAPABILITY') state.list = response.text
      return
    }
    const completed = response.kind === 'tagged' && response.tag === TAG.capability && response.status === 'OK'
    const list = completed ? (state.list ?? capabilityCode(response.text.slice(3))) : undefined
    if (list === undefined) this.#trouble('BACKEND_PROTOCOL', 'no capabilities where they were asked for')
    else this.#useCapabilities(list)
  }

  #useCapabilities(list: string): void {
    this.#capabilities = capabilityBits(list)
    this.#advertised = list
    if (this.#options.startTls && !this.#secured) {
      if (!this.#has('STARTTLS')) {
        this.#trouble('BACKEND_PROTOCOL', 'STARTTLS is not advertised')
        return
      }
      this.#state = { at: 'starttls' }
      this.#port.write(STARTTLS)
      return
    }
    const { announceClient } = this.#options
    if (announceClient !== undefined && this.#has('ID')) {
      this.#state = { at: 'id' }
      this.#port.write(announceById(TAG.id, announceClient))
      return
    }
    if (announceClient !== undefined) this.#port.addressLost()
    this.#announced()
  }

  #startTls(response: Response): void {
    if (response.kind === 'untagged') return
    if (response.kind !== 'tagged' || response.tag !== TAG.starttls || response.status !== 'OK') {
      this.#trouble('BACKEND_PROTOCOL', 'STARTTLS was advertised but refused')
      return
    }
    if (this.#reader.bytes.length > 0) {
      this.#trouble('BACKEND_INJECTION', 'plaintext behind the answer to STARTTLS')
      return
    }
    // Nothing that was said in the clear counts from here on.
    this.#capabilities = 0
    this.#advertised = ''
    this.#state = { at: 'tls' }
    this.#port.startTls()
  }

  #id(response: Response): void {
    if (response.kind === 'untagged') return
    if (response.kind === 'tagged' && response.tag === TAG.id) this.#announced()
    else this.#trouble('BACKEND_PROTOCOL', 'no answer to ID where it was due')
  }

  #announced(): void {
    this.#state = { at: 'announced' }
    this.#port.announced()
  }

  #answer(state: Extract<State, { at: 'replay' }>, response: Response): void {
    switch (response.kind) {
      case 'untagged':
        if (response.word === 'CAPABILITY' || capabilityCode(response.text) !== undefined) state.capability = true
        state.untagged.push(passed(response))
        return
      case 'continuation':
        this.#asked(state.script, response.text)
        return
      case 'tagged':
        if (response.tag !== TAG.login || response.status === undefined) {
          this.#trouble('BACKEND_PROTOCOL', 'an answer under a wrong tag')
        } else if (response.status === 'OK') this.#loggedIn(state, response.text)
        else this.#refused(response.text)
        return
      default:
        impossible(response)
    }
  }

  /** The backend asks for the next message of the login. */
  #asked(script: Script, text: string): void {
    if (script.by === 'command') {
      const piece = script.pieces.shift()
      if (piece === undefined) this.#trouble('BACKEND_PROTOCOL', 'a continuation request where none was due')
      else this.#port.write(piece)
      return
    }
    const next = script.sasl.next()
    if (next === 'relay') {
      const challenge = decodeBase64(Buffer.from(text, 'latin1'))
      if (challenge === undefined) this.#trouble('BACKEND_PROTOCOL', 'a challenge that is not base64')
      else this.#port.challenge(challenge)
    } else if (next === 'unexpected') {
      this.#trouble('BACKEND_PROTOCOL', 'a challenge where none was due')
    } else {
      this.#port.write(Buffer.from(`${next.text}\r\n`))
    }
  }

  #loggedIn(state: Extract<State, { at: 'replay' }>, text: string): void {
    const { tag, untagged } = state
    const known = state.capability || capabilityCode(text.slice(3)) !== undefined
    if (known || state.facts.askedCapability !== true) {
      this.#accept(tag, withoutUnauthenticate(text), untagged)
      return
    }
    this.#state = { at: 'fetch', tag, text, untagged, list: undefined }
    this.#port.write(FETCH_CAPABILITY)
  }

  /** Whatever comes of the list: the login has been accepted. */
  #fetched(state: Extract<State, { at: 'fetch' }>, response: Response): void {
    if (response.kind === 'untagged') {
      if (response.word === 'CAPABILITY') state.list = withoutUnauthenticate(response.text)
      else state.untagged.push(passed(response))
      return
    }
    if (response.kind !== 'tagged' || response.tag !== TAG.fetch) {
      this.#trouble('BACKEND_PROTOCOL', 'no capabilities where they were asked for')
      return
    }
    const { tag, text, untagged, list } = state
    if (list === undefined) {
      this.#accept(tag, text, untagged)
    } else if (responseCode(text.slice(3)) === undefined) {
      this.#accept(tag, `OK [CAPABILITY ${list}] ${text.slice(3) || 'Logged in'}`, untagged)
    } else {
      // One code is all that a status response can carry.
      untagged.push(Buffer.from(`* CAPABILITY ${list}\r\n`, 'latin1'))
      this.#accept(tag, text, untagged)
    }
  }

  #accept(tag: string, text: string, untagged: readonly Buffer[]): void {
    const behind = this.#reader.bytes.takeAll()
    this.#state = OVER
    this.#port.accepted(Buffer.concat([...untagged, Buffer.from(`${tag} ${text}\r\n`, 'latin1'), behind]))
  }

  /** `text`: NO or BAD and what follows. */
  #refused(text: string): void {
    const temporary = TEMPORARY.has(responseCode(text.slice(text.indexOf(' ') + 1)) ?? '')
    const generic = temporary ? Buffer.from(TAGGED.unavailable) : undefined
    // A bare CR or NUL is no text.
    const words = Buffer.from(text.replace(/[\r\0]/g, ' '), 'latin1')
    const shown = this.#options.hideAuthErrors ? generic : words
    const refusal: Refusal = temporary ? { text: shown, temporary } : { text: shown }
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
}

/** An untagged response as it goes to the client. */
function passed(response: Extract<Response, { kind: 'untagged' }>): Buffer {
  const { raw, word } = response
  if (word !== 'CAPABILITY' && capabilityCode(response.text) === undefined) return raw
  return Buffer.from(withoutUnauthenticate(raw.toString('latin1')), 'latin1')
}
