/**
 * The primary's composition root: everything of an instance but its sessions, put together in the order of dependency,
 * started so that nothing is half up when something fails, and ended in the reverse order.
 *
 * Start: source → listening sockets and management → privileges → workers → ready.
 */
import { spawn } from '../actor/actor.ts'
import type { RunningActor } from '../actor/actor.ts'
import type { InstanceFacts } from '../bus/payload.ts'
import type { Clock } from '../clock.ts'
import type { StartEnvelope } from '../cluster/channel.ts'
import type { AdminConfig, Config } from '../config/config.ts'
import type { Loaded } from '../config/load.ts'
import { Catalogue } from '../destination/catalogue.ts'
import { SignalboxError } from '../errors.ts'
import type { ConfigReloadAnswer, Stats } from '../management/operations.ts'
import type { ManagementServer } from '../management/server.ts'
import { MappingOwner } from '../mapping/actor.ts'
import type { MappingMessage } from '../mapping/actor.ts'
import { openSource } from '../mapping/open.ts'
import type { Changed, MappingSource } from '../mapping/source.ts'
import { createAudit } from '../observe/audit.ts'
import * as events from '../observe/events.ts'
import type { Logger } from '../observe/log.ts'
import { createRedactor } from '../observe/redaction.ts'
import type { Redactor } from '../observe/redaction.ts'
import { Seldom } from '../observe/seldom.ts'
import { DESCRIPTOR_RESERVE, REFUSED_LOG_MS } from '../limits.ts'
import { descriptorLimit, descriptorsWanted, exhausted, openDescriptors, workerCapacity } from '../listener/descriptors.ts'
import { protocolByName, tooBusy } from '../protocol/registry.ts'
import { defaultKeyPair } from '../tls/certificates.ts'
import type { NumberedListener } from '../listener/numbered.ts'
import type { KeyPair } from '../tls/certificates.ts'
import type { TlsChange } from '../tls/inbound.ts'
import { selfSigned } from '../tls/self-signed.ts'
import { Acceptor } from './acceptor.ts'
import type { BusMember } from './bus-member.ts'
import { factsOf, joinBus } from './bus.ts'
import { closedWithin, closeInOrder } from './closing.ts'
import type { Closing } from './closing.ts'
import { Fleet } from './fleet.ts'
import type { FleetMessage } from './fleet.ts'
import type { AcceptorMessage } from './handover-messages.ts'
import { Health } from './health.ts'
import type { HealthMessage } from './health.ts'
import { Limits } from './limits.ts'
import { Observatory } from './observatory.ts'
import type { LimitsMessage } from './limits.ts'
import { PrimaryOperations } from './operations.ts'
import { checkAccess, dropPrivileges, identityOf } from '../cluster/privileges.ts'
import type { Identity } from '../cluster/privileges.ts'
import type { Plan } from './reload.ts'
import { listenersPart, sourcePart, tlsPart, workersPart } from './reload-parts.ts'
import type { Underway } from './reload-parts.ts'
import { Reloader } from './reloading.ts'
import type { Outcome, Part } from './reloading.ts'
import { SettingsKeeper } from './settings-keeper.ts'
import { Supervisor } from './supervisor.ts'
import type { Observer, SupervisorMessage, WorkerHandle } from './supervisor.ts'
import { TlsKeeper } from './tls-keeper.ts'

export interface PrimaryOptions {
  readonly config: Config
  readonly clock: Clock
  readonly log: Logger
  readonly version: string
  /** Path of the workers' entry. */
  readonly workerEntry: string
  readonly terminal: boolean
  readonly random: () => number
  /** Reads and checks the configuration again. */
  readonly load: (current: Config) => Promise<Loaded>
  /** A reload begins; `over` resolves when it is over, whatever came of it. */
  readonly reloading?: (over: Promise<void>) => void
  /** The instance can't go on: the process should end with status 1. */
  readonly fatal: (error: SignalboxError) => void
}

