/**
 * The dialogue with a submission backend: greeting, EHLO under the client's own name, STARTTLS, XCLIENT, the client's login
 * repeated (RFC 5321, RFC 3207, RFC 4954). An SMTP client doesn't ask again after its login, so what the backend would say to
 * EHLO then is not asked either. A backend that doesn't keep to the grammar, or speaks out of turn, is trouble: nothing is
 * guessed. The login is forgotten with the answer.
 *
 * A backend that offers XCLIENT trusts the proxy to say who somebody is and, with LOGIN, who has logged in. What is offered on a
 * connection is its client's once it is bridged, so that trust must be gone by then: the backend is told who the client is
 * or, where that fails or isn't enough (the client's own address is trusted too), that it is nobody. A backend that names hosts
 * (Postfix) goes by name and address for the whole connection, and no login is repeated while it still offers XCLIENT; Dovecot
 * goes by the connection it was opened on and offers it up to the login: there EHLO is said once more behind the login.
 */
import { type ErrorCode, SignalboxError, impossible } from '../../errors.ts'
import { SMTP_COMMAND } from '../../limits.ts'
import { decodeBase64 } from '../../sasl/base64.ts'
import { SaslReplay, chooseMechanism } from '../../sasl/replay.ts'
import type { BackendDialogue, BackendOptions, BackendPort, Login, Refusal } from '../protocol.ts'
import { ehlo, xclient, type Xclient, xclientNobody } from './announce.ts'
import { Keywords } from './keywords.ts'
import { TEXTS } from './replies.ts'
import { type Reply, ReplyReader, textOf } from './reply.ts'

type State =
  | { readonly at: 'greeting' }
  | { readonly at: 'ehlo' }
  | { readonly at: 'starttls' }
  | { readonly at: 'tls' }
  | { readonly at: 'xclient'; readonly nobody: boolean }
  | { readonly at: 'announced' }
  | { readonly at: 'replay'; readonly sasl: SaslReplay }
  /** The login was taken; whether XCLIENT is gone with it is asked. */
  | { readonly at: 'proof'; readonly taken: Reply }
  | { readonly at: 'over' }

const STARTTLS = Buffer.from('STARTTLS\r\n')
const CANCEL = Buffer.from('*\r\n')
const NONE = new Keywords(undefined)
const OVER: State = { at: 'over' }
/** The server closes the connection. */
const CLOSING = 421
/** RFC 3207 §4 and RFC 4954 §6: the leg lacks TLS. No login of any client could succeed, so none is blamed. */
const NEEDS_TLS: ReadonlySet<number> = new Set([530, 538])
/** What every login there would be refused for, and what to do about it. */
const INHERITED =
  'the backend trusts this proxy with XCLIENT, which its clients would inherit: set forwarding = "xclient" or don\'t trust the proxy there'
const KEPT = 'the backend goes on offering XCLIENT after it was told of another client, who would inherit it'
/** As much of a reply as an error repeats. */
const SHOWN = 120

export class SubmissionBackend implements BackendDialogue {
  readonly #port: BackendPort
  readonly #options: BackendOptions
  readonly #reader = new ReplyReader()
  #state: State = { at: 'greeting' }
  #secured = false
  /** What the backend was told by XCLIENT. */
  #told: 'nothing' | 'client' | 'nobody' = 'nothing'
  /** XCLIENT is offered up to the login. */
  #exposed = false
  #keywords = NONE
  #reading = false

  constructor(port: BackendPort, options: BackendOptions) {
    this.#port = port
    this.#options = options
  }

