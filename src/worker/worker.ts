/**
 * A worker's composition root: puts together, in the order of dependency, what a session needs, and exports the actors
 * that the primary reaches. It holds no logic of its own beyond its life: start, drain, end.
 */
import type { Socket } from 'node:net'
import { Link } from '../actor/link.ts'
import { spawn } from '../actor/actor.ts'
import type { Behaviour, RunningActor } from '../actor/actor.ts'
import type { ActorRef, Reply } from '../actor/message.ts'
import type { Clock, Timer } from '../clock.ts'
import type { Identity } from '../cluster/privileges.ts'
import type { Config, ListenerConfig } from '../config/config.ts'
import type { ConnectionEnvelope, FramesEnvelope, SettingsEnvelope, StartEnvelope, ToPrimary } from '../cluster/channel.ts'
import { Catalogue } from '../destination/catalogue.ts'
import { BackendDialer } from '../destination/dialer.ts'
import { OwnListeners } from '../destination/own-listeners.ts'
import { proxyHeader } from '../destination/proxy-header.ts'
import { asSignalboxError, impossible, SignalboxError } from '../errors.ts'
import { normalizeIdentifier } from '../identity/identifier.ts'
import { identify } from '../identity/identify.ts'
import { descriptorLimit, workerCapacity } from '../listener/descriptors.ts'
import { BUS_PATIENCE, KEEPALIVE_IDLE_MS, KEEPALIVE_INTERVAL_MS, KEEPALIVE_PROBES, REFUSED_LOG_MS } from '../limits.ts'
import type { MappingMessage } from '../mapping/actor.ts'
import type { MappingLookup } from '../mapping/source.ts'
import type { Log } from '../observe/log.ts'
import { acceptFailed, actorCrashed, clientAddressLost, connectionRefused, frameInvalid, sessionsReviewed } from '../observe/events.ts'
import { Seldom } from '../observe/seldom.ts'
import type { AcceptorMessage } from '../primary/handover-messages.ts'
import type { HealthMessage } from '../primary/health.ts'
import type { LimitsMessage } from '../primary/limits.ts'
import type { TallyMessage } from '../primary/tally.ts'
import { protocolByName } from '../protocol/registry.ts'
import { Resolver } from '../resolver/resolver.ts'
import type { ResolverMessage } from '../resolver/resolver.ts'
import { Connection } from '../session/connection.ts'
import { PreauthMemory } from '../session/preauth-memory.ts'
import type { HttpService } from '../session/http/service.ts'
import type * as httpService from '../session/http/service.ts'
import type { HttpServices } from '../session/http/services.ts'
import { Session } from '../session/session.ts'
import type { SessionProfile } from '../session/session.ts'
import { Sessions } from '../session/sessions.ts'
import type { SessionsMessage } from '../session/sessions.ts'
import { createInboundTls } from '../tls/server.ts'
import { Counting } from './counting.ts'
import { HealthView } from './health-view.ts'
import { Intake } from './intake.ts'
import type { Taken } from './intake.ts'
import type { WorkerMessage } from './messages.ts'
import { placeDesk } from './place-desk.ts'
import { remoteLookup } from './remote-lookup.ts'
import { requestReport, resolverReport, sessionReport } from './report.ts'
import { listenerProfile, WorkerSettings } from './settings.ts'
import type { SettingsParts } from './settings.ts'

/** The process around a worker. */
export interface WorkerProcess {
  readonly clock: Clock
  readonly log: Log
  /** Sends an envelope to the primary. False: the channel is gone. */
  readonly send: (envelope: ToPrimary) => boolean
  /** Ends the process once everything is closed. */
  readonly leave: () => void
  /** Gives up root for good. */
  readonly dropTo: (identity: Identity) => void
  readonly random: () => number
}

/** What serves the listeners of HTTP; loaded by those that have one, since it brings half of the worker's code along. */
export type HttpModule = typeof httpService

export function loadHttp(listeners: readonly ListenerConfig[]): Promise<HttpModule> | undefined {
  return listeners.some(({ protocol }) => protocol === 'http') ? import('../session/http/service.ts') : undefined
}