/** What stopping, or confirming a change, may take over the time that it was given. */
const STOP_MARGIN_MS = 5_000
/** Until management, bus and source are closed, once the workers are gone. */
const CLOSE_MS = 5_000
/** Connections of one worker that hardly anybody means to be content with. */
const FEW = 16
/** What one worker misses is logged at most this often. */
const UNCONFIRMED_LOG_MS = 60_000
/** Until a worker makes its handshakes with another certificate or other ticket keys. */
const TLS_DEADLINE_MS = 10_000
/** Reading a large shared file again. */
const REREAD_DEADLINE_MS = 60_000

export class Primary {
  readonly #options: PrimaryOptions
  /** In force. */
  #config: Config
  #redactor: Redactor
  readonly #clock: Clock
  readonly #log: Logger
  readonly #catalogue: Catalogue
  readonly #limits: Limits
  readonly #limitsActor: RunningActor<LimitsMessage>
  readonly #health: Health
  readonly #healthActor: RunningActor<HealthMessage>
  readonly #fleet: Fleet
  readonly #fleetActor: RunningActor<FleetMessage>
  readonly #epoch: number
  readonly #observatory: Observatory
  readonly #descriptorLimit = descriptorLimit()
  readonly #acceptor: Acceptor
  readonly #acceptorActor: RunningActor<AcceptorMessage>
  readonly #supervisor: Supervisor
  readonly #supervisorActor: RunningActor<SupervisorMessage>
  readonly #workers = new Map<number, WorkerHandle>()
  readonly #tls: TlsKeeper
  readonly #settings: SettingsKeeper
  readonly #reloader: Reloader
  #underway: Underway = {}
  #words: { readonly of: Config; readonly lines: Map<number, Buffer> } | undefined
  /** With which version of it each worker was started. */
  readonly #tlsVersions = new Map<number, number>()
  #mappingActor: RunningActor<MappingMessage> | undefined
  #source: MappingSource | undefined
  #management: ManagementServer | undefined
  #bus: BusMember | undefined
  #fallback: KeyPair | undefined
  #identity: Identity | undefined
  #state: 'starting' | 'ready' | 'draining' = 'starting'
  readonly #draining = new AbortController()
  /** Over when `start` has come to an end, of whichever sort. */
  #starting: Promise<void> = Promise.resolve()
  #started: (() => void) | undefined
  #failed: ((error: SignalboxError) => void) | undefined

