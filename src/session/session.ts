/**
 * One client's session, from the accepted socket to the closed bridge. This file is the one place that knows the order
 * of the seven stages; `run` reads as that list. Stages hand over values. The client leg (with the preauth dialogue) and
 * the backend leg own their sockets until they release them to the bridge; every credential is gone by then.
 *
 * A session ends in one way: `#close`, once. `end` (kick, shutdown) works in every stage.
 */
import { Cancel } from '../cancel.ts'
import type { DestinationConfig, Mechanism } from '../config/config.ts'
import type { Backend } from '../destination/backend.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { HOLD_MS, KEEPALIVE_LOOK_MS } from '../limits.ts'
import type { Stage } from '../observe/counters.ts'
import type { DialogueFacts, Refusal } from '../protocol/protocol.ts'
import type { OpenRoute } from '../resolver/route.ts'
import { announced, counted, encrypted, hasSteps, inTime, speaksForOthers, tlsVersion } from './accept.ts'
import { BackendLeg } from './backend-leg.ts'
import { bridge } from './bridge.ts'
import type { Bridge, BridgeResult } from './bridge.ts'
import { ClientLeg } from './client-leg.ts'
import type { AcceptedConnection, LoginFacts, LoginProfile, PassthroughProfile, SessionEnd, SessionProfile, SessionServices } from './services.ts'
import { lastWords } from './last-words.ts'
import type { Occupant } from './preauth-memory.ts'
import type { EndedBy, SessionHandle } from './sessions.ts'

export type { AcceptedConnection, LoginFacts, SessionClosed, SessionEnd, SessionProfile, SessionReport, SessionServices } from './services.ts'

/** A login on its way through resolve, dial and replay: what is told of it. The login itself is held by none but `#login`. */
interface Attempt {
  readonly mechanism: Mechanism | undefined
  readonly began: number
  route: OpenRoute | undefined
  destination: DestinationConfig | undefined
}

/** What is handed over when an account was let in. */
interface HandOver {
  readonly client: ClientLeg
  readonly backend: Backend
  readonly attempt: Attempt
  /** The route as it was last confirmed. */
  readonly route: OpenRoute
  /** The backend's last words, for the client. */
  readonly bytes: Buffer
}

/** The bridge stands; `over` resolves at its end. */
interface Bridged {
  readonly over: Promise<BridgeResult>
}

const NO_FACTS: DialogueFacts = {}

export class Session implements SessionHandle {
  seat = -1
  readonly profile: SessionProfile
  /** As the accept stage left it. */
  #connection: AcceptedConnection
  readonly #services: SessionServices
  readonly #cancel = new Cancel()
  readonly #began: number
  /** The stage it is in, and since when. */
  #stage: Stage | 'bridge' = 'preauth'
  #entered: number
  #account: string | undefined
  #bridgedTo: string | undefined
  #routedTo: string | undefined
  #client: ClientLeg | undefined
  readonly #backend: BackendLeg
  #occupant: Occupant | undefined
  #bridge: Bridge | undefined
  #attempting = false
  #attempts = 0
  #letIn: LoginFacts | undefined
  #end: { reason: SessionEnd; error: SignalboxError | undefined } | undefined
  /** Its sockets have TCP keepalive. */
  #kept = false
  #bytes = { bytesIn: 0, bytesOut: 0 }

  constructor(connection: AcceptedConnection, profile: SessionProfile, services: SessionServices) {
    this.#connection = connection
    this.profile = profile
    this.#services = services
    this.#backend = new BackendLeg(services, profile, connection.id, this.#cancel)
    this.#began = services.clock.now()
    this.#entered = this.#began
  }

  get connection(): AcceptedConnection {
    return this.#connection
  }

  get account(): string | undefined {
    return this.#account
  }

  get bridgedTo(): string | undefined {
    return this.#bridgedTo
  }

  get routedTo(): string | undefined {
    return this.#routedTo
  }

  get protocol() {
    return this.profile.listener.protocol
  }

  get client(): string {
    return this.connection.clientAddress
  }