  get capabilities(): readonly string[] {
    return this.#keywords.lines
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
    if (this.#state.at !== 'tls') throw this.#outOfTurn('tls')
    this.#secured = true
    this.#ehlo()
  }

  replay(login: Login): void {
    if (this.#state.at === 'over') return
    if (this.#state.at !== 'announced') throw this.#outOfTurn('announced')
    const { credentials } = login
    const offered = this.#keywords.arguments('AUTH')
    const mechanism = chooseMechanism(credentials, (name) => offered?.includes(name) === true)
    if (mechanism === undefined) {
      this.#trouble('BACKEND_NO_MECHANISM', `no way to repeat a ${login.mechanism} login`)
      return
    }
    const sasl = new SaslReplay(credentials, mechanism)
    const initial = sasl.initial
    const line = `AUTH ${mechanism} ${initial}\r\n`
    const atOnce = initial !== undefined && line.length <= SMTP_COMMAND
    if (atOnce) sasl.initialSent()
    this.#state = { at: 'replay', sasl }
    this.#port.write(Buffer.from(atOnce ? line : `AUTH ${mechanism}\r\n`))
  }

  respond(answer: Buffer | undefined): void {
    if (this.#state.at === 'over') return
    if (this.#state.at !== 'replay') throw this.#outOfTurn('replay')
    this.#port.write(answer === undefined ? CANCEL : Buffer.from(`${answer.toString('base64')}\r\n`))
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

  /** Deals with one reply. False: nothing more can be read for now. */
  #step(): boolean {
    if (this.#state.at === 'over') return false
    if (this.#state.at === 'tls') {
      if (this.#reader.bytes.length > 0) this.#trouble('BACKEND_INJECTION', 'plaintext behind the answer to STARTTLS')
      return false
    }
    const reply = this.#reader.next()
    switch (reply) {
      case 'more':
        return false
      case 'too-long':
        this.#trouble('BACKEND_PROTOCOL', 'a line is too long')
        return false
      case 'malformed':
        this.#trouble(this.#state.at === 'greeting' ? 'BACKEND_GREETING' : 'BACKEND_PROTOCOL', 'no SMTP reply')
        return false
      default:
        this.#reply(reply)
        return true
    }
  }

  #reply(reply: Reply): void {
    const state = this.#state
    if (reply.code === CLOSING && state.at !== 'greeting' && state.at !== 'proof') {
      this.#trouble('BACKEND_CLOSED', `the backend is closing: ${shown(reply)}`)
      return
    }
    switch (state.at) {
      case 'greeting':
        if (reply.code === 220) this.#ehlo()
        else this.#trouble('BACKEND_GREETING', `the greeting is not 220: ${shown(reply)}`)
        return
      case 'ehlo':
        if (reply.code === 250) this.#useKeywords(new Keywords(reply))
        else this.#trouble('BACKEND_PROTOCOL', `EHLO was refused: ${shown(reply)}`)
        return
      case 'starttls':
        return this.#startTls(reply)
      case 'xclient':
        return this.#xclient(state.nobody, reply)
      case 'announced':
        this.#trouble('BACKEND_PROTOCOL', 'an answer to nothing')
        return
      case 'replay':
        return this.#answer(state.sasl, reply)
      case 'proof':
        return this.#prove(state.taken, reply)
      case 'tls':
      case 'over':
        throw new SignalboxError('INTERNAL', `a reply was read at ${state.at}`)
      default:
        return impossible(state)
    }
  }

  // ---- before the login ----

  #ehlo(): void {
    this.#state = { at: 'ehlo' }
    this.#port.write(ehlo(this.#options.facts))
  }

  #useKeywords(keywords: Keywords): void {
    this.#keywords = keywords
    const { startTls } = this.#options
    if (startTls && !this.#secured) {
      if (!keywords.has('STARTTLS')) {
        this.#trouble('BACKEND_PROTOCOL', 'STARTTLS is not advertised')
        return
      }
      this.#state = { at: 'starttls' }
      this.#port.write(STARTTLS)
      return
    }
    this.#disown()
  }

  /** Tells who the client is, and sees to it that the proxy's own rights don't become the client's. */
  #disown(): void {
    const { announceClient, facts } = this.#options
    const names = this.#keywords.arguments('XCLIENT')
    if (announceClient !== undefined && this.#told === 'nothing') {
      const command = names === undefined ? undefined : xclient(announceClient, facts, names)
      if (command?.address !== true) this.#port.addressLost()
      if (command !== undefined) return this.#tell(command, false)
    }
    if (names !== undefined && namesHosts(names)) {
      if (announceClient === undefined) this.#trouble('BACKEND_PROTOCOL', INHERITED)
      else if (this.#told === 'nobody') this.#trouble('BACKEND_PROTOCOL', KEPT)
      else this.#tellNobody(names, KEPT)
      return
    }
    this.#exposed = names !== undefined
    this.#announced()
  }

  #tell({ bytes }: Xclient, nobody: boolean): void {
    this.#told = nobody ? 'nobody' : 'client'
    this.#state = { at: 'xclient', nobody }
    this.#port.write(bytes)
  }

  /** @param otherwise why no login can be repeated where nothing can be told either */
  #tellNobody(names: readonly string[], otherwise: string): void {
    const command = xclientNobody(names)
    if (command === undefined) {
      this.#trouble('BACKEND_PROTOCOL', otherwise)
      return
    }
    this.#port.addressLost()
    this.#tell(command, true)
  }

  #startTls(reply: Reply): void {
    if (reply.code !== 220) {
      this.#trouble('BACKEND_PROTOCOL', `STARTTLS was advertised but refused: ${shown(reply)}`)
      return
    }
    if (this.#reader.bytes.length > 0) {
      this.#trouble('BACKEND_INJECTION', 'plaintext behind the answer to STARTTLS')
      return
    }
    // Nothing that was said in the clear counts from here on.
    this.#keywords = NONE
    this.#state = { at: 'tls' }
    this.#port.startTls()
  }

  /** Taken, the session begins anew, with what the backend offers this client. */
  #xclient(nobody: boolean, reply: Reply): void {
    if (reply.code < 300) return this.#ehlo()
    if (reply.code < 400) {
      this.#trouble('BACKEND_PROTOCOL', `no answer to XCLIENT where it was due: ${shown(reply)}`)
      return
    }
    const refused = `XCLIENT was offered but refused, and the client would inherit it: ${shown(reply)}`
    if (nobody) this.#trouble('BACKEND_PROTOCOL', refused)
    else this.#tellNobody(this.#keywords.arguments('XCLIENT') ?? [], refused)
  }