/** A connection is let in when the primary doesn't say in time whether its announced address has too many. */
const COUNT_DEADLINE_MS = 1_000
/** How long a refusal is delayed when the primary can't say. */
const PENALTY_DEADLINE_MS = 1_000
/** How long the primary may take to count a worker in. */
const JOIN_DEADLINE_MS = 10_000
/** Over what a lookup may take, when its outcome is asked for. */
const REVIEW_MARGIN_MS = 2_000
/** How often a draining worker looks whether its sessions are gone. */
const DRAIN_POLL_MS = 50

export class Worker implements Behaviour<WorkerMessage> {
  readonly #process: WorkerProcess
  readonly #start: StartEnvelope
  readonly #link: Link
  readonly #catalogue: Catalogue
  readonly #resolver: Resolver
  readonly #resolverActor: RunningActor<ResolverMessage>
  readonly #sessions: Sessions
  readonly #sessionsActor: RunningActor<SessionsMessage>
  readonly #counting: Counting
  readonly #health: HealthView
  readonly #healthActor: ActorRef<HealthMessage>
  readonly #intake: Intake
  readonly #settings: WorkerSettings<SessionProfile | HttpService>
  readonly #parts: SettingsParts
  readonly #services: HttpServices
  readonly #sessionPrefix: string
  #audits: Timer | undefined
  /** Until when sessions may go on; undefined: for as long as they like. */
  #draining: { readonly until: number; readonly finish: Timer } | undefined
  #patient = true
  #http: HttpModule | undefined

