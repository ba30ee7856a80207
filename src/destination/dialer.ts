/**
 * From a destination to a backend that is ready for a login: addresses, TCP, TLS, greeting, within one deadline
 * (server.backend_timeout) over everything, retries included. A retry comes only after a failure that another try may
 * mend, and never after the backend saw a credential: those are shown to it by the replay alone, which is not repeated.
 *
 * What came of a dial is reported once, for the health of the destination: a failure when the last try has failed, else
 * when the replay is decided (where requests are routed, their first answer decides, and whoever sends them reports it). Dials that the client's departure or a kick cut short say nothing about a destination and
 * are not reported, nor are those that were never made (BACKEND_PLAINTEXT, BACKEND_LOOP) or failed for a defect of our own.
 */
import type { CancelSignal } from '../cancel.ts'
import type { Clock } from '../clock.ts'
import type { DestinationConfig, ServerConfig } from '../config/config.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { BACKEND_RETRY_MS } from '../limits.ts'
import { BackendTls } from './backend-tls.ts'
import type { Backend, Dialer, DialOutcome, DialRequest } from './backend.ts'
import { connectTcp } from './connect.ts'
import { DialledBackend } from './dialled-backend.ts'
import { AddressBook } from './dns.ts'
import { Halt } from './halt.ts'

export interface DialerOptions {
  readonly server: ServerConfig
  readonly clock: Clock
  readonly report: (destination: string, clientAddress: string, outcome: DialOutcome) => void
  /** The destinations, to have their TLS ready before the first login. */
  readonly destinations?: readonly DestinationConfig[]
  /** A backend doesn't take what was to tell it who the client is. */
  readonly addressLost?: (request: DialRequest) => void
  readonly addresses?: AddressBook
  /** Whether an address leads back to one of our own listeners: none such is ever connected to. */
  readonly isOurs?: (address: string, port: number) => boolean
  readonly tls?: BackendTls
  /** Bytes that go before all others, the TLS handshake included (a PROXY header). */
  readonly preamble?: (request: DialRequest) => Buffer | undefined
  /** Between 0 and 1, for the jitter. */
  readonly random?: () => number
}

export class BackendDialer implements Dialer {
  readonly #clock: Clock
  readonly #report: DialerOptions['report']
  readonly #addresses: AddressBook
  readonly #tls: BackendTls
  readonly #preamble: DialerOptions['preamble']
  readonly #addressLost: DialerOptions['addressLost']
  readonly #isOurs: (address: string, port: number) => boolean
  readonly #random: () => number
  /** The next source address of a destination, by family. */
  readonly #turns = new WeakMap<DestinationConfig, { 4: number; 6: number }>()
  #server: ServerConfig

  constructor(options: DialerOptions) {
    this.#server = options.server
    this.#clock = options.clock
    this.#report = options.report
    this.#addresses = options.addresses ?? new AddressBook(options.clock)
    this.#tls = options.tls ?? new BackendTls(options.clock)
    this.#preamble = options.preamble
    this.#addressLost = options.addressLost
    this.#isOurs = options.isOurs ?? (() => false)
    this.#random = options.random ?? Math.random
    if (options.destinations !== undefined) this.#tls.replace(options.destinations)
  }

  /**
   * Whether these could be reconfigured to; what that needs is made ready. Nothing has changed.
   *
   * @throws SignalboxError CONFIG_INVALID for a CA or client certificate that can't be used
   */
  check(destinations: readonly DestinationConfig[]): void {
    this.#tls.check(destinations)
  }

  /**
   * A reload: deadlines and retries of later dials, and the TLS sessions of destinations that didn't change.
   *
   * @throws SignalboxError CONFIG_INVALID for a CA or client certificate that can't be used; nothing has changed then
   */
  reconfigure(server: ServerConfig, destinations: readonly DestinationConfig[]): void {
    this.#tls.replace(destinations)
    this.#server = server
  }

