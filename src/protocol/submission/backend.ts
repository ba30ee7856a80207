/**
 * The dialogue with a submission backend: greeting, EHLO under the client's own name, STARTTLS, XCLIENT, the client's login
 * repeated (RFC 5321, RFC 3207, RFC 4954). An SMTP client doesn't ask again after its login, so what the backend would say to
 * EHLO then is not asked either. Reading, TLS and the outcome are BackendMachine's.
 *
 * A backend that offers XCLIENT trusts the proxy to say who somebody is and, with LOGIN, who has logged in. What is offered on a
 * connection is its client's once it is bridged, so that trust must be gone by then: the backend is told who the client is
 * or, where that fails or isn't enough (the client's own address is trusted too), that it is nobody. A backend that names hosts
 * (Postfix) goes by name and address for the whole connection, and no login is repeated while it still offers XCLIENT; Dovecot
 * goes by the connection it was opened on and offers it up to the login: there EHLO is said once more behind the login.
 */
import { impossible } from '../../errors.ts'
import { SMTP_COMMAND } from '../../limits.ts'
import { SaslReplay, chooseMechanism } from '../../sasl/replay.ts'
import { BackendMachine } from '../backend-machine.ts'
import type { BackendOptions, BackendPort, Login } from '../protocol.ts'
import { ehlo, xclient, type Xclient, xclientNobody } from './announce.ts'
import { Keywords } from './keywords.ts'
import { TEXTS } from './replies.ts'
import { type Reply, ReplyReader, textOf } from './reply.ts'

type Step =
  | { readonly at: 'greeting' }
  | { readonly at: 'ehlo' }
  | { readonly at: 'xclient'; readonly nobody: boolean }
  | { readonly at: 'replay'; readonly sasl: SaslReplay }
  /** The login was taken; whether XCLIENT is gone with it is asked. */
  | { readonly at: 'proof'; readonly taken: Reply }

/** Shared with whoever only greets such a server. */
export const SMTP_WORDS = {
  protocol: 'SMTP',
  startTls: 'STARTTLS',
  startTlsCommand: Buffer.from('STARTTLS\r\n'),
  cancel: Buffer.from('*\r\n'),
}
const NONE = new Keywords(undefined)
/** The server closes the connection. */
const CLOSING = 421
/** RFC 3207 §4 and RFC 4954 §6: the leg lacks TLS. No login of any client could succeed, so none is blamed. */
const NEEDS_TLS: ReadonlySet<number> = new Set([530, 538])
/** What every login there would be refused for, and what to do about it. */
const INHERITED =
  'the backend trusts this proxy with XCLIENT, which its clients would inherit: set forwarding = "xclient" or don\'t trust the proxy there'
const KEPT = 'the backend goes on offering XCLIENT after it was told of another client, who would inherit it'

export class SubmissionBackend extends BackendMachine<Reply, Step> {
  /** What the backend was told by XCLIENT. */
  #told: 'nothing' | 'client' | 'nobody' = 'nothing'
  /** XCLIENT is offered up to the login. */
  #exposed = false
  #keywords = NONE

  constructor(port: BackendPort, options: BackendOptions) {
    super(port, options, { words: SMTP_WORDS, answers: new ReplyReader(), greeting: { at: 'greeting' } })
  }

  get capabilities(): readonly string[] {
    return this.#keywords.lines
  }

  protected wordsOf({ lines: [first = ''] }: Reply): string {
    return first
  }

  /** Behind a login that was taken it is no reason to fail. */
  protected override saysGoodbye({ code }: Reply, step: Step | undefined): boolean {
    return code === CLOSING && step?.at !== 'proof'
  }

  protected takesStartTls({ code }: Reply): boolean {
    return code === 220
  }

  protected fresh(): void {
    this.#keywords = NONE
  }

  protected afterTls(): void {
    this.#ehlo()
  }

  protected answered(reply: Reply, step: Step): void {
    switch (step.at) {
      case 'greeting':
        if (reply.code === 220) return this.#ehlo()
        return this.trouble('BACKEND_GREETING', `the greeting is not 220: ${this.shown(reply)}`)
      case 'ehlo':
        if (reply.code === 250) return this.#useKeywords(new Keywords(reply))
        return this.trouble('BACKEND_PROTOCOL', `EHLO was refused: ${this.shown(reply)}`)
      case 'xclient':
        return this.#xclient(step.nobody, reply)
      case 'replay':
        return this.#answer(step.sasl, reply)
      case 'proof':
        return this.#prove(step.taken, reply)
      default:
        return impossible(step)
    }
  }

  // ---- before the login ----