  /**
   * @param lookup what this worker asks by itself; undefined: it asks the primary
   * @param http needed where a listener speaks HTTP
   */
  constructor(start: StartEnvelope, process: WorkerProcess, lookup: MappingLookup | undefined, http?: HttpModule) {
    this.#process = process
    this.#http = http
    this.#start = start
    const { clock, log } = process
    const { settings, worker } = start
    const { config } = settings
    const logger = log.logger
    this.#settings = new WorkerSettings(settings)
    const now = this.#settings
    const { redact } = now
    this.#sessionPrefix = `${worker}-${Math.floor(clock.wall()).toString(36)}-`

    this.#link = new Link({
      clock,
      send: (frames) => process.send({ t: 'frames', frames }),
      onInvalid: (error) => frameInvalid(logger, { error }),
    })
    const acceptor = this.#link.remote<AcceptorMessage>('acceptor')
    const limits = this.#link.remote<LimitsMessage>('limits')
    const health = this.#link.remote<HealthMessage>('health')
    const mapping = this.#link.remote<MappingMessage>('mapping')
    const onCrash = (name: string, type: string, error: SignalboxError) => {
      actorCrashed(logger, { actor: name, message: type, error })
    }

    this.#catalogue = new Catalogue(config.destinations)
    this.#healthActor = health
    this.#health = new HealthView(health, clock, start.verdicts)
    this.#resolver = new Resolver({
      mapping: config.mapping,
      clock,
      source: lookup ?? remoteLookup(mapping, () => now.config.mapping.lookupTimeout),
      destinationId: (name) => this.#catalogue.idOf(name),
      destinationName: (id) => this.#catalogue.nameOf(id),
      defaultDestination: () => this.#idOf(now.config.routing.defaultDestination),
      get loginHoldMax() {
        return now.config.limits.loginHoldMax
      },
      busDownTtl: config.cluster.busDownTtl,
      // A file of this instance alone changes by the primary's hand, or not at all.
      patience: lookup === undefined && config.cluster.bus === undefined ? Number.POSITIVE_INFINITY : BUS_PATIENCE * config.cluster.heartbeat,
      self: (message) => this.#resolverActor.ref.tell(message),
      random: process.random,
      report: resolverReport(logger, redact, clock, config.mapping.source),
    })
    this.#resolverActor = spawn(this.#resolver, { name: 'resolver', clock, onCrash })
    this.#sessions = new Sessions(clock, {
      where: async (identifier) => {
        const route = await this.#resolverActor.ref.ask({ type: 'inspect', identifier }, now.config.mapping.lookupTimeout + REVIEW_MARGIN_MS)
        return route.source === 'stale' ? undefined : this.#catalogue.nameOf(route.destination)
      },
      reviewed: (counts) => sessionsReviewed(logger, counts),
    })
    this.#sessionsActor = spawn(this.#sessions, { name: 'sessions', clock, onCrash })
    this.#counting = new Counting({
      worker,
      clock,
      tally: this.#link.remote<TallyMessage>('tally'),
      cache: () => this.#resolver.stats(),
      open: () => this.#sessions.size,
    })
    this.#audit(config.mapping.auditRate)

    const ownListeners = new OwnListeners(config.listeners, clock)
    const lost = new Seldom(clock, Number.POSITIVE_INFINITY)
    const tls = createInboundTls(config.tls, settings.ticketKeys, settings.fallback)
    const preauth = new PreauthMemory(config.limits.maxPreauthMemory)
    const dialer = new BackendDialer({
      server: config.server,
      clock,
      destinations: config.destinations,
      report: (destination, client, outcome) => this.#health.report(destination, client, outcome),
      isOurs: (address, port) => ownListeners.has(address, port),
      preamble: ({ leg, client }) => (leg.forwarding === 'proxy' ? proxyHeader(client) : undefined),
      addressLost: ({ destination: { name }, protocol }) => {
        const fields = { destination: name, protocol: protocol.name }
        if (lost.times(`${protocol.name} ${name}`) !== undefined) clientAddressLost(logger, fields)
      },
    })
    const places = placeDesk(worker, () => now.config, limits)
    const report = this.#counting.report(sessionReport(logger, redact, clock, log.frequent))
    const servicesFor = ({ http, oauth }: Config): HttpServices => ({
      clock,
      get server() {
        return now.config.server
      },
      tls,
      dialer,
      resolver: this.#resolver,
      resolverRef: this.#resolverActor.ref,
      sessions: this.#sessions,
      sessionsRef: this.#sessionsActor.ref,
      identify: (login) => {
        const { routing, oauth, mapping: { normalize } } = now.config
        const name = identify(login, { saslPlainIdentity: routing.saslPlainIdentity, jwtUsernameClaim: oauth.jwtUsernameClaim })
        return name === undefined ? undefined : normalizeIdentifier(name, { normalize, separators: routing.masterUserSeparators })
      },
      destination: (id) => this.#catalogue.byId(id),
      destinationNamed: (name) => this.#catalogue.byName(name),
      admit: (destination) => this.#sessions.mayGoTo(destination) && this.#health.admit(destination),
      countAddress: ({ number, clientAddress: address }) =>
        now.config.limits.maxConnectionsPerIp === 0
          ? Promise.resolve(true)
          : limits.ask({ type: 'announced', id: number, address }, COUNT_DEADLINE_MS).catch(() => true),
      penalty: (address) =>
        limits.ask({ type: 'failed', address }, PENALTY_DEADLINE_MS).catch(() => now.config.limits.authFailureDelay),
      places,
      preauth,
      report,
      counters: this.#counting.counters,
      http,
      usernameClaim: oauth.jwtUsernameClaim,
      identifier: (name) => normalizeIdentifier(name, { normalize: now.config.mapping.normalize, separators: now.config.routing.masterUserSeparators }),
      outcome: (destination, client, outcome) => this.#health.report(destination, client, outcome),
      requested: requestReport(logger, redact),
    })
    this.#services = servicesFor(config)
    this.#parts = {
      catalogue: this.#catalogue,
      resolver: this.#resolver,
      dialer,
      tls,
      preauth,
      ownListeners,
      logger,
      doubt: (reason) => this.#resolverActor.ref.tell({ type: 'doubt', reason }),
      audit: (rate) => this.#audit(rate),
    }

    now.serve({
      profile: (listener, config) => (listener.protocol === 'http' ? this.#httpService(listener, servicesFor(config)) : sessionProfile(listener, config)),
      retired: (profile) => {
        if (servesHttp(profile)) profile.retire()
      },
    })

    const refusals = new Seldom(clock, REFUSED_LOG_MS)
    this.#intake = new Intake({
      worker,
      clock,
      acceptor,
      limits,
      flush: () => this.#link.flush(),
      begin: (taken) => this.#begin(taken),
      acceptFailed: ({ name, protocol }, error) => {
        this.#counting.counters.refused(protocol, 'accept-failed')
        acceptFailed(logger, { listener: name, protocol, error })
      },
      refused: ({ name: listener, protocol }, client, reason) => {
        this.#counting.counters.refused(protocol, reason)
        const times = refusals.times(`${listener} ${reason}`)
        if (times !== undefined) connectionRefused(logger, { listener, protocol, client, reason, times })
      },
      capacity: workerCapacity(descriptorLimit()),
      // The place of an address is free for its next connection when the last one's end is known.
      atOnce: () => now.config.limits.maxConnectionsPerIp > 0,
    })
    this.#link.export('resolver', this.#resolverActor.ref)
    this.#link.export('sessions', this.#sessionsActor.ref)
    this.#link.export('worker', spawn<WorkerMessage>(this, { name: 'worker', clock, onCrash }).ref)
  }

  /** Tells the primary that this worker takes part, after listening where it listens itself. */
  async begin(): Promise<void> {
    const { identity } = this.#start
    const { config } = this.#settings
    this.#process.send({ t: 'joined' })
    if (config.server.distribution === 'kernel') {
      // The channel keeps the order: an answer says that the primary has counted this worker in. Not before that may a
      // connection, and with it a lookup, come from the shared sockets.
      await this.#healthActor.ask({ type: 'snapshot' }, JOIN_DEADLINE_MS)
      await this.#intake.listen(this.#settings.listeners, config.server.threads, (number) => this.#settings.tooBusy(number))
      if (identity !== undefined) this.#process.dropTo(identity)
    }
    this.#process.send({ t: 'ready' })
  }

  /** The channel delivered an envelope. */
  envelope(envelope: FramesEnvelope | ConnectionEnvelope | SettingsEnvelope, socket: Socket | undefined): void {
    if (envelope.t === 'frames') this.#link.receive(envelope.frames)
    else if (envelope.t === 'settings') this.#settings.offer(envelope.settings)
    else this.#intake.take(envelope, socket)
  }

  receive(message: WorkerMessage, reply: Reply): void {
    switch (message.type) {
      case 'ping':
        return reply.to(message, true)
      case 'verdict':
        return this.#health.told(message.verdict)
      case 'tls':
        return this.#tlsChanged(message, reply)
      case 'drain':
        return this.#drain(message.grace, message.patient)
      case 'prepare':
        return this.#prepare(message, reply)
      case 'commit':
        this.#settings.commit(message.generation, this.#parts)
        return reply.to(message, true)
      case 'stats':
        return this.#stats(message, reply)
      case 'watch':
        return this.#counting.watch(message.sessions)
      case 'counters':
        return reply.to(message, this.#counting.now())
      default:
        impossible(message)
    }
  }

  /** What can't be used changes nothing, and is for the primary to report: no reason to end. */
  #tlsChanged(message: Extract<WorkerMessage, { type: 'tls' }>, reply: Reply): void {
    try {
      this.#parts.tls.change(message.change)
      reply.to(message, true)
    } catch (thrown) {
      reply.fail(asSignalboxError(thrown))
    }
  }

  /** The order of messages does not matter meanwhile: the primary waits for the answer. */
  #prepare(message: Extract<WorkerMessage, { type: 'prepare' }>, reply: Reply): void {
    const prepare = (): void => {
      try {
        this.#settings.prepare(message.generation, this.#parts)
        reply.to(message, true)
      } catch (thrown) {
        reply.fail(asSignalboxError(thrown))
      }
    }
    const loading = this.#http === undefined ? loadHttp(this.#settings.offered) : undefined
    if (loading === undefined) return prepare()
    loading.then((http) => {
      this.#http = http
      prepare()
    }, (error: unknown) => reply.fail(asSignalboxError(error)))
  }

  #httpService(listener: ListenerConfig, services: HttpServices): HttpService {
    if (this.#http === undefined) throw new SignalboxError('INTERNAL', 'what serves HTTP was not loaded')
    return new this.#http.HttpService(listener, services)
  }

  crashed(error: SignalboxError): void {
    throw error
  }

  #begin({ id, listener, socket, address, port }: Taken): void {
    const profile = this.#settings.profile(listener)
    if (profile === undefined) throw new SignalboxError('INTERNAL', `no listener has the number ${listener}`)
    socket.setNoDelay(true)
    const connection = new Connection({ socket, id: this.#sessionPrefix + id.toString(36), number: id, clientAddress: address, clientPort: port })
    if (servesHttp(profile)) {
      socket.setKeepAlive(true, KEEPALIVE_IDLE_MS, KEEPALIVE_INTERVAL_MS, KEEPALIVE_PROBES)
      void profile.serve(connection).then(() => this.#intake.ended(id, listener))
      return
    }
    const session = new Session(connection, profile, this.#services)
    void session.run().then(() => this.#intake.ended(id, listener))
    if (!this.#patient) session.end('shutdown')
  }

  /** Compares so many cached routes a second with the source from now on. */
  #audit(rate: number): void {
    this.#audits?.cancel()
    if (rate > 0) this.#audits = this.#process.clock.every(1000 / rate, () => this.#resolverActor.ref.tell({ type: 'audit' }))
  }

  /** May come again, with less grace: the instance ends while a worker that was replaced still has sessions. */
  #drain(grace: number, patient: boolean): void {
    const { clock } = this.#process
    if (!patient) this.#patient = false
    const before = this.#draining
    const until = clock.now() + grace
    if (before !== undefined && before.until <= until) return
    before?.finish.cancel()
    const finish = clock.after(grace, () => {
      this.#patient = false
      this.#sessionsActor.ref.tell({ type: 'end', which: 'all' })
    })
    this.#draining = { until, finish }
    if (before !== undefined) return
    this.#intake.close()
    for (const profile of this.#settings.profiles) {
      if (!servesHttp(profile)) continue
      if (patient) profile.retire()
      else profile.drain()
    }
    const poll = clock.every(DRAIN_POLL_MS, () => {
      if (!this.#patient) this.#sessionsActor.ref.tell({ type: 'end', which: 'preauth' })
      if (this.#sessions.size > 0 || this.#intake.pending) return
      this.#draining?.finish.cancel()
      poll.cancel()
      void this.#leave()
    })
  }

  async #leave(): Promise<void> {
    this.#counting.tell()
    this.#intake.tell()
    this.#link.flush()
    await this.#process.log.flush()
    this.#process.leave()
  }

  #stats(message: Extract<WorkerMessage, { type: 'stats' }>, reply: Reply): void {
    void this.#sessionsActor.ref
      .ask({ type: 'stats' }, 1_000)
      .then((sessions) => reply.to(message, { resolver: this.#resolver.stats(), sessions }), (error: Error) => reply.fail(error))
  }

  #idOf(name: string): number {
    const id = this.#catalogue.idOf(name)
    if (id === undefined) throw new SignalboxError('INTERNAL', `no destination is named "${name}"`)
    return id
  }
}

function servesHttp(profile: SessionProfile | HttpService): profile is HttpService {
  return 'serve' in profile
}

/** How sessions of a listener begin; undefined: there are none. */
function sessionProfile(listener: ListenerConfig, config: Config): SessionProfile | undefined {
  const protocol = protocolByName(listener.protocol)
  if (protocol === undefined) return undefined
  if (protocol.kind === 'login') return { listener, protocol, factory: protocol.prepare(listenerProfile(listener, config)) }
  const { smtpPassthroughDestination: destination } = config.routing
  return destination === undefined ? undefined : { listener, protocol, destination }
}
