/**
 * One client's session, from the accepted socket to the closed bridge. This file is the one place that knows the order
 * of the seven stages; `run` reads as that list. Stages hand over values. The client leg (with the preauth dialogue) and
 * the backend own their sockets until they release them to the bridge; every credential is gone by then.
 *
 * A session ends in one way: `#close`, once. `end` (kick, shutdown) works in every stage.
 */
import type { Socket } from 'node:net'
import type { ActorRef } from '../actor/message.ts'
import type { Clock } from '../clock.ts'
import type { DestinationConfig, LegConfig, ListenerConfig, Mechanism, ServerConfig } from '../config/config.ts'
import type { Backend, Dialer, ReplayOutcome } from '../destination/backend.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { HOLD_MS } from '../limits.ts'
import type { Login, PreauthFactory, Protocol, Refusal } from '../protocol/protocol.ts'
import type { Resolver, ResolverMessage } from '../resolver/resolver.ts'
import type { OpenRoute } from '../resolver/route.ts'
import type { InboundTls } from '../tls/inbound.ts'
import { bridge } from './bridge.ts'
import type { Bridge, BridgeResult } from './bridge.ts'
import { ClientLeg } from './client-leg.ts'
import type { SessionHandle, Sessions, SessionsMessage } from './sessions.ts'

/** What a listener's sessions have in common. */
export interface SessionProfile {
  readonly listener: ListenerConfig
  readonly protocol: Protocol
  readonly factory: PreauthFactory
}

/** A connection as the accept stage gets it. */
export interface AcceptedConnection {
  /** Paused; nothing of it has been read. */
  readonly socket: Socket
  readonly id: string
  readonly clientAddress: string
  readonly clientPort: number
  readonly localAddress: string
  readonly localPort: number
}

/** Why a session ended, for its closing log line. */
export type SessionEnd = BridgeResult['reason'] | 'logout' | 'kicked' | 'shutdown' | 'error'

export interface LoginFacts {
  readonly account: string | undefined
  readonly destination: string | undefined
  readonly mechanism: Mechanism
  readonly secure: boolean
  /** Which attempt of this connection, from 1. */
  readonly attempt: number
  /** From the complete login command to the decision, milliseconds. */
  readonly took: number
  readonly route: OpenRoute | undefined
}

/** What the operator is told of a session. */
export interface SessionReport {
  accepted(session: Session, login: LoginFacts): void
  refused(session: Session, login: LoginFacts): void
  unavailable(session: Session, login: LoginFacts, error: SignalboxError): void
  closed(session: Session, end: SessionClosed): void
}

export interface SessionClosed {
  readonly reason: SessionEnd
  readonly error: SignalboxError | undefined
  /** Bytes from the client to the backend and back, since the hand-over. */
  readonly bytesIn: number
  readonly bytesOut: number
  /** From the accepted connection to now. */
  readonly seconds: number
  /** The login that was let in; undefined: none was. */
  readonly login: LoginFacts | undefined
}

/** What a session needs of its worker. */
export interface SessionServices {
  readonly clock: Clock
  readonly server: ServerConfig
  readonly tls: InboundTls
  readonly dialer: Dialer
  readonly resolver: Resolver
  readonly resolverRef: ActorRef<ResolverMessage>
  readonly sessions: Sessions
  readonly sessionsRef: ActorRef<SessionsMessage>
  /** From a login to its account; undefined: it names none. Throws CLIENT_BAD_IDENTIFIER. */
  readonly identify: (login: Login) => string | undefined
  readonly destination: (id: number) => DestinationConfig | undefined
  /** Whether a destination may be dialled now; a promise when the primary must be asked (a probe of one that is down). */
  readonly admit: (destination: string) => boolean | Promise<boolean>
  /** Milliseconds to wait before a refusal is answered. Never rejects. */
  readonly penalty: (clientAddress: string) => Promise<number>
  readonly report: SessionReport
}

/** A login on its way through resolve, dial and replay. */
interface Attempt {
  readonly login: Login
  readonly began: number
  route: OpenRoute | undefined
  destination: DestinationConfig | undefined
}

/** An account that was let in: both sockets are ready for the bridge. */
interface Admitted {
  readonly attempt: Attempt
  readonly backend: Backend
  /** The backend's last words, for the client. */
  readonly bytes: Buffer
}

export class Session implements SessionHandle {
  readonly connection: AcceptedConnection
  readonly profile: SessionProfile
  readonly #services: SessionServices
  readonly #cancel = new AbortController()
  readonly #began: number
  #account: string | undefined
  #bridgedTo: string | undefined
  #client: ClientLeg | undefined
  #backend: Backend | undefined
  #bridge: Bridge | undefined
  #attempting = false
  #attempts = 0
  #letIn: LoginFacts | undefined
  #end: { reason: SessionEnd; error: SignalboxError | undefined } | undefined
  #bytes = { bytesIn: 0, bytesOut: 0 }