  async dial(request: DialRequest, cancel: CancelSignal): Promise<Backend> {
    if (cancel.aborted) throw cancel.reason
    refusePlaintext(request)
    const { backendTimeout } = this.#server
    const deadline = this.#clock.now() + backendTimeout
    const halt = new Halt()
    let last: SignalboxError | undefined
    const timer = this.#clock.after(backendTimeout, () => {
      const message = `destination "${request.destination.name}" was not ready within ${backendTimeout} ms`
      halt.now(new SignalboxError('BACKEND_TIMEOUT', message, { cause: last }))
    })
    const onCancel = (): void => halt.now(asSignalboxError(cancel.reason, 'CLIENT_CLOSED'))
    cancel.addEventListener('abort', onCancel)
    try {
      for (let retries = this.#server.backendConnectRetries; ; retries--) {
        try {
          return await this.#attempt(request, halt)
        } catch (thrown) {
          last = asSignalboxError(thrown)
        }
        const pause = BACKEND_RETRY_MS * (0.75 + this.#random() / 2)
        const again = halt.reason === undefined && last.retryable && retries > 0 && this.#clock.now() + pause < deadline
        if (!again) throw last
        await this.#pause(pause, halt)
      }
    } catch (thrown) {
      if (cancel.aborted) throw cancel.reason
      const error = asSignalboxError(thrown)
      if (error.side === 'backend' && error.code !== 'BACKEND_LOOP') {
        this.#report(request.destination.name, request.client.clientAddress, { ok: false, phase: phaseOf(error), error })
      }
      throw error
    } finally {
      timer.cancel()
      cancel.removeEventListener('abort', onCancel)
    }
  }

  async #attempt(request: DialRequest, halt: Halt): Promise<DialledBackend> {
    const { destination, leg } = request
    const found = this.#addresses.known(destination.host) ?? (await halt.until(this.#addresses.lookup(destination.host)))
    const addresses = found.filter(({ address }) => !this.#isOurs(address, leg.port))
    if (addresses.length === 0) {
      const message = `destination "${destination.name}" (${destination.host}, port ${leg.port}) is one of our own listeners`
      throw new SignalboxError('BACKEND_LOOP', message)
    }
    const localAddress = (family: 4 | 6): string | undefined => this.#sourceIp(destination, family)
    // A bridge sees to its sockets itself once it has lasted.
    const keepAlive = request.protocol.kind === 'request'
    const owned = leg.tls === 'plain' && !keepAlive
    const socket = await connectTcp({ addresses, port: leg.port, keepAlive, owned, localAddress }, this.#clock, halt)
    const backend = new DialledBackend({
      socket,
      request,
      tls: this.#tls,
      clock: this.#clock,
      timeout: this.#server.backendTimeout,
      decided: (outcome) => this.#report(destination.name, request.client.clientAddress, outcome),
      addressLost: () => this.#addressLost?.(request),
    })
    const preamble = this.#preamble?.(request)
    if (preamble !== undefined) backend.write(preamble)
    await backend.establish(halt)
    // The end may have come between the last step and here.
    if (halt.reason === undefined) return backend
    backend.destroy()
    throw halt.reason
  }

  #pause(ms: number, halt: Halt): Promise<void> {
    return halt.step((resolve) => {
      const timer = this.#clock.after(ms, resolve)
      return () => timer.cancel()
    })
  }

  /** Round robin within the family, per destination; none configured for the family: the system's choice. */
  #sourceIp(destination: DestinationConfig, family: 4 | 6): string | undefined {
    const { sourceIps } = destination
    if (sourceIps.length === 0) return undefined
    const candidates = sourceIps.filter((ip) => ip.includes(':') === (family === 6))
    // Each family for itself: a dial that tries both would give one of two addresses in each of them no turn at all.
    const turns = this.#turns.get(destination) ?? { 4: 0, 6: 0 }
    this.#turns.set(destination, turns)
    return candidates[turns[family]++ % candidates.length]
  }
}

/** The configuration's check, once more where it counts: a leg that carries logins is encrypted or explicitly allowed. */
function refusePlaintext({ destination, leg, protocol }: DialRequest): void {
  if (leg.tls === 'plain' && protocol.kind !== 'passthrough' && !destination.allowPlaintextAuth) {
    const message = `destination "${destination.name}": its ${leg.protocol} leg is plain and no login may cross it`
    throw new SignalboxError('BACKEND_PLAINTEXT', message)
  }
}

/** The establishment deadline counts as connecting wherever it strikes: no client can bring it about. */
function phaseOf({ code }: SignalboxError): 'connecting' | 'after' {
  return code === 'BACKEND_DNS' || code === 'BACKEND_CONNECT' || code === 'BACKEND_TIMEOUT' ? 'connecting' : 'after'
}
