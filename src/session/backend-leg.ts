/**
 * The backend's side of a session before the bridge: the places that its destination and its account grant it, the dial,
 * the replay. It owns the backend's connection until the session takes the sockets, and gives the places back when the
 * connection is dropped.
 */
import type { CancelSignal } from '../cancel.ts'
import type { DestinationConfig, LegConfig } from '../config/config.ts'
import type { Backend, ReplayOutcome } from '../destination/backend.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import type { DialogueFacts, Login, Protocol } from '../protocol/protocol.ts'
import { announcement, timeToLive } from './announcement.ts'
import type { ClientLeg } from './client-leg.ts'
import type { Place } from './place.ts'
import type { AcceptedConnection, SessionProfile, SessionServices } from './services.ts'

/** Who wants to be connected. */
export interface Caller {
  readonly connection: AcceptedConnection
  readonly facts: DialogueFacts
  /** The TLS version of the client's leg; undefined: none. */
  readonly clientTls: string | undefined
}

export class BackendLeg {
  readonly #services: SessionServices
  readonly #profile: SessionProfile
  readonly #session: string
  /** Aborted when the session ends. */
  readonly #cancel: CancelSignal
  #backend: Backend | undefined
  /** To be given back with the backend's connection. */
  #places: Place[] = []

  constructor(services: SessionServices, profile: SessionProfile, session: string, cancel: CancelSignal) {
    this.#services = services
    this.#profile = profile
    this.#session = session
    this.#cancel = cancel
  }

  /** @throws SignalboxError BACKEND_… or ROUTE_UNAVAILABLE, or why the session has ended */
  async dial(destination: DestinationConfig | undefined, { connection, facts, clientTls }: Caller): Promise<Backend> {
    const { listener, protocol } = this.#profile
    const { server, admit, dialer } = this.#services
    if (destination === undefined) throw new SignalboxError('ROUTE_UNAVAILABLE', 'the destination is gone')
    const leg = legOf(destination, protocol)
    const client = announcement(connection, timeToLive({ connection, listener, facts, proxyTtl: server.proxyTtl }), clientTls)
    // Before the question of its health: that may make this dial the probe, which must take place then.
    const taken = this.#take({ of: 'destination', name: destination.name })
    if (taken !== true && !(await taken)) {
      throw new SignalboxError('BACKEND_FULL', `destination "${destination.name}" has as many connections as it may`)
    }
    const admitted = admit(destination.name)
    if (!(typeof admitted === 'boolean' ? admitted : await this.#unlessEnded(admitted))) {
      throw new SignalboxError('BACKEND_DOWN', `destination "${destination.name}" is marked down`)
    }
    this.#backend = await dialer.dial({ destination, leg, protocol, client, facts }, this.#cancel)
    this.#throwIfEnded()
    return this.#backend
  }

  /** Repeats the login; challenges go to the client and its answers back. */
  async replay(backend: Backend, login: Login, client: ClientLeg): Promise<Exclude<ReplayOutcome, { kind: 'challenge' }>> {
    let outcome = await backend.replay(login)
    while (outcome.kind === 'challenge') {
      const answer = await client.challenge(outcome.challenge)
      outcome = await backend.respond(answer)
    }
    this.#throwIfEnded()
    return outcome
  }

  /**
   * The account's sessions are counted from the moment a backend has taken the login: before that it is a mere claim.
   * Undefined at once where nothing is counted. Rejects with ACCOUNT_FULL.
   */
  countIn(account: string | undefined): Promise<void> | undefined {
    const taken = account === undefined || this.#take({ of: 'account', name: account })
    if (taken === true) return undefined
    return taken.then((granted) => {
      if (!granted) throw new SignalboxError('ACCOUNT_FULL', 'the account has as many sessions as it may')
    })
  }

  /** The bridge has the socket; the places stay taken. */
  handedOver(): void {
    this.#backend = undefined
  }

  /** Whatever it is doing is for nobody any more. */
  abort(error: SignalboxError): void {
    this.#backend?.destroy(error)
  }

  /** Closes the connection if it is still ours, and gives the places back. */
  drop(): void {
    this.#backend?.destroy()
    this.#backend = undefined
    for (const place of this.#places) this.#services.places.giveBack(place, this.#session)
    this.#places = []
  }

  /** True at once where nothing is counted. */
  #take(place: Place): true | Promise<boolean> {
    const answer = this.#services.places.take(place, this.#session)
    if (answer === true) return true
    // Also when nobody waits for the answer any more.
    this.#places.push(place)
    return this.#unlessEnded(answer)
  }

  /** Waits no longer than the session lives. */
  async #unlessEnded<T>(promise: Promise<T>): Promise<T> {
    const { promise: ended, reject } = Promise.withResolvers<never>()
    const onAbort = (): void => reject(this.#cancel.reason)
    this.#cancel.addEventListener('abort', onAbort)
    try {
      this.#throwIfEnded()
      return await Promise.race([promise, ended])
    } finally {
      this.#cancel.removeEventListener('abort', onAbort)
    }
  }

  #throwIfEnded(): void {
    if (this.#cancel.aborted) throw asSignalboxError(this.#cancel.reason)
  }
}

function legOf(destination: DestinationConfig, protocol: Protocol): LegConfig {
  const leg = destination.legs[protocol.name]
  if (leg === undefined) {
    throw new SignalboxError('BACKEND_NO_LEG', `destination "${destination.name}" has no ${protocol.name} leg`)
  }
  return leg
}