  constructor(connection: AcceptedConnection, profile: SessionProfile, services: SessionServices) {
    this.connection = connection
    this.profile = profile
    this.#services = services
    this.#began = services.clock.now()
  }

  get account(): string | undefined {
    return this.#account
  }

  get bridgedTo(): string | undefined {
    return this.#bridgedTo
  }

  get idleBeforeLogin(): boolean {
    return !this.#attempting && this.#bridge === undefined
  }

  /** The seven stages. Resolves when the session is over, never rejects. */
  async run(): Promise<void> {
    this.#services.sessions.open(this)
    try {
      const client = await this.#accept()
      const admitted = await this.#login(client)
      const result = await this.#bridgeOver(client, admitted)
      this.#bytes = result
      this.#end ??= { reason: result.reason, error: undefined }
    } catch (thrown) {
      const error = asSignalboxError(thrown)
      this.#end ??= { reason: error.message === LOGGED_OUT ? 'logout' : 'error', error }
    }
    this.#close()
  }

  /** Ends the session in whatever stage it is. Idempotent. */
  end(why: 'kicked' | 'shutdown'): void {
    if (this.#end !== undefined) return
    const error = new SignalboxError(why === 'kicked' ? 'KICKED' : 'DRAINING', why === 'kicked' ? 'kicked' : 'the instance is shutting down')
    // A client that only waits can be told why; one in the middle of a stream can't.
    if (why === 'shutdown' && this.idleBeforeLogin && this.#client !== undefined) {
      this.#end = { reason: why, error: undefined }
      this.#client.expire('shutdown')
      return
    }
    this.#end = { reason: why, error: undefined }
    this.#cancel.abort(error)
    this.#backend?.destroy(error)
    this.#client?.destroy(error)
    this.#bridge?.end()
    this.connection.socket.destroy()
  }

  // ---- accept ----

  async #accept(): Promise<ClientLeg> {
    const { listener, factory } = this.profile
    const { clock, tls, penalty } = this.#services
    const { id, clientAddress, localAddress } = this.connection
    const implicit = listener.tls === 'implicit'
    const socket = implicit ? await this.#encrypt() : this.connection.socket
    this.#throwIfEnded()
    const client = new ClientLeg({
      socket,
      secure: implicit,
      session: id,
      clientAddress,
      localAddress,
      factory,
      tls,
      clock,
      cancel: this.#cancel.signal,
      timeout: listener.preauthTimeout,
      penalty: () => penalty(clientAddress),
      over: (error) => this.#cancel.abort(error ?? new SignalboxError('CLIENT_CLOSED', LOGGED_OUT)),
    })
    this.#client = client
    client.start()
    return client
  }