  get since(): number {
    const { clock } = this.#services
    return Math.round(clock.wall() - (clock.now() - this.#began))
  }

  get bytes(): { readonly bytesIn: number; readonly bytesOut: number } {
    return this.#bridge ?? this.#bytes
  }

  get idleBeforeLogin(): boolean {
    return !this.#attempting && this.#bridge === undefined
  }

  lasts(): void {
    if (this.#kept || this.#bridge === undefined || this.#services.clock.now() - this.#entered < KEEPALIVE_LOOK_MS) return
    this.#kept = true
    this.#bridge.keepAlive()
  }

  /** The seven stages. Resolves when the session is over, never rejects. */
  async run(): Promise<void> {
    this.#services.sessions.open(this)
    this.#occupant = this.#services.preauth.enter(this)
    try {
      if (hasSteps(this.profile.listener)) await this.#accept()
      this.#throwIfGone()
      // No variable may keep the client's leg for as long as the bridge stands.
      const bridged = isPassthrough(this.profile) ? await this.#passThrough(this.profile) : await this.#login(this.#greet(this.profile))
      const result = await bridged.over
      this.#bytes = { bytesIn: result.bytesIn, bytesOut: result.bytesOut }
      this.#end ??= { reason: result.reason, error: undefined }
    } catch (thrown) {
      this.#end ??= { reason: 'error', error: asSignalboxError(thrown) }
    }
    this.#close()
  }

  /** Ends the session in whatever stage it is. Idempotent. */
  end(why: EndedBy): void {
    if (this.#end !== undefined) return
    const error = new SignalboxError(why === 'shutdown' ? 'DRAINING' : 'KICKED', why === 'shutdown' ? 'the instance is shutting down' : why)
    // A client that only waits can be told why; one in the middle of a stream can't.
    if (why === 'shutdown' && this.idleBeforeLogin && this.#client !== undefined) {
      this.#end = { reason: why, error: undefined }
      this.#client.expire('shutdown')
      return
    }
    this.#end = { reason: why, error: undefined }
    this.#abort(error)
    this.#client?.destroy(error)
    this.#bridge?.end()
    this.#connection.socket.destroy()
  }

  /** Those who haven't logged in hold too much together, and this is the oldest of them. */
  crowdOut(): void {
    if (this.#end !== undefined) return
    const error = new SignalboxError('CLIENT_CROWDED_OUT', 'connections without a login hold more than limits.max_preauth_memory')
    this.#end = { reason: 'error', error }
    if (this.#client === undefined) this.#connection.socket.destroy()
    else this.#client.crowdOut(error)
    this.#abort(error)
  }

  /** Whatever is under way is for nobody any more. */
  #abort(error: SignalboxError): void {
    this.#cancel.abort(error)
    this.#backend.abort(error)
  }

  // ---- accept ----

  async #accept(): Promise<void> {
    const { listener } = this.profile
    const { clock, tls, countAddress: count } = this.#services
    const options = { listener, clock, cancel: this.#cancel }
    const peer = this.#connection.clientAddress
    await inTime(options, async () => {
      this.#connection = await announced(this.#connection, options)
      if (speaksForOthers(listener, peer)) await counted(this.#connection, { ...options, count, tooBusy: tooBusyOf(this.profile) })
      this.#connection = await encrypted(this.#connection, { ...options, tls })
    })
  }

  #throwIfGone(): void {
    if (this.#cancel.aborted) this.#connection.socket.destroy()
    this.#throwIfEnded()
  }

  #greet({ listener, factory }: LoginProfile): ClientLeg {
    const { clock, tls, penalty } = this.#services
    const client = new ClientLeg({
      connection: this.#connection,
      secure: listener.tls === 'implicit',
      factory,
      tls,
      clock,
      cancel: this.#cancel,
      timeout: listener.preauthTimeout,
      spent: clock.now() - this.#began,
      penalty: () => penalty(this.client),
      holds: (bytes) => this.#occupant?.holds(bytes),
      over: (error) => {
        if (error === undefined) this.#end ??= { reason: 'logout', error }
        this.#abort(error ?? new SignalboxError('CLIENT_CLOSED', 'the client logged out'))
      },
    })
    this.#client = client
    client.start()
    return client
  }

  // ---- preauth, identify, resolve, dial, replay, until one attempt is let in and bridged ----

  async #login(client: ClientLeg): Promise<Bridged> {
    for (;;) {
      const login = await client.nextLogin()
      const { mechanism } = login
      const attempt: Attempt = { mechanism, began: this.#enter('resolve'), route: undefined, destination: undefined }
      this.#attempting = true
      this.#attempts++
      try {
        this.#join(this.#services.identify(login))
        const found = this.#resolve(attempt.began)
        const route = found instanceof Promise ? await found : found
        attempt.route = route
        attempt.destination = this.#services.destination(route.destination)
        this.#enter('dial')
        this.#routedTo = attempt.destination?.name
        const backend = await this.#backend.dial(attempt.destination, { connection: this.#connection, facts: login.facts, clientTls: client.tlsVersion })
        this.#enter('replay')
        const outcome = await this.#backend.replay(backend, login, client)
        if (outcome.kind === 'accepted') {
          const counted = this.#backend.countIn(this.#account)
          if (counted !== undefined) await counted
          const confirmed = this.#services.resolver.standing(route) === 'doubtful' ? await this.#confirm(route) : route
          return this.#handOver({ client, backend, attempt, route: confirmed, bytes: outcome.bytes })
        }
        this.#enter('preauth')
        this.#backend.drop()
        this.#reportRefusal(attempt, outcome.refusal)
        client.refused(outcome.refusal)
      } catch (thrown) {
        this.#enter('preauth')
        this.#backend.drop()
        this.#throwIfEnded()
        const error = asSignalboxError(thrown)
        if (error.code === 'CLIENT_BAD_IDENTIFIER') {
          // Such a name fails for ever: the client must hear so, and pay for it like for any other wrong one.
          this.#services.report.refused(this, this.#facts(attempt), 'identifier')
          client.refused({ text: undefined })
        } else {
          this.#services.report.unavailable(this, this.#facts(attempt), error)
          client.unavailable(error.code === 'ACCOUNT_FULL' ? 'limit' : undefined)
        }
      }
      this.#leave()
      this.#attempting = false
    }
  }

  /** The stage it was in is over, and timed; gives the time. */
  #enter(stage: Stage | 'bridge'): number {
    const now = this.#services.clock.now()
    if (this.#stage !== 'bridge') this.#services.counters.stage(this.protocol, this.#stage, now - this.#entered)
    this.#stage = stage
    this.#entered = now
    return now
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
    this.#routedTo = undefined
    if (this.#account === undefined) return
    this.#services.sessionsRef.tell({ type: 'leave', session: this })
    this.#account = undefined
  }

  /**
   * A cached route is there at once.
   *
   * @param now the clock time of this turn
   */
  #resolve(now: number): OpenRoute | Promise<OpenRoute> {
    const { resolver } = this.#services
    if (this.#account === undefined) return resolver.defaultRoute()
    return resolver.cached(this.#account, now) ?? this.#lookUp(this.#account)
  }

  async #lookUp(identifier: string): Promise<OpenRoute> {
    // The resolver has deadlines of its own for lookups; this one is for a login that is held back.
    const route = await this.#services.resolverRef.ask({ type: 'resolve', identifier }, HOLD_MS + 30_000, this.#cancel)
    this.#throwIfEnded()
    if (route.kind === 'unavailable') throw route.error
    return route
  }

  /** A route of which an invalidation may have been missed is looked up again. Gives the route that must hold at the hand-over. */
  async #confirm(route: OpenRoute): Promise<OpenRoute> {
    const again = await this.#resolve(this.#services.clock.now())
    if (again.destination !== route.destination) throw moved()
    return again
  }

  // ---- the whole connection to one destination, instead of all stages between accept and bridge ----

  async #passThrough({ protocol, destination: name }: PassthroughProfile): Promise<Bridged> {
    const { socket } = this.#connection
    const destination = this.#services.destinationNamed(name)
    const attempt: Attempt = { mechanism: undefined, began: this.#services.clock.now(), route: undefined, destination }
    const gone = (): void => this.#abort(new SignalboxError('CLIENT_CLOSED', 'the client closed the connection'))
    socket.on('error', gone)
    socket.on('close', gone)
    this.#attempting = true
    try {
      this.#enter('dial')
      const backend = await this.#backend.dial(destination, { connection: this.#connection, facts: NO_FACTS, clientTls: tlsVersion(socket) })
      this.#throwIfTakenOut(name)
      const { socket: backendSocket, early } = backend.release()
      this.#backend.handedOver()
      this.#occupant?.leave()
      socket.off('error', gone)
      socket.off('close', gone)
      if (early.length > 0) socket.write(early)
      const facts = this.#facts(attempt)
      this.#letIn = facts
      this.#enter('bridge')
      this.#bridgedTo = name
      const { promise: over, resolve: done } = Promise.withResolvers<BridgeResult>()
      const { counters, server } = this.#services
      const meter = counters.leg(this.protocol, name)
      this.#bridge = bridge({ client: socket, backend: backendSocket, idle: server.bridgeIdle, done, meter })
      this.#services.report.passedThrough(this, facts)
      return { over }
    } catch (thrown) {
      this.#backend.drop()
      if (this.#cancel.aborted) socket.destroy()
      this.#throwIfEnded()
      const error = asSignalboxError(thrown)
      this.#services.report.unavailable(this, this.#facts(attempt), error)
      lastWords(socket, protocol.unavailable, this.#services.clock)
      throw error
    }
  }

  // ---- bridge ----

  /**
   * In one turn of the event loop: the last look at the route, both sockets out of their legs and onto the bridge.
   *
   * @throws SignalboxError when the route was overtaken or a leg has broken; the client can be told so then
   */
  #handOver({ client, backend, attempt, route, bytes }: HandOver): Bridged {
    this.#throwIfEnded()
    if (this.#services.resolver.standing(route) !== 'holds') throw moved()
    const name = attempt.destination?.name ?? ''
    this.#throwIfTakenOut(name)
    const facts = this.#facts(attempt)
    const { clientSocket, behind, backendSocket, early } = release(client, backend)
    this.#letIn = facts
    this.#client = undefined
    this.#backend.handedOver()
    this.#occupant?.leave()
    this.#bridgedTo = attempt.destination?.name
    const { promise: over, resolve: done } = Promise.withResolvers<BridgeResult>()
    clientSocket.write(bytes)
    if (early.length > 0) clientSocket.write(early)
    if (behind.length > 0) backendSocket.write(behind)
    this.#enter('bridge')
    const { counters, server } = this.#services
    const meter = counters.leg(this.protocol, name)
    this.#bridge = bridge({ client: clientSocket, backend: backendSocket, idle: server.bridgeIdle, done, meter })
    this.#services.report.accepted(this, facts)
    return { over }
  }

  // ---- the end ----

  #close(): void {
    const { clock, sessions, report } = this.#services
    const { reason, error } = this.#end ?? { reason: 'ended' as const, error: undefined }
    this.#backend.drop()
    // Nothing where the leg is over already; where a defect of ours ended the session, nobody else would close it.
    this.#client?.destroy(error ?? new SignalboxError('INTERNAL', 'the session is over'))
    this.#client = undefined
    this.#bridge = undefined
    this.#bridgedTo = undefined
    this.#occupant?.leave()
    sessions.close(this)
    const { bytesIn, bytesOut } = this.#bytes
    report.closed(this, { reason, error, bytesIn, bytesOut, seconds: (clock.now() - this.#began) / 1000, login: this.#letIn })
    this.#leave()
  }

  #throwIfEnded(): void {
    if (this.#cancel.aborted) throw asSignalboxError(this.#cancel.reason)
  }

  /** An operator has closed it meanwhile: who comes in now would be missed by the drain that goes with it. */
  #throwIfTakenOut(destination: string): void {
    if (!this.#services.sessions.mayGoTo(destination)) throw new SignalboxError('BACKEND_DOWN', `destination "${destination}" was taken out`)
  }

  #facts({ mechanism, began, route, destination }: Attempt): LoginFacts {
    return {
      account: this.#account,
      destination: destination?.name,
      mechanism,
      secure: this.#client?.secure ?? tlsVersion(this.#connection.socket) !== undefined,
      attempt: this.#attempts,
      took: this.#services.clock.now() - began,
      route,
    }
  }
}

/** Both legs give up their sockets in one turn, or the backend's is closed: either may have broken since the login was taken. */
function release(client: ClientLeg, backend: Backend) {
  const { socket: backendSocket, early } = backend.release()
  try {
    const { socket: clientSocket, behind } = client.release()
    return { clientSocket, behind, backendSocket, early }
  } catch (error) {
    backendSocket.on('error', () => backendSocket.destroy())
    backendSocket.destroy()
    throw error
  }
}

function isPassthrough(profile: SessionProfile): profile is PassthroughProfile {
  return profile.protocol.kind === 'passthrough'
}

function tooBusyOf(profile: SessionProfile): Buffer {
  return isPassthrough(profile) ? profile.protocol.tooBusy : profile.factory.tooBusy
}

function moved(): SignalboxError {
  return new SignalboxError('ROUTE_VOID', 'the account was moved while it logged in')
}