  #announced(): void {
    this.#state = { at: 'announced' }
    this.#port.announced()
  }

  // ---- the login ----

  #answer(sasl: SaslReplay, reply: Reply): void {
    const [first = ''] = reply.lines
    if (reply.code === 235 && this.#exposed) this.#askProof(reply)
    else if (reply.code === 235) this.#accept(reply)
    else if (reply.code === 334 && reply.lines.length === 1) this.#challenged(sasl, textOf(first))
    else if (NEEDS_TLS.has(reply.code)) this.#trouble('BACKEND_NO_MECHANISM', `the backend wants TLS for that: ${shown(reply)}`)
    else if (reply.code >= 400) this.#refused(reply)
    else this.#trouble('BACKEND_PROTOCOL', `no answer to AUTH where it was due: ${shown(reply)}`)
  }

  #challenged(sasl: SaslReplay, text: string): void {
    const next = sasl.next()
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

  #askProof(taken: Reply): void {
    this.#state = { at: 'proof', taken }
    this.#port.write(ehlo(this.#options.facts))
  }

  /** Dovecot's submission says 421 here when its relay is away: the login was taken all the same, and the client is told both. */
  #prove(taken: Reply, reply: Reply): void {
    if (reply.code === CLOSING) this.#accept(taken, reply)
    else if (reply.code !== 250) this.#trouble('BACKEND_PROTOCOL', `EHLO was refused behind the login: ${shown(reply)}`)
    else if (!new Keywords(reply).has('XCLIENT')) this.#accept(taken)
    else this.#trouble('BACKEND_PROTOCOL', this.#options.announceClient === undefined ? INHERITED : KEPT)
  }

  #accept(...replies: readonly Reply[]): void {
    const behind = this.#reader.bytes.takeAll()
    this.#state = OVER
    this.#port.accepted(Buffer.concat([...replies.map((reply) => Buffer.from(`${words(reply)}\r\n`, 'latin1')), behind]))
  }

  #refused(reply: Reply): void {
    const temporary = reply.code < 500
    const generic = temporary ? Buffer.from(TEXTS.unavailable) : undefined
    const text = this.#options.hideAuthErrors ? generic : Buffer.from(words(reply), 'latin1')
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
    return new SignalboxError('INTERNAL', `submission backend is at ${this.#state.at}, not ${due}`)
  }
}

/** Whether XCLIENT's attributes are those of a server that trusts a host by its name or address as long as it is there. */
function namesHosts(names: readonly string[]): boolean {
  return names.includes('NAME') || names.includes('REVERSE_NAME')
}

/** A reply as it goes to the client, without the last line end. A bare CR or NUL is no text. */
function words({ lines }: Reply): string {
  return lines.map((line) => line.replace(/[\r\0]/g, ' ')).join('\r\n')
}

/** A reply as an error repeats it. */
function shown({ lines: [first = ''] }: Reply): string {
  return first.slice(0, SHOWN).replace(/[^\x20-\x7e]/g, '?')
}