  async #encrypt(): Promise<Socket> {
    const deadline = this.#services.clock.after(this.profile.listener.preauthTimeout, () => {
      this.#cancel.abort(new SignalboxError('CLIENT_TIMEOUT', 'the TLS handshake took too long'))
    })
    try {
      return await this.#services.tls.accept(this.connection.socket, this.#cancel.signal)
    } finally {
      deadline.cancel()
    }
  }

  // ---- preauth, identify, resolve, dial, replay: until one attempt is let in ----

  async #login(client: ClientLeg): Promise<Admitted> {
    for (;;) {
      const login = await client.nextLogin()
      const attempt: Attempt = { login, began: this.#services.clock.now(), route: undefined, destination: undefined }
      this.#attempting = true
      this.#attempts++
      try {
        this.#join(this.#services.identify(login))
        const route = await this.#resolve()
        attempt.route = route
        attempt.destination = this.#services.destination(route.destination)
        const backend = await this.#dial(attempt.destination)
        const outcome = await this.#replay(client, backend, login)
        if (outcome.kind === 'accepted' && (await this.#stillHolds(route))) return { attempt, backend, bytes: outcome.bytes }
        this.#dropBackend()
        if (outcome.kind !== 'refused') throw new SignalboxError('ROUTE_VOID', 'the account was moved while it logged in')
        this.#reportRefusal(attempt, outcome.refusal)
        client.refused(outcome.refusal)
      } catch (thrown) {
        this.#dropBackend()
        this.#throwIfEnded()
        const error = asSignalboxError(thrown)
        this.#services.report.unavailable(this, this.#facts(attempt), error)
        client.unavailable()
      }
      this.#leave()
      this.#attempting = false
    }
  }

  /** A backend that says "not now" has refused nobody. */
  #reportRefusal(attempt: Attempt, { temporary }: Refusal): void {
    const { report } = this.#services
    const facts = this.#facts(attempt)
    if (temporary === true) report.unavailable(this, facts, new SignalboxError('BACKEND_UNAVAILABLE', 'the backend cannot take the login for the moment'))
    else report.refused(this, facts)
  }

  /** The session is the account's from here on: a kick ends it in any later stage. */
  #join(identifier: string | undefined): void {
    this.#account = identifier
    if (identifier !== undefined) this.#services.sessionsRef.tell({ type: 'join', session: this })
  }

  #leave(): void {
    if (this.#account === undefined) return
    this.#services.sessionsRef.tell({ type: 'leave', session: this })
    this.#account = undefined
  }

  async #resolve(): Promise<OpenRoute> {
    const { resolver, resolverRef } = this.#services
    if (this.#account === undefined) return resolver.defaultRoute()
    const cached = resolver.cached(this.#account)
    if (cached !== undefined) return cached
    // The resolver has deadlines of its own for lookups; this one is for a login that is held back.
    const route = await resolverRef.ask({ type: 'resolve', identifier: this.#account }, HOLD_MS + 30_000)
    this.#throwIfEnded()
    if (route.kind === 'unavailable') throw route.error
    return route
  }

  async #dial(destination: DestinationConfig | undefined): Promise<Backend> {
    const { protocol } = this.profile
    const { connection } = this
    if (destination === undefined) throw new SignalboxError('ROUTE_UNAVAILABLE', 'the destination is gone')
    const leg = legOf(destination, protocol)
    const admitted = this.#services.admit(destination.name)
    if (!(typeof admitted === 'boolean' ? admitted : await admitted)) {
      throw new SignalboxError('BACKEND_DOWN', `destination "${destination.name}" is marked down`)
    }
    this.#throwIfEnded()
    const { id: session, clientAddress } = connection
    const request = { destination, leg, protocol, clientAddress, session, announceClient: undefined }
    this.#backend = await this.#services.dialer.dial(request, this.#cancel.signal)
    this.#throwIfEnded()
    return this.#backend
  }

  async #replay(client: ClientLeg, backend: Backend, login: Login): Promise<Exclude<ReplayOutcome, { kind: 'challenge' }>> {
    let outcome = await backend.replay(login)
    while (outcome.kind === 'challenge') {
      const answer = await client.challenge(outcome.challenge)
      outcome = await backend.respond(answer)
    }
    this.#throwIfEnded()
    return outcome
  }

  /** The last look before the bridge: no invalidation may have overtaken the route. */
  async #stillHolds(route: OpenRoute): Promise<boolean> {
    const { resolver } = this.#services
    const standing = resolver.standing(route)
    if (standing !== 'doubtful') return standing === 'holds'
    const again = await this.#resolve()
    return again.destination === route.destination && resolver.standing(again) !== 'void'
  }

  // ---- bridge ----

  #bridgeOver(client: ClientLeg, { attempt, backend, bytes }: Admitted): Promise<BridgeResult> {
    this.#throwIfEnded()
    const facts = this.#facts(attempt)
    this.#letIn = facts
    const { clientSocket, behind, backendSocket, early } = handOver(client, backend)
    this.#client = undefined
    this.#backend = undefined
    this.#bridgedTo = attempt.destination?.name
    this.#services.report.accepted(this, facts)
    clientSocket.write(bytes)
    if (early.length > 0) clientSocket.write(early)
    if (behind.length > 0) backendSocket.write(behind)
    return new Promise((resolve) => {
      this.#bridge = bridge({ client: clientSocket, backend: backendSocket, idle: this.#services.server.bridgeIdle, done: resolve })
    })
  }

  // ---- the end ----

  #close(): void {
    const { clock, sessions, report } = this.#services
    const { reason, error } = this.#end ?? { reason: 'ended' as const, error: undefined }
    this.#dropBackend()
    this.#client = undefined
    this.#bridge = undefined
    this.#bridgedTo = undefined
    sessions.close(this)
    report.closed(this, { reason, error, ...this.#bytes, seconds: (clock.now() - this.#began) / 1000, login: this.#letIn })
    this.#leave()
  }

  #dropBackend(): void {
    this.#backend?.destroy()
    this.#backend = undefined
  }

  #throwIfEnded(): void {
    if (this.#cancel.signal.aborted) throw asSignalboxError(this.#cancel.signal.reason)
  }

  #facts({ login, began, route, destination }: Attempt): LoginFacts {
    return {
      account: this.#account,
      destination: destination?.name,
      mechanism: login.mechanism,
      secure: this.#client?.secure ?? false,
      attempt: this.#attempts,
      took: this.#services.clock.now() - began,
      route,
    }
  }
}

/** Both legs give up their sockets in one turn, or both are closed: either may have broken since the login was taken. */
function handOver(client: ClientLeg, backend: Backend) {
  try {
    const { socket: backendSocket, early } = backend.release()
    try {
      const { socket: clientSocket, behind } = client.release()
      return { clientSocket, behind, backendSocket, early }
    } catch (error) {
      backendSocket.destroy()
      throw error
    }
  } catch (thrown) {
    const error = asSignalboxError(thrown)
    client.destroy(error)
    throw error
  }
}

const LOGGED_OUT = 'the client logged out'

function legOf(destination: DestinationConfig, protocol: Protocol): LegConfig {
  const leg = destination.legs[protocol.name]
  if (leg === undefined) {
    throw new SignalboxError('BACKEND_NO_LEG', `destination "${destination.name}" has no ${protocol.name} leg`)
  }
  return leg
}