  #ehlo(): void {
    this.ask({ at: 'ehlo' }, ehlo(this.options.facts))
  }

  #useKeywords(keywords: Keywords): void {
    this.#keywords = keywords
    if (!this.secures(keywords.has('STARTTLS'))) this.#disown()
  }

  /** Tells who the client is, and sees to it that the proxy's own rights don't become the client's. */
  #disown(): void {
    const { announceClient, facts } = this.options
    const names = this.#keywords.arguments('XCLIENT')
    if (announceClient !== undefined && this.#told === 'nothing') {
      const command = names === undefined ? undefined : xclient(announceClient, facts, names)
      if (command?.address !== true) this.port.addressLost()
      if (command !== undefined) return this.#tell(command, false)
    }
    if (names !== undefined && namesHosts(names)) {
      if (announceClient === undefined) this.trouble('BACKEND_PROTOCOL', INHERITED)
      else if (this.#told === 'nobody') this.trouble('BACKEND_PROTOCOL', KEPT)
      else this.#tellNobody(names, KEPT)
      return
    }
    this.#exposed = names !== undefined
    this.announced()
  }

  #tell({ bytes }: Xclient, nobody: boolean): void {
    this.#told = nobody ? 'nobody' : 'client'
    this.ask({ at: 'xclient', nobody }, bytes)
  }

  /** @param otherwise why no login can be repeated where nothing can be told either */
  #tellNobody(names: readonly string[], otherwise: string): void {
    const command = xclientNobody(names)
    if (command === undefined) {
      this.trouble('BACKEND_PROTOCOL', otherwise)
      return
    }
    this.port.addressLost()
    this.#tell(command, true)
  }

  /** Taken, the session begins anew, with what the backend offers this client. */
  #xclient(nobody: boolean, reply: Reply): void {
    if (reply.code < 300) return this.#ehlo()
    if (reply.code < 400) {
      this.trouble('BACKEND_PROTOCOL', `no answer to XCLIENT where it was due: ${this.shown(reply)}`)
      return
    }
    const refused = `XCLIENT was offered but refused, and the client would inherit it: ${this.shown(reply)}`
    if (nobody) this.trouble('BACKEND_PROTOCOL', refused)
    else this.#tellNobody(this.#keywords.arguments('XCLIENT') ?? [], refused)
  }

  // ---- the login ----

  protected open({ credentials }: Login): { readonly step: Step; readonly bytes: Buffer } | undefined {
    const offered = this.#keywords.arguments('AUTH')
    const mechanism = chooseMechanism(credentials, (name) => offered?.includes(name) === true)
    if (mechanism === undefined) return undefined
    const sasl = new SaslReplay(credentials, mechanism)
    const initial = sasl.initial
    const line = `AUTH ${mechanism} ${initial}\r\n`
    const atOnce = initial !== undefined && line.length <= SMTP_COMMAND
    if (atOnce) sasl.initialSent()
    return { step: { at: 'replay', sasl }, bytes: Buffer.from(atOnce ? line : `AUTH ${mechanism}\r\n`) }
  }

  #answer(sasl: SaslReplay, reply: Reply): void {
    const [first = ''] = reply.lines
    if (reply.code === 235 && this.#exposed) this.ask({ at: 'proof', taken: reply }, ehlo(this.options.facts))
    else if (reply.code === 235) this.#accept(reply)
    else if (reply.code === 334 && reply.lines.length === 1) this.challenged(sasl, Buffer.from(textOf(first), 'latin1'))
    else if (NEEDS_TLS.has(reply.code)) this.trouble('BACKEND_NO_MECHANISM', `the backend wants TLS for that: ${this.shown(reply)}`)
    else if (reply.code >= 400) this.refuse(reply.lines.join('\r\n'), reply.code < 500 ? TEXTS.unavailable : undefined)
    else this.trouble('BACKEND_PROTOCOL', `no answer to AUTH where it was due: ${this.shown(reply)}`)
  }

  /** Dovecot's submission says 421 here when its relay is away: the login was taken all the same, and the client is told both. */
  #prove(taken: Reply, reply: Reply): void {
    if (reply.code === CLOSING) this.#accept(taken, reply)
    else if (reply.code !== 250) this.trouble('BACKEND_PROTOCOL', `EHLO was refused behind the login: ${this.shown(reply)}`)
    else if (!new Keywords(reply).has('XCLIENT')) this.#accept(taken)
    else this.trouble('BACKEND_PROTOCOL', this.options.announceClient === undefined ? INHERITED : KEPT)
  }

  #accept(...replies: readonly Reply[]): void {
    this.accept(...replies.map((reply) => Buffer.from(`${words(reply)}\r\n`, 'latin1')))
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
