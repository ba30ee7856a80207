/**
 * The dialogue with an IMAP backend: greeting, STARTTLS, capabilities, the client's login repeated (RFC 9051 §6.1, §6.2;
 * SASL-IR: RFC 4959). What the backend says before its answer passes to the client with it; what it says before the
 * login is ours. Reading, TLS and the outcome are BackendMachine's.
 */
import { SignalboxError, impossible } from '../../errors.ts'
import { IMAP_LINE } from '../../limits.ts'
import { SaslReplay, actsAsItself, chooseMechanism } from '../../sasl/replay.ts'
import { BackendMachine } from '../backend-machine.ts'
import type { BackendOptions, BackendPort, DialogueFacts, Login } from '../protocol.ts'
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

type Step =
  | { readonly at: 'greeting' }
  /** Asked for capabilities before the login; `list` once the answer has come. */
  | { readonly at: 'capability'; list: string | undefined }
  | { readonly at: 'id' }
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

const TAG = { starttls: 'S1', capability: 'S2', id: 'S3', login: 'S4', fetch: 'S5' } as const
const WORDS = {
  protocol: 'IMAP',
  startTls: 'STARTTLS',
  startTlsCommand: Buffer.from(`${TAG.starttls} STARTTLS\r\n`),
  cancel: Buffer.from('*\r\n'),
}
const ASK_CAPABILITY = Buffer.from(`${TAG.capability} CAPABILITY\r\n`)
const FETCH_CAPABILITY = Buffer.from(`${TAG.fetch} CAPABILITY\r\n`)
/** RFC 5530 and 9051 §7.1: the backend couldn't judge the credentials; they may well be right. */
const TEMPORARY: ReadonlySet<string> = new Set(['UNAVAILABLE', 'SERVERBUG', 'INUSE', 'LIMIT'])

export class ImapBackend extends BackendMachine<Response, Step> {
  #capabilities = 0
  #advertised = ''

  constructor(port: BackendPort, options: BackendOptions) {
    super(port, options, { words: WORDS, answers: new ResponseReader(), greeting: { at: 'greeting' } })
  }

  get capabilities(): readonly string[] {
    return this.#advertised.split(' ').filter((name) => name !== '')
  }

  protected wordsOf(response: Response): string {
    return response.kind === 'untagged' ? `${response.word} ${response.text}` : response.text
  }

  protected override saysGoodbye(response: Response): boolean {
    return response.kind === 'untagged' && response.word === 'BYE'
  }

  protected override isNews(response: Response): boolean {
    return response.kind === 'untagged'
  }

  protected takesStartTls(response: Response): boolean | undefined {
    if (response.kind === 'untagged') return undefined
    return response.kind === 'tagged' && response.tag === TAG.starttls && response.status === 'OK'
  }

  protected fresh(): void {
    this.#capabilities = 0
    this.#advertised = ''
  }

  protected afterTls(): void {
    this.#askCapabilities()
  }

  protected answered(response: Response, step: Step): void {
    switch (step.at) {
      case 'greeting':
        return this.#greeting(response)
      case 'capability':
        return this.#capability(step, response)
      case 'id':
        return this.#id(response)
      case 'replay':
        return this.#answer(step, response)
      case 'fetch':
        return this.#fetched(step, response)
      default:
        return impossible(step)
    }
  }

  // ---- before the login ----

