/**
 * What a server says to whoever comes through SMTP pass-through, as far as its answer to EHLO (RFC 5321 §4.1.1.1), for
 * `signalbox check --probe`. Connections are bridged there unread, so everything that the server trusts the proxy with is
 * anybody's. Nothing is logged in, and nothing is sent behind EHLO.
 */
import type { DestinationConfig, LegConfig } from '../config/config.ts'
import type { Dialer } from '../destination/backend.ts'
import { SignalboxError } from '../errors.ts'
import type { BackendDialogue, BackendPort, ClientAnnouncement, LoginProtocol } from '../protocol/protocol.ts'
import { Keywords } from '../protocol/submission/keywords.ts'
import { ReplyReader } from '../protocol/submission/reply.ts'
import { submission } from '../protocol/submission/submission.ts'

const EHLO = Buffer.from('EHLO localhost\r\n')

/**
 * The keywords that an SMTP leg offers.
 *
 * @throws SignalboxError of side backend
 */
export async function askSmtp(dialer: Dialer, destination: DestinationConfig, leg: LegConfig, client: ClientAnnouncement): Promise<readonly string[]> {
  const protocol: LoginProtocol = { ...submission, backend: (port) => new SmtpGreeting(port) }
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

/** The greeting, EHLO, and what the server answers to it. */
class SmtpGreeting implements BackendDialogue {
  readonly #port: BackendPort
  readonly #reader = new ReplyReader()
  #greeted = false
  #over = false
  capabilities: readonly string[] = []

  constructor(port: BackendPort) {
    this.#port = port
  }

  /** The server speaks first. */
  start(): void {}

  receive(chunk: Buffer): void {
    const fits = this.#reader.feed(chunk)
    while (!this.#over) {
      const reply = fits ? this.#reader.next() : 'too-long'
      if (reply === 'more') return
      if (reply === 'too-long' || reply === 'malformed' || reply.code !== (this.#greeted ? 250 : 220)) {
        this.#over = true
        const said = typeof reply === 'string' ? 'no SMTP reply' : (reply.lines[0] ?? '')
        this.#port.trouble(new SignalboxError(this.#greeted ? 'BACKEND_PROTOCOL' : 'BACKEND_GREETING', said))
      } else if (this.#greeted) {
        this.#over = true
        this.capabilities = new Keywords(reply).lines
        this.#port.announced()
      } else {
        this.#greeted = true
        this.#port.write(EHLO)
      }
    }
  }

  secured(): void {
    throw neverAsked()
  }

  replay(): void {
    throw neverAsked()
  }

  respond(): void {
    throw neverAsked()
  }
}

function neverAsked(): SignalboxError {
  return new SignalboxError('INTERNAL', 'an SMTP server was only to be greeted')
}
