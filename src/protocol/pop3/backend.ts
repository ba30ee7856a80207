/**
 * The dialogue with a POP3 backend: greeting, CAPA, STLS, XCLIENT, UTF8, the client's login repeated (RFC 1939, RFC 2449,
 * RFC 2595, RFC 5034). A backend without CAPA (older than RFC 2449) gets USER and PASS. Reading, TLS and the outcome are
 * BackendMachine's.
 */
import { impossible } from '../../errors.ts'
import { POP3_AUTH_LINE } from '../../limits.ts'
import { SaslReplay, actsAsItself, chooseMechanism } from '../../sasl/replay.ts'
import { BackendMachine } from '../backend-machine.ts'
import type { BackendOptions, BackendPort, Login } from '../protocol.ts'
import { xclientAttributes, xclientText } from '../xclient.ts'
import { TEXTS } from './replies.ts'
import { BackendLines } from './response.ts'

type Step =
  | { readonly at: 'greeting' }
  /** CAPA was sent; undefined: its status line hasn't come. */
  | { readonly at: 'capa'; lines: string[] | undefined }
  | { readonly at: 'xclient' }
  | { readonly at: 'utf8' }
  | { readonly at: 'sasl'; readonly sasl: SaslReplay }
  /** USER was sent; PASS with these bytes follows. */
  | { readonly at: 'user'; readonly pass: Buffer }
  | { readonly at: 'pass' }

interface Line {
  readonly line: string
}

const WORDS = {
  protocol: 'POP3',
  startTls: 'STLS',
  startTlsCommand: Buffer.from('STLS\r\n'),
  cancel: Buffer.from('*\r\n'),
}
const CAPA = Buffer.from('CAPA\r\n')
const UTF8 = Buffer.from('UTF8\r\n')
const CRLF = Buffer.from('\r\n')
/** RFC 3206 and RFC 2449 §8.1: the credentials may well be right. */
const TEMPORARY = /^-ERR \[(SYS\/TEMP|IN-USE|LOGIN-DELAY)\]/i

export class Pop3Backend extends BackendMachine<Line, Step> {
  /** The lines of CAPA; undefined: the backend doesn't know the command. */
  #capa: readonly string[] | undefined
  #greetingOffersXclient = false

  constructor(port: BackendPort, options: BackendOptions) {
    super(port, options, { words: WORDS, answers: new BackendLines(), greeting: { at: 'greeting' } })
  }

  get capabilities(): readonly string[] {
    return this.#capa ?? []
  }

  protected wordsOf({ line }: Line): string {
    return line
  }

  protected takesStartTls({ line }: Line): boolean {
    return isOk(line)
  }

  /** The greeting's offer of XCLIENT stays: it isn't made again, and a forged one costs a refused command. */
  protected fresh(): void {
    this.#capa = undefined
  }

  protected afterTls(): void {
    this.#askCapa()
  }

  protected answered(answer: Line, step: Step): void {
    const { line } = answer
    switch (step.at) {
      case 'greeting':
        if (!isOk(line)) return this.trouble('BACKEND_GREETING', `the greeting is not +OK: ${this.shown(answer)}`)
        this.#greetingOffersXclient = /^\+OK \[XCLIENT\]/i.test(line)
        return this.#askCapa()
      case 'capa':
        return this.#capaLine(step, line)
      case 'xclient':
        // A backend that doesn't trust us with it still takes logins.
        if (!isOk(line)) this.port.addressLost()
        return this.#askUtf8()
      case 'utf8':
        if (isOk(line)) return this.announced()
        return this.trouble('BACKEND_PROTOCOL', 'UTF8 was promised to the client, and the backend refused it')
      case 'sasl':
        return this.#saslLine(step.sasl, line)
      case 'user':
        return isOk(line) ? this.ask({ at: 'pass' }, step.pass) : this.#refused(line)
      case 'pass':
        return isOk(line) ? this.#taken(line) : this.#refused(line)
      default:
        return impossible(step)
    }
  }

  // ---- before the login ----