  #greeting(response: Response): void {
    if (response.kind !== 'untagged' || response.word !== 'OK') {
      return this.trouble('BACKEND_GREETING', `the greeting is not OK: ${this.shown(response)}`)
    }
    const list = capabilityCode(response.text)
    if (list === undefined) this.#askCapabilities()
    else this.#useCapabilities(list)
  }

  #askCapabilities(): void {
    this.ask({ at: 'capability', list: undefined }, ASK_CAPABILITY)
  }

  #capability(step: Extract<Step, { at: 'capability' }>, response: Response): void {
    if (response.kind === 'untagged') {
      if (response.word === 'CAPABILITY') step.list = response.text
      return
    }
    const completed = response.kind === 'tagged' && response.tag === TAG.capability && response.status === 'OK'
    const list = completed ? (step.list ?? capabilityCode(response.text.slice(3))) : undefined
    if (list === undefined) this.trouble('BACKEND_PROTOCOL', 'no capabilities where they were asked for')
    else this.#useCapabilities(list)
  }

  #useCapabilities(list: string): void {
    this.#capabilities = capabilityBits(list)
    this.#advertised = list
    if (this.secures(this.#has('STARTTLS'))) return
    const { announceClient } = this.options
    if (announceClient !== undefined && this.#has('ID')) {
      return this.ask({ at: 'id' }, announceById(TAG.id, announceClient))
    }
    if (announceClient !== undefined) this.port.addressLost()
    this.announced()
  }

  #id(response: Response): void {
    if (response.kind === 'untagged') return
    if (response.kind === 'tagged' && response.tag === TAG.id) this.announced()
    else this.trouble('BACKEND_PROTOCOL', 'no answer to ID where it was due')
  }

  #has(name: CapabilityName): boolean {
    return (this.#capabilities & CAPABILITY[name]) !== 0
  }

  // ---- the login ----

  protected open(login: Login): { readonly step: Step; readonly bytes: Buffer } | undefined {
    const { facts } = login
    if (facts.tag === undefined) throw new SignalboxError('INTERNAL', 'an IMAP login without a tag')
    const opening = this.#opening(login)
    if (opening === undefined) return undefined
    const [script, bytes] = opening
    return { step: { at: 'replay', facts, tag: facts.tag, script, untagged: [], capability: false }, bytes }
  }

  /** How the login is repeated here, and its first bytes; undefined: the backend offers no way. */
  #opening({ credentials }: Login): readonly [Script, Buffer] | undefined {
    const mechanism = chooseMechanism(credentials, (name) => this.#has(`AUTH=${name}`))
    if (mechanism !== undefined) {
      const sasl = new SaslReplay(credentials, mechanism)
      const command = `${TAG.login} AUTHENTICATE ${mechanism}`
      const initial = this.#has('SASL-IR') ? sasl.initial : undefined
      if (initial !== undefined) {
        const line = `${command} ${initial}\r\n`
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

  #answer(step: Extract<Step, { at: 'replay' }>, response: Response): void {
    switch (response.kind) {
      case 'untagged':
        if (response.word === 'CAPABILITY' || capabilityCode(response.text) !== undefined) step.capability = true
        step.untagged.push(passed(response))
        return
      case 'continuation':
        this.#asked(step.script, response.text)
        return
      case 'tagged':
        if (response.tag !== TAG.login || response.status === undefined) {
          this.trouble('BACKEND_PROTOCOL', 'an answer under a wrong tag')
        } else if (response.status === 'OK') this.#loggedIn(step, response.text)
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
      if (piece === undefined) this.trouble('BACKEND_PROTOCOL', 'a continuation request where none was due')
      else this.port.write(piece)
      return
    }
    this.challenged(script.sasl, Buffer.from(text, 'latin1'))
  }

  #loggedIn(step: Extract<Step, { at: 'replay' }>, text: string): void {
    const { tag, untagged } = step
    const known = step.capability || capabilityCode(text.slice(3)) !== undefined
    if (known || step.facts.askedCapability !== true) {
      this.#accept(tag, withoutUnauthenticate(text), untagged)
      return
    }
    this.ask({ at: 'fetch', tag, text, untagged, list: undefined }, FETCH_CAPABILITY)
  }

  /** Whatever comes of the list: the login has been accepted. */
  #fetched(step: Extract<Step, { at: 'fetch' }>, response: Response): void {
    if (response.kind === 'untagged') {
      if (response.word === 'CAPABILITY') step.list = withoutUnauthenticate(response.text)
      else step.untagged.push(passed(response))
      return
    }
    if (response.kind !== 'tagged' || response.tag !== TAG.fetch) {
      this.trouble('BACKEND_PROTOCOL', 'no capabilities where they were asked for')
      return
    }
    const { tag, text, untagged, list } = step
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
    this.accept(...untagged, Buffer.from(`${tag} ${text}\r\n`, 'latin1'))
  }

  /** `text`: NO or BAD and what follows. */
  #refused(text: string): void {
    const temporary = TEMPORARY.has(responseCode(text.slice(text.indexOf(' ') + 1)) ?? '')
    this.refuse(text, temporary ? TAGGED.unavailable : undefined)
  }
}

/** An untagged response as it goes to the client. */
function passed(response: Extract<Response, { kind: 'untagged' }>): Buffer {
  const { raw, word } = response
  if (word !== 'CAPABILITY' && capabilityCode(response.text) === undefined) return raw
  return Buffer.from(withoutUnauthenticate(raw.toString('latin1')), 'latin1')
}