  constructor(options: PrimaryOptions) {
    this.#options = options
    const { config, clock, log } = options
    this.#config = config
    this.#redactor = createRedactor(config.log)
    this.#clock = clock
    this.#log = log
    this.#epoch = clock.wall()
    const onCrash = (name: string, type: string, error: SignalboxError) => {
      events.actorCrashed(log, { actor: name, message: type, error })
    }
    this.#catalogue = new Catalogue(config.destinations)
    this.#tls = new TlsKeeper({ config: config.tls, clock, log, publish: (change) => this.#tlsChanged(change) })
    this.#settings = new SettingsKeeper({
      clock,
      listeners: config.listeners,
      config: () => ({ ...this.#config, tls: this.#tls.config }),
      ticketKeys: () => this.#tls.ticketKeys,
      fallback: () => this.#fallback,
      workers: () => [...this.#workers.values()],
      unconfirmed: (worker, error) => events.changeUnconfirmed(log, { worker, change: 'config', error }),
    })
    this.#reloader = new Reloader({
      clock,
      log,
      load: options.load,
      config: () => this.#config,
      state: () => this.#state,
      parts: () => this.#reloadParts(),
      after: (plan) => this.#reloaded(plan),
      begins: (over) => options.reloading?.(over),
      fatal: options.fatal,
    })
    this.#limits = new Limits(config.limits, config.listeners, clock, config.destinations)
    this.#limitsActor = spawn(this.#limits, { name: 'limits', clock, onCrash })
    this.#health = new Health({
      server: config.server,
      destinations: config.destinations.map(({ name }) => name),
      clock,
      random: options.random,
      publish: (verdict) => {
        for (const { control } of this.#workers.values()) control.tell({ type: 'verdict', verdict })
      },
      changed: (change) => {
        const { destination, seconds } = change
        if (change.down) {
          const { failures, sources, error } = change
          this.#observatory.happenings.tell('destination', { destination, state: 'down', by: 'health', reason: error })
          events.destinationDown(log, { destination, failures, sources, seconds, reason: error })
        } else {
          this.#observatory.happenings.tell('destination', { destination, state: 'up', by: 'health' })
          events.destinationUp(log, { destination, seconds })
        }
      },
    })
    this.#healthActor = spawn(this.#health, { name: 'health', clock, onCrash })
    const unconfirmed = new Seldom(clock, UNCONFIRMED_LOG_MS)
    this.#fleet = new Fleet({
      clock,
      ackTimeout: config.cluster.ackTimeout,
      heartbeat: config.cluster.heartbeat,
      happened: (change) => this.#observatory.changed(change),
      reread: config.mapping.file?.shared === true ? () => this.#reread() : undefined,
      rereadFailed: (error) => events.changeUnconfirmed(log, { change: 'reread', error }),
      unconfirmed: (worker, what, error) => {
        // A worker that stands still misses every change meanwhile.
        const times = unconfirmed.times(`${worker} ${what}`)
        if (times !== undefined) events.changeUnconfirmed(log, { worker, change: what, error, times })
      },
    })
    this.#fleetActor = spawn(this.#fleet, { name: 'fleet', clock, onCrash })
    this.#observatory = new Observatory({
      clock,
      version: options.version,
      instance: config.cluster.instance,
      redact: this.#redact,
      fleet: this.#fleetActor.ref,
      health: this.#healthActor.ref,
      workers: () => [...this.#workers.values()],
      state: () => this.#state,
      watch: () => this.#source?.watch ?? 'off',
      onCrash,
    })
    const refusals = new Seldom(clock, REFUSED_LOG_MS)
    this.#acceptor = new Acceptor({
      descriptors: { limit: this.#descriptorLimit, open: openDescriptors },
      listeners: config.server.distribution === 'primary' ? this.#settings.numbers.current : [],
      clock,
      limits: this.#limits,
      tooBusy: (listener) => this.#tooBusy(listener),
      refused: (listener, client, reason) => {
        this.#observatory.refused(listener.protocol, reason)
        const times = refusals.times(`${listener.name} ${reason}`)
        if (times === undefined) return
        events.connectionRefused(log, { listener: listener.name, protocol: listener.protocol, client, reason, times })
      },
      acceptFailed: ({ name, protocol }, error) => {
        this.#observatory.refused(protocol, 'accept-failed')
        events.acceptFailed(log, { listener: name, protocol, error })
      },
    })
    this.#acceptorActor = spawn(this.#acceptor, { name: 'acceptor', clock, onCrash })
    this.#supervisor = new Supervisor({
      threads: config.server.threads,
      clock,
      entry: options.workerEntry,
      start: (worker) => this.#startEnvelope(worker),
      self: (message) => this.#supervisorActor.ref.tell(message),
      observer: this.#observer(),
    })
    this.#supervisorActor = spawn(this.#supervisor, { name: 'supervisor', clock, onCrash })
  }

  /**
   * Resolves when connections are being served. Rejects, with nothing left running, when that can't be; with DRAINING when
   * `stop` came first.
   */
  start(): Promise<void> {
    const start = this.#startOrClose()
    this.#starting = start.catch(() => {})
    return start
  }

  /** At least one worker does its work, as far as can be known. */
  get alive(): boolean {
    return this.#supervisor.alive
  }

  /**
   * Ends the instance: sessions may finish for `grace` milliseconds. Resolves when everything is closed. A start that is
   * under way is given up after the step that it is at; a step that takes too long for that is left to the process's end.
   */
  async stop(grace: number): Promise<void> {
    if (this.#state === 'draining') return
    const early = this.#state === 'starting'
    this.#state = 'draining'
    this.#draining.abort()
    this.#observatory.happenings.close()
    if (early) {
      this.#failed?.(notWanted())
      await Promise.race([this.#starting, this.#clock.sleep(STOP_MARGIN_MS)])
      events.instanceStopped(this.#log)
      return
    }
    events.instanceDraining(this.#log, { grace_seconds: grace / 1000, sessions: this.#limits.connections })
    this.#acceptor.close()
    await this.#supervisorActor.ref.ask({ type: 'stop', grace }, grace + STOP_MARGIN_MS)
    events.instanceStopped(this.#log, await closedWithin(this.#closeAll(), CLOSE_MS, this.#clock))
  }

  /** In force. */
  get config(): Config {
    return this.#config
  }

  /** Reads the configuration again and puts it in force, or says why not. Rejects with DRAINING while starting or ending. */
  reload(by: 'signal' | 'management'): Promise<ConfigReloadAnswer> {
    return this.#reloader.reload(by)
  }

  /** Replaces every worker, one by one. False, and nothing happens, while starting or ending. */
  roll(by: 'signal' | 'reload'): boolean {
    if (this.#state !== 'ready') return false
    const grace = this.#config.server.rollGrace
    events.rollBegun(this.#log, { by, workers: this.#supervisor.ready, grace_seconds: grace / 1000 })
    this.#supervisorActor.ref.tell({ type: 'roll', grace })
    return true
  }

  /** Ends every session and every request of the management API at once, so that `stop` has nobody to wait for. */
  kill(): void {
    this.#supervisor.kill()
    // Whoever closes it in order hears of a failure.
    this.#management?.destroy().catch(() => {})
  }

  async #startOrClose(): Promise<void> {
    try {
      await this.#open()
    } catch (error) {
      await this.#closeAll().done
      throw error
    }
  }

  /** After each step of the start: whether anybody still wants it. */
  #goOn(): void {
    if (this.#state !== 'starting') throw notWanted()
  }

  async #open(): Promise<void> {
    const { config, clock } = this.#options
    this.#identity = await identityOf(config.server)
    this.#goOn()
    if (config.tls.certificates.length === 0) {
      this.#fallback = await selfSigned([config.server.hostname ?? 'localhost', 'localhost', '127.0.0.1', '::1'], clock)
      events.selfSigned(this.#log)
    }
    await this.#tls.open()
    this.#warnOfDescriptors()
    const source = await this.#openSource()
    this.#source = source
    this.#goOn()
    this.#mappingActor = spawn(new MappingOwner(source), { name: 'mapping', clock })
    source.onChange((change) => this.#sourceChanged(change))
    const operations = this.#makeOperations(this.#mappingActor, source)
    this.#bus = await joinBus({
      config: () => this.#config,
      clock,
      log: this.#log,
      epoch: this.#epoch,
      facts: () => this.#facts(),
      stats: async () => statsForPeers(await operations.stats()),
      sessions: (query) => operations.sessions.here(query),
      happened: (peer, state) => this.#observatory.happenings.tell('peer', { peer, state }),
      fleet: this.#fleet,
      fleetRef: this.#fleetActor.ref,
    })
    this.#goOn()
    await this.#warnOfMissingLegs(source)
    this.#goOn()
    await this.#acceptor.listen()
    this.#goOn()
    if (config.admin !== undefined) this.#management = await this.#startManagement(config.admin, operations)
    if (this.#identity !== undefined && config.server.distribution === 'primary') {
      dropPrivileges(this.#identity)
      await checkAccess(config)
    }
    this.#goOn()
    await new Promise<void>((resolve, reject) => {
      this.#started = resolve
      this.#failed = reject
      this.#supervisor.begin()
      // In the time that the workers take; a scrape later must not find another version's files.
      void this.#observatory.prepareMetrics()
    })
    if (this.#identity !== undefined && config.server.distribution === 'kernel') {
      dropPrivileges(this.#identity)
      await checkAccess(config)
    }
    this.#goOn()
    if (this.#descriptorsExhausted) {
      events.descriptorsExhausted(this.#log, { limit: this.#descriptorLimit, open: openDescriptors(), reserve: DESCRIPTOR_RESERVE })
    }
    this.#state = 'ready'
    events.instanceReady(this.#log, {
      version: this.#options.version,
      instance: config.cluster.instance,
      workers: this.#supervisor.ready,
      listeners: config.listeners.map(({ name, protocol, tls, bind }) => `${name}: ${protocol} ${tls} ${bind.map(({ text }) => text).join(' ')}`),
      ...(this.#management === undefined ? {} : { management: `${this.#management.address.host}:${this.#management.address.port}` }),
    })
  }

  #openSource(): Promise<MappingSource> {
    const { mapping, destinations, cluster } = this.#config
    return openSource({
      mapping,
      destinations: destinations.map(({ name }) => name),
      clock: this.#clock,
      log: this.#log,
      redact: this.#redact,
      heartbeat: cluster.heartbeat,
    })
  }

  #sourceChanged(change: Parameters<Parameters<MappingSource['onChange']>[0]>[0]): void {
    const deadline = this.#config.cluster.ackTimeout + STOP_MARGIN_MS
    const { ref } = this.#fleetActor
    const published =
      'doubt' in change
        ? ref.ask({ type: 'doubt', reason: change.reason }, deadline)
        : ref.ask({ type: 'local-change', changed: this.#normalised(change) }, deadline)
    published.then(
      () => {
        if ('doubt' in change) events.mappingDoubt(this.#log, { reason: change.reason })
        else events.mappingChanged(this.#log, { accounts: change.all ? 'all' : change.identifiers.length })
      },
      (error: unknown) => events.changeUnconfirmed(this.#log, { change: 'watch', error }),
    )
  }

  /** Who changes the store by hand may write an account otherwise than it is looked up. */
  #normalised(changed: Changed): Changed {
    if (changed.all || this.#config.mapping.normalize === 'none') return changed
    return { all: false, identifiers: changed.identifiers.map((identifier) => identifier.toLowerCase()) }
  }

  /** Every worker may have to carry its share of all connections that the listeners may have. */
  #warnOfDescriptors(): void {
    const { listeners, server } = this.#config
    const connections = listeners.reduce((sum, { maxConnections }) => sum + maxConnections, 0)
    const wanted = descriptorsWanted(connections, server.threads)
    if (wanted <= this.#descriptorLimit) return
    const fit = this.#descriptorsExhausted ? 0 : workerCapacity(this.#descriptorLimit)
    const warning =
      `The listeners may have ${connections} connections at the same time, for which each of ${server.threads} workers may need ` +
      `${wanted} file descriptors; the limit is ${this.#descriptorLimit}, which suffices for ${fit < FEW ? 'only ' : ''}${fit} per worker: ` +
      'raise it (LimitNOFILE= in systemd, ulimit -n) or lower max_connections.'
    events.configWarning(this.#log, { warning })
  }

  /** Every connection that comes will be turned away. Not so where the workers accept by themselves: they have more to spare. */
  get #descriptorsExhausted(): boolean {
    return this.#config.server.distribution === 'primary' && exhausted(this.#descriptorLimit, openDescriptors())
  }

  /** Mappings to a destination that lacks a listener's protocol are no mistake, but hardly meant. */
  async #warnOfMissingLegs(source: MappingSource): Promise<void> {
    const { destinations, listeners } = this.#config
    // What is passed through whole goes by no mapping.
    const routed = new Set(listeners.map(({ protocol }) => protocol).filter((name) => protocolByName(name)?.kind !== 'passthrough'))
    const lacking = destinations.filter(({ legs }) => [...routed].some((protocol) => legs[protocol] === undefined))
    if (source.kind !== 'file' || lacking.length === 0) return
    const counts = await source.summary()
    for (const { name, legs } of lacking) {
      const accounts = counts.get(name) ?? 0
      const missing = [...routed].filter((protocol) => legs[protocol] === undefined)
      if (accounts > 0) {
        const warning = `${accounts} accounts are mapped to "${name}", which has no ${missing.join(' and no ')} leg: they cannot log in there`
        events.mappingWarning(this.#log, { warning })
      }
    }
  }

  #makeOperations(mapping: RunningActor<MappingMessage>, source: MappingSource): PrimaryOperations {
    const current = (): Config => this.#config
    return new PrimaryOperations({
      get config() {
        return current()
      },
      redact: this.#redact,
      reloadConfig: () => this.reload('management'),
      clock: this.#clock,
      version: this.#options.version,
      catalogue: this.#catalogue,
      mapping: mapping.ref,
      source,
      fleet: this.#fleetActor.ref,
      health: this.#healthActor.ref,
      limits: this.#limits,
      workers: () => [...this.#workers.values()],
      state: () => this.#state,
      draining: this.#draining.signal,
      facts: () => this.#facts(),
      epoch: this.#epoch,
      watch: () => this.#source?.watch ?? 'off',
      metrics: () => this.#observatory.metrics(),
      happenings: this.#observatory.happenings,
    })
  }

  #facts(): InstanceFacts {
    return factsOf(this.#config, this.#options.version, this.#supervisor.ready)
  }

  async #reread(): Promise<Changed> {
    if (this.#mappingActor === undefined) throw new SignalboxError('INTERNAL', 'the mapping source is not open yet')
    const { invalidate } = await this.#mappingActor.ref.ask({ type: 'reload' }, REREAD_DEADLINE_MS)
    return invalidate
  }

  async #startManagement(admin: AdminConfig, operations: PrimaryOperations): Promise<ManagementServer> {
    const { startManagement } = await import('../management/server.ts')
    const pair = defaultKeyPair(this.#tls.config, this.#fallback, admin.certificate)
    return startManagement({
      admin,
      tls: { cert: pair.cert, key: pair.key },
      operations,
      clock: this.#clock,
      log: this.#log,
      audit: createAudit(this.#log, this.#redact),
    })
  }

  #observer(): Observer {
    return {
      starting: ({ link }) => {
        link.export('limits', this.#limitsActor.ref)
        link.export('tally', this.#observatory.tally.ref)
        link.export('health', this.#healthActor.ref)
        link.export('acceptor', this.#acceptorActor.ref)
        if (this.#mappingActor !== undefined) link.export('mapping', this.#mappingActor.ref)
      },
      joined: ({ worker, link }) => {
        this.#fleetActor.ref.tell({
          type: 'joined',
          member: { worker, resolver: link.remote('resolver'), sessions: link.remote('sessions') },
        })
      },
      ready: (handle) => this.#workerReady(handle),
      draining: ({ worker, pid }) => {
        this.#acceptor.leave(worker)
        const { rollGrace } = this.#config.server
        events.workerDraining(this.#log, { worker, pid, sessions: this.#limits.ofWorker(worker), grace_seconds: rollGrace / 1000 })
      },
      rolled: ({ workers, ms, failed }) => {
        if (failed !== undefined) events.rollFailed(this.#log, { reason: failed })
        else events.rolled(this.#log, { workers, seconds: Math.round(ms) / 1000 })
      },
      gone: (handle, exit) => this.#workerGone(handle, exit),
      stalled: ({ worker, pid }, ms) => {
        events.workerStalled(this.#log, { worker, pid, seconds: Math.round(ms / 1000) })
      },
      invalid: (worker, error) => events.frameInvalid(this.#log, { worker, error }),
      giveUp: (reason) => this.#giveUp(new SignalboxError('INTERNAL', reason)),
    }
  }

  #workerReady(handle: WorkerHandle): void {
    const { worker, pid } = handle
    this.#workers.set(worker, handle)
    // It was started with the verdicts of that moment.
    for (const verdict of this.#health.verdicts()) handle.control.tell({ type: 'verdict', verdict })
    if (this.#settings.bringUpToDate(handle)) this.#tlsVersions.set(worker, this.#tls.version)
    for (const change of this.#tls.since(this.#tlsVersions.get(worker) ?? 0)) this.#tellTls(handle, change)
    this.#acceptor.join({ worker, send: handle.sendConnection })
    this.#observatory.workerReady(handle)
    events.workerReady(this.#log, { worker, pid })
    if (this.#workers.size >= this.#config.server.threads) this.#started?.()
  }

  #workerGone({ worker, pid }: WorkerHandle, { code, signal, expected }: Parameters<Observer['gone']>[1]): void {
    this.#workers.delete(worker)
    this.#tlsVersions.delete(worker)
    this.#settings.gone(worker)
    const sessions = this.#limits.ofWorker(worker)
    this.#fleetActor.ref.tell({ type: 'left', worker })
    this.#acceptor.gone(worker)
    this.#limitsActor.ref.tell({ type: 'worker-gone', worker })
    this.#observatory.workerGone(worker, expected)
    events.workerExited(this.#log, {
      worker,
      pid,
      expected,
      sessions,
      ...(code === null ? {} : { exit_code: code }),
      ...(signal === null ? {} : { signal }),
    })
  }

  #giveUp(error: SignalboxError): void {
    if (this.#state === 'starting' && this.#failed !== undefined) this.#failed(error)
    else this.#options.fatal(error)
  }

  #tlsChanged(change: TlsChange): void {
    for (const handle of this.#workers.values()) this.#tellTls(handle, change)
    const { admin } = this.#config
    if (admin === undefined || this.#management === undefined) return
    const { cert, key } = defaultKeyPair(this.#tls.config, this.#fallback, admin.certificate)
    if (change.kind === 'certificate' && change.certificate.cert === cert) this.#management.secure({ cert, key })
  }

  #tellTls({ worker, control }: WorkerHandle, change: TlsChange): void {
    control.ask({ type: 'tls', change }, TLS_DEADLINE_MS).catch((error: unknown) => {
      // A worker that is gone has nothing to be told; one that stands still is replaced.
      if (this.#workers.has(worker)) events.changeUnconfirmed(this.#log, { worker, change: change.kind, error })
    })
  }

  #startEnvelope(worker: number): StartEnvelope {
    this.#tlsVersions.set(worker, this.#tls.version)
    return {
      t: 'start',
      worker,
      settings: this.#settings.started(worker),
      verdicts: this.#health.verdicts(),
      terminal: this.#options.terminal,
      identity: this.#config.server.distribution === 'kernel' ? this.#identity : undefined,
    }
  }

  #closeAll(): Closing {
    this.#acceptor.close()
    this.#tls.close()
    this.#supervisor.end()
    this.#observatory.happenings.close()
    // Who has left the bus does nothing more for it; that its goodbye takes a while need not keep the source open.
    return closeInOrder([{ management: this.#management }, { bus: this.#bus, source: this.#source }])
  }

  /** What a log may say of an account, as configured now. */
  readonly #redact: Redactor = (account) => this.#redactor(account)

  /** In this order they are made ready, and take over. */
  #reloadParts(): readonly Part[] {
    const underway: Underway = {}
    this.#underway = underway
    const warn = (warning: string): void => events.mappingWarning(this.#log, { warning })
    return [
      { prepare: async (plan) => ({ commit: () => this.#use(plan), abort: () => {} }) },
      tlsPart(this.#tls, (config) => this.#fallbackFor(config), underway),
      ...(this.#source === undefined ? [] : [sourcePart(this.#source, warn, underway)]),
      workersPart(this.#settings, this.#tls, underway),
      listenersPart(this.#acceptor, () => this.#config, underway),
    ]
  }

  /** A reload: what this process itself goes by. */
  #use({ config, destinations }: Plan): void {
    const before = this.#config
    this.#config = config
    if (config.log.accounts !== before.log.accounts || config.log.redactionKey !== before.log.redactionKey) {
      this.#redactor = createRedactor(config.log)
    }
    this.#log.level = config.server.logLevel
    this.#catalogue.replace(config.destinations)
    this.#limits.reconfigure(config.limits, config.listeners, config.destinations)
    this.#health.reconfigure(config.server, config.destinations.map(({ name }) => name), new Set(destinations.changed))
  }

  /** What follows from a reload that is in force: begun in the same turn. */
  async #reloaded({ config, destinations, roll }: Plan): Promise<Outcome> {
    const { invalidate, outcome, fallback } = this.#underway
    this.#fallback = fallback
    for (const { worker } of this.#workers.values()) this.#tlsVersions.set(worker, this.#tls.version)
    const deadline = config.cluster.ackTimeout + STOP_MARGIN_MS
    const voided =
      invalidate === undefined || (!invalidate.all && invalidate.identifiers.length === 0)
        ? undefined
        : this.#fleetActor.ref.ask({ type: 'local-change', changed: invalidate }, deadline)
    const { threads, rollGrace: grace } = config.server
    this.#supervisorActor.ref.tell({ type: 'resize', threads, grace })
    if (roll) this.roll('reload')
    if (config.admin !== undefined && this.#management !== undefined) {
      const { cert, key } = defaultKeyPair(this.#tls.config, this.#fallback, config.admin.certificate)
      this.#management.secure({ cert, key })
    }
    if (destinations.added.length + destinations.removed.length > 0) this.#bus?.announce()
    this.#warnOfDescriptors()
    if (this.#source !== undefined) await this.#warnOfMissingLegs(this.#source)
    const confirmed = (await outcome) ?? { workers: 0, workersExpected: 0 }
    const cleared = await voided
    return { workers: Math.min(confirmed.workers, cleared?.workers ?? Number.POSITIVE_INFINITY), workersExpected: confirmed.workersExpected }
  }

  /** The self-signed certificate for when none is configured. */
  async #fallbackFor({ tls, server }: Config): Promise<KeyPair | undefined> {
    if (tls.certificates.length > 0 || this.#fallback !== undefined) return this.#fallback
    events.selfSigned(this.#log)
    return selfSigned([server.hostname ?? 'localhost', 'localhost', '127.0.0.1', '::1'], this.#clock)
  }

  /** The "too busy" line of a listener; with TLS from the first byte on there is none. */
  #tooBusy({ number, listener }: NumberedListener): Buffer {
    if (this.#words?.of !== this.#config) this.#words = { of: this.#config, lines: new Map() }
    const known = this.#words.lines.get(number)
    if (known !== undefined) return known
    const { capabilities, server, limits } = this.#config
    const line = tooBusy({ listener, capabilities, hostname: server.hostname, preauthBuffer: limits.preauthBuffer })
    this.#words.lines.set(number, line)
    return line
  }
}

function notWanted(): SignalboxError {
  return new SignalboxError('DRAINING', 'the instance was asked to end while it started')
}

/** What a peer may ask for: the figures, not the lists. */
function statsForPeers(stats: Stats): Readonly<Record<string, number | string>> {
  const figures: Record<string, number | string> = {}
  for (const [name, value] of Object.entries(stats)) {
    if (typeof value === 'number' || typeof value === 'string') figures[name] = value
  }
  return figures
}
