/**
 * The dialogue with a ManageSieve backend: the capability block that it greets with, STARTTLS, XCLIENT (as Dovecot's
 * managesieve-login takes it), the client's login repeated (RFC 5804 §1.7, §2.1, §2.2). Reading, TLS and the outcome are
 * BackendMachine's.
 *
 * The block that follows the TLS handshake is waited for: RFC 5804 §2.2 makes every server send it.
 */
import { impossible } from '../../errors.ts'
import { SaslReplay, chooseMechanism } from '../../sasl/replay.ts'
import { BackendMachine } from '../backend-machine.ts'
import type { BackendOptions, BackendPort, Login } from '../protocol.ts'
import { xclientAttributes, xclientText } from '../xclient.ts'
import { TEXTS } from './replies.ts'
import { type Capabilities, type Response, ResponseReader, wordsOf } from './response.ts'
import { writeString } from './wire.ts'

type Status = Extract<Response, { kind: 'status' }>

type Step =
  /** A capability block is on its way: in the greeting, behind TLS, or asked for (after XCLIENT or a PROXY header). */
  | { readonly at: 'block'; readonly greeting: boolean; readonly found: Map<string, string> }
  | { readonly at: 'xclient' }
  | { readonly at: 'replay'; readonly sasl: SaslReplay }

const CRLF = Buffer.from('\r\n')
const WORDS = {
  protocol: 'ManageSieve',
  startTls: 'STARTTLS',
  startTlsCommand: Buffer.from('STARTTLS\r\n'),
  cancel: Buffer.from('"*"\r\n'),
}
const CAPABILITY = Buffer.from('CAPABILITY\r\n')
const NONE: Capabilities = new Map()

export class ManageSieveBackend extends BackendMachine<Response, Step> {
  /** XCLIENT has had its turn. */
  #told = false
  /** The backend was asked something behind the PROXY header. */
  #heard = false
  #capabilities = NONE

  constructor(port: BackendPort, options: BackendOptions) {
    super(port, options, { words: WORDS, answers: new ResponseReader(), greeting: { at: 'block', greeting: true, found: new Map() } })
  }

  get capabilities(): readonly string[] {
    return [...this.#capabilities].map(([name, value]) => (value === '' ? name : `${name} ${value}`))
  }

  protected wordsOf(response: Response): string {
    return response.kind === 'status' ? response.raw.toString('latin1') : 'a line of strings'
  }

  protected override saysGoodbye(response: Response): boolean {
    return response.kind === 'status' && response.status === 'BYE'
  }

  protected takesStartTls(response: Response): boolean {
    return response.kind === 'status' && response.status === 'OK'
  }

  protected fresh(): void {
    this.#capabilities = NONE
  }

  protected afterTls(): void {
    this.#awaitBlock()
  }

  protected override message(base64: string): Buffer {
    return Buffer.concat([string(base64), CRLF])
  }

  protected answered(response: Response, step: Step): void {
    switch (step.at) {
      case 'block':
        return this.#block(step, response)
      case 'xclient':
        return this.#xclient(response)
      case 'replay':
        return response.kind === 'strings' ? this.#asked(step.sasl, response.values) : this.#answer(response)
      default:
        return impossible(step)
    }
  }

  // ---- before the login ----

  #awaitBlock(command?: Buffer): void {
    this.ask({ at: 'block', greeting: false, found: new Map() }, command)
  }

  #block(step: Extract<Step, { at: 'block' }>, response: Response): void {
    if (response.kind === 'strings') {
      const [name, value] = response.values
      if (name !== undefined) step.found.set(name.toString('latin1').toUpperCase(), value?.toString('latin1') ?? '')
    } else if (response.status === 'OK') {
      this.#useCapabilities(step.found)
    } else if (step.greeting) {
      this.trouble('BACKEND_GREETING', `the greeting is not OK: ${this.shown(response)}`)
    } else {
      this.trouble('BACKEND_PROTOCOL', `no capabilities where they were due: ${this.shown(response)}`)
    }
  }

  #useCapabilities(capabilities: Capabilities): void {
    this.#capabilities = capabilities
    if (this.secures(capabilities.has('STARTTLS'))) return
    const { startTls, announceClient, headerInClear, facts } = this.options
    if (headerInClear && !startTls && !this.#heard) {
      this.#heard = true
      return this.#awaitBlock(CAPABILITY)
    }
    if (announceClient !== undefined && !this.#told) {
      this.#told = true
      const attributes = xclientAttributes(announceClient, facts, { smtp: false })
      if (capabilities.has('XCLIENT') && attributes.some(([name]) => name === 'ADDR')) {
        return this.ask({ at: 'xclient' }, Buffer.from(`XCLIENT ${xclientText(attributes)}\r\n`, 'latin1'))
      }
      this.port.addressLost()
    }
    this.announced()
  }

  /** Taken, the backend may offer this client other mechanisms than it offered us. */
  #xclient(response: Response): void {
    if (response.kind !== 'status') {
      this.trouble('BACKEND_PROTOCOL', 'no answer to XCLIENT where it was due')
    } else if (response.status === 'OK') {
      this.#awaitBlock(CAPABILITY)
    } else {
      // A backend that doesn't believe us still takes logins.
      this.port.addressLost()
      this.announced()
    }
  }

  // ---- the login ----

  protected open({ credentials }: Login): { readonly step: Step; readonly bytes: Buffer } | undefined {
    const offered = wordsOf(this.#capabilities, 'SASL')
    const mechanism = chooseMechanism(credentials, (name) => offered.includes(name))
    if (mechanism === undefined) return undefined
    const sasl = new SaslReplay(credentials, mechanism)
    const command: Buffer[] = [Buffer.from(`AUTHENTICATE "${mechanism}"`)]
    const { initial } = sasl
    if (initial !== undefined) {
      command.push(Buffer.from(' '), string(initial))
      sasl.initialSent()
    }
    return { step: { at: 'replay', sasl }, bytes: Buffer.concat([...command, CRLF]) }
  }

  #asked(sasl: SaslReplay, [text, more]: readonly Buffer[]): void {
    this.challenged(sasl, more === undefined ? text : undefined)
  }

  /** What came with the OK, such as the mechanism's last data (`SASL "…"`), goes to the client with it. */
  #answer(response: Status): void {
    if (response.status === 'OK') this.accept(response.raw, CRLF)
    else if (response.code === 'ENCRYPT-NEEDED') {
      // No login of any client could succeed over this leg, so none is blamed.
      this.trouble('BACKEND_NO_MECHANISM', `the backend wants TLS for that: ${this.shown(response)}`)
    } else this.refuse(response.raw.toString('latin1'), response.code === 'TRYLATER' ? TEXTS.unavailable : undefined)
  }
}

function string(text: string): Buffer {
  return writeString(Buffer.from(text, 'latin1'), 'client')
}
