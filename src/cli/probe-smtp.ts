/**
 * What a server says to whoever comes through SMTP pass-through, as far as its answer to EHLO (RFC 5321 §4.1.1.1), for
 * `signalbox check --probe`. Connections are bridged there unread, so everything that the server trusts the proxy with is
 * anybody's. Nothing is logged in, and nothing is sent behind EHLO.
 */
import type { DestinationConfig, LegConfig } from '../config/config.ts'
import type { Dialer } from '../destination/backend.ts'
import { SignalboxError } from '../errors.ts'
import { BackendMachine } from '../protocol/backend-machine.ts'
import type { BackendOptions, BackendPort, ClientAnnouncement, LoginProtocol } from '../protocol/protocol.ts'
import { Keywords } from '../protocol/submission/keywords.ts'
import { type Reply, ReplyReader } from '../protocol/submission/reply.ts'
import { SMTP_WORDS } from '../protocol/submission/backend.ts'
import { submission } from '../protocol/submission/submission.ts'

const EHLO = Buffer.from('EHLO localhost\r\n')

/**
 * The keywords that an SMTP leg offers.
 *
 * @throws SignalboxError of side backend
 */
export async function askSmtp(dialer: Dialer, destination: DestinationConfig, leg: LegConfig, client: ClientAnnouncement): Promise<readonly string[]> {
  const protocol: LoginProtocol = { ...submission, backend: (port, options) => new SmtpGreeting(port, options) }
  // No credential crosses this leg, so it may be plain.
  const open: DestinationConfig = { ...destination, allowPlaintextAuth: true }
  const backend = await dialer.dial({ destination: open, leg, protocol, client, facts: {} }, new AbortController().signal)
  const { capabilities } = backend
  backend.destroy()
  return capabilities
}

/** Whether strangers would be offered XCLIENT. A leg with PROXY headers shows its server the strangers' own addresses. */
export function givesAway(leg: LegConfig, keywords: readonly string[]): boolean {
  return leg.forwarding !== 'proxy' && keywords.some((line) => /^XCLIENT(?: |$)/i.test(line.trim()))
}

/** The greeting, EHLO, and what the server answers to it. The leg's own TLS is all that there is. */
class SmtpGreeting extends BackendMachine<Reply, 'greeting' | 'ehlo'> {
  capabilities: readonly string[] = []

  constructor(port: BackendPort, options: BackendOptions) {
    super(port, options, { words: SMTP_WORDS, answers: new ReplyReader(), greeting: 'greeting' })
  }

  protected wordsOf({ lines: [first = ''] }: Reply): string {
    return first
  }

  protected answered(reply: Reply, step: 'greeting' | 'ehlo'): void {
    if (step === 'greeting') {
      if (reply.code === 220) this.ask('ehlo', EHLO)
      else this.trouble('BACKEND_GREETING', this.shown(reply))
    } else if (reply.code === 250) {
      this.capabilities = new Keywords(reply).lines
      this.announced()
    } else this.trouble('BACKEND_PROTOCOL', this.shown(reply))
  }

  protected takesStartTls(): boolean {
    throw neverAsked()
  }

  protected fresh(): void {
    throw neverAsked()
  }

  protected afterTls(): void {
    throw neverAsked()
  }

  protected open(): never {
    throw neverAsked()
  }
}

function neverAsked(): SignalboxError {
  return new SignalboxError('INTERNAL', 'an SMTP server was only to be greeted')
}