  #askCapa(): void {
    this.#capa = undefined
    this.ask({ at: 'capa', lines: undefined }, CAPA)
  }

  #capaLine(step: Extract<Step, { at: 'capa' }>, line: string): void {
    if (step.lines === undefined) {
      if (isOk(line)) step.lines = []
      else if (!isErr(line)) this.trouble('BACKEND_PROTOCOL', 'neither +OK nor -ERR in answer to CAPA')
      else if (this.options.headerInClear && !this.secure) {
        this.trouble('BACKEND_PROTOCOL', 'a refusal where CAPA was asked, which the PROXY header may be the reason for')
      } else this.#useCapa(undefined)
    } else if (line === '.') this.#useCapa(step.lines)
    else step.lines.push(line.startsWith('.') ? line.slice(1) : line)
  }

  #useCapa(lines: readonly string[] | undefined): void {
    this.#capa = lines
    if (this.secures(this.#arguments('STLS') !== undefined)) return
    const { announceClient, facts } = this.options
    if (announceClient === undefined) return this.#askUtf8()
    if (!this.#greetingOffersXclient && this.#arguments('XCLIENT') === undefined) {
      this.port.addressLost()
      return this.#askUtf8()
    }
    const attributes = xclientText(xclientAttributes(announceClient, facts, { smtp: false }))
    this.ask({ at: 'xclient' }, Buffer.from(`XCLIENT ${attributes}\r\n`))
  }

  #askUtf8(): void {
    if (this.options.facts.utf8 === true) this.ask({ at: 'utf8' }, UTF8)
    else this.announced()
  }

  // ---- the login ----

  protected open({ credentials }: Login): { readonly step: Step; readonly bytes: Buffer } | undefined {
    const offered = this.#arguments('SASL')
    const mechanism = chooseMechanism(credentials, (name) => offered?.includes(name) === true)
    if (mechanism !== undefined) {
      const sasl = new SaslReplay(credentials, mechanism)
      const { initial } = sasl
      const line = initial === undefined ? '' : `AUTH ${mechanism} ${initial === '' ? '=' : initial}\r\n`
      const whole = line !== '' && line.length <= POP3_AUTH_LINE
      if (whole) sasl.initialSent()
      return { step: { at: 'sasl', sasl }, bytes: Buffer.from(whole ? line : `AUTH ${mechanism}\r\n`) }
    }
    const user = this.#capa === undefined || this.#arguments('USER') !== undefined
    if (credentials.kind === 'token' || !actsAsItself(credentials) || !user) return undefined
    const pass = Buffer.concat([Buffer.from('PASS '), credentials.password, CRLF])
    return { step: { at: 'user', pass }, bytes: Buffer.from(`USER ${credentials.authcid}\r\n`) }
  }

  /** The arguments of a capability, in upper case; undefined: the backend doesn't have it. */
  #arguments(name: string): readonly string[] | undefined {
    for (const line of this.#capa ?? []) {
      const [word = '', ...rest] = line.toUpperCase().split(' ')
      if (word === name) return rest
    }
    return undefined
  }

  #saslLine(sasl: SaslReplay, line: string): void {
    if (isOk(line)) this.#taken(line)
    else if (isErr(line)) this.#refused(line)
    else if (line === '+' || line.startsWith('+ ')) this.challenged(sasl, Buffer.from(line.slice(2), 'latin1'))
    else this.trouble('BACKEND_PROTOCOL', 'no answer to AUTH where it was due')
  }

  #taken(line: string): void {
    this.accept(Buffer.from(`${line}\r\n`, 'latin1'))
  }

  #refused(line: string): void {
    if (isErr(line)) this.refuse(line, TEMPORARY.test(line) ? TEXTS.unavailable : undefined)
    else this.trouble('BACKEND_PROTOCOL', 'neither +OK nor -ERR in answer to a login')
  }
}

function isOk(line: string): boolean {
  return /^\+OK( |$)/i.test(line)
}

function isErr(line: string): boolean {
  return /^-ERR( |$)/i.test(line)
}
