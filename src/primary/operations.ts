/**
 * The management API's operations over the actors: what an operator's request means for mapping, fleet, health and
 * workers, in which order. A change is: commit at the source, then invalidate everywhere, then answer with who confirmed.
 */
import { randomUUID } from 'node:crypto'
import type { ActorRef } from '../actor/message.ts'
import type { InstanceFacts } from '../bus/payload.ts'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import type { Catalogue } from '../destination/catalogue.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { normalizeIdentifier } from '../identity/identifier.ts'
import { DELAY_SECONDS } from '../limits.ts'
import type {
  Confirmation,
  ConfigReloadAnswer,
  CutoverAnswer,
  CutoverRequest,
  DestinationStatus,
  EventOperations,
  FleetAnswer,
  InstanceStatus,
  LookupAnswer,
  Operations,
  ReloadAnswer,
  Stats,
  StrangersAnswer,
  WorkerLookup,
} from '../management/operations.ts'
import type { MappingMessage } from '../mapping/actor.ts'
import type { Changed, MappingSource } from '../mapping/source.ts'
import { mistakesOf } from '../mapping/mistakes.ts'
import type { Redactor } from '../observe/redaction.ts'
import type { Happenings } from '../observe/happenings.ts'
import type { OpenRoute } from '../resolver/route.ts'
import type { WorkerStats } from '../worker/messages.ts'
import { MappingBulk } from './bulk.ts'
import { cutover } from './cutover.ts'
import type { CutoverGround } from './cutover.ts'
import type { FleetMessage, FleetStatus, Member } from './fleet.ts'
import type { StrangersStatus } from './strangers.ts'
import type { HealthMessage } from './health.ts'
import { SessionDesk } from './session-operations.ts'
import type { Limits } from './limits.ts'
import type { WorkerHandle } from './supervisor.ts'

export interface OperationsOptions {
  /** The one in force now. */
  readonly config: Config
  /** What a log may say of an account, as configured now. */
  readonly redact: Redactor
  readonly reloadConfig: () => Promise<ConfigReloadAnswer>
  readonly clock: Clock
  readonly version: string
  readonly catalogue: Catalogue
  readonly mapping: ActorRef<MappingMessage>
  /** For what concerns all mappings; single changes go through the actor. */
  readonly source: MappingSource
  readonly fleet: ActorRef<FleetMessage>
  readonly health: ActorRef<HealthMessage>
  readonly limits: Limits
  readonly workers: () => readonly WorkerHandle[]
  readonly state: () => 'starting' | 'ready' | 'draining'
  /** Aborted when it becomes `draining`. */
  readonly draining: AbortSignal
  readonly watch: () => Stats['watch']
  /** What this instance tells its peers of itself. */
  readonly facts: () => InstanceFacts
  /** Start of this process, milliseconds since 1970. */
  readonly epoch: number
  readonly metrics: () => Promise<string>
  readonly happenings: Happenings
}

/** A rewrite of a large file may take seconds; the source has deadlines of its own. */
const WRITE_DEADLINE_MS = 60_000
const RELOAD_DEADLINE_MS = 120_000
const ASK_MS = 2_000
/** Codes after which nobody knows whether the write has happened. */
const MAYBE_WRITTEN: ReadonlySet<string> = new Set(['SOURCE_TIMEOUT', 'SOURCE_UNAVAILABLE', 'SOURCE_NOT_REPLICATED', 'ACTOR_DEADLINE'])
/** Over what the fleet waits for acknowledgements. */
const FLEET_MARGIN_MS = 1_000

export class PrimaryOperations implements Operations {
  readonly bulk: MappingBulk
  readonly #options: OperationsOptions
  readonly #startedAt: number
  readonly sessions: SessionDesk
  readonly events: EventOperations

  constructor(options: OperationsOptions) {
    this.#options = options
    this.bulk = new MappingBulk(options)
    this.#startedAt = options.clock.now()
    this.events = { happenings: options.happenings, quiet: (ms) => pause(options.clock, ms) }
    this.sessions = new SessionDesk({
      instance: options.config.cluster.instance,
      fleet: options.fleet,
      redact: options.redact,
      declared: (destination) => options.catalogue.idOf(destination) !== undefined,
      deadline: this.#fleetDeadline,
    })
  }

  state(): 'starting' | 'ready' | 'draining' {
    return this.#options.state()
  }

  get draining(): AbortSignal {
    return this.#options.draining
  }

  normalize(identifier: string): string {
    const { mapping, routing } = this.#options.config
    return normalizeIdentifier(identifier, { normalize: mapping.normalize, separators: routing.masterUserSeparators })
  }

  destinationNames(): readonly string[] {
    return [...this.#options.catalogue].map(({ name }) => name)
  }

  async stats(): Promise<Stats> {
    const { clock, config, limits, version } = this.#options
    const [workers, fleet] = await Promise.all([this.#workerStats(), this.#options.fleet.ask({ type: 'status' }, ASK_MS)])
    const sum = (pick: (stats: WorkerStats) => number) => workers.reduce((total, stats) => total + pick(stats), 0)
    const hits = sum(({ resolver }) => resolver.hits)
    const misses = sum(({ resolver }) => resolver.misses)
    return {
      cache_hits: hits,
      cache_misses: misses,
      hit_rate_pct: hits + misses === 0 ? 0 : Math.round((hits / (hits + misses)) * 10_000) / 100,
      cache_entries: sum(({ resolver }) => resolver.entries),
      active_connections: limits.connections,
      stale_served: sum(({ resolver }) => resolver.staleServed),
      lookup_failures: sum(({ resolver }) => resolver.lookupFailures),
      evictions: sum(({ resolver }) => resolver.evictions),
      invalidations: sum(({ resolver }) => resolver.invalidations),
      audited: sum(({ resolver }) => resolver.audited),
      audit_stale: sum(({ resolver }) => resolver.auditStale),
      workers: workers.length,
      instance: config.cluster.instance,
      peers: fleet.peers.filter(({ lostAt }) => lostAt === undefined).map(({ instance }) => instance),
      bus: fleet.bus,
      bus_invalid_frames: fleet.counters?.invalid ?? 0,
      watch: this.#options.watch(),
      uptime_s: Math.floor((clock.now() - this.#startedAt) / 1000),
      version,
    }
  }

  metrics(): Promise<string> {
    return this.#options.metrics()
  }

  async destinations(): Promise<readonly DestinationStatus[]> {
    const { health: breakers, fleet } = this.#options
    const [health, workers, { states }] = await Promise.all([
      breakers.ask({ type: 'snapshot' }, ASK_MS),
      this.#workerStats(),
      fleet.ask({ type: 'status' }, ASK_MS),
    ])
    const given = new Map(states.map(({ destination, state }) => [destination, state]))
    return health.map((one) => ({
      destination: one.destination,
      consecutive_failures: one.consecutiveFailures,
      failure_sources: one.failureSources,
      host_level_failure: one.hostLevelFailure,
      down: one.down,
      down_until: one.downUntil === undefined ? null : new Date(one.downUntil).toISOString(),
      state: given.get(one.destination) ?? 'up',
      sessions: workers.reduce((total, { sessions }) => total + (sessions.byDestination[one.destination] ?? 0), 0),
    }))
  }

  resetDestination(name: string): Promise<boolean> {
    return this.#options.health.ask({ type: 'reset', destination: name }, ASK_MS)
  }

  async lookup(identifier: string, everyWorker: boolean): Promise<LookupAnswer> {
    const members = await this.#options.fleet.ask({ type: 'members' }, ASK_MS)
    const workers = everyWorker
      ? (await Promise.all(members.map((member) => this.#lookupIn(member, identifier)))).filter((answer) => answer !== undefined)
      : await this.#lookupInOne(members, identifier)
    const [first] = workers
    if (first === undefined) throw new SignalboxError('ROUTE_UNAVAILABLE', 'no worker is ready')
    const { worker: _worker, ...answer } = first
    return { ...answer, normalized: identifier, workers: everyWorker ? workers : [] }
  }

  async put(identifier: string, destination: string): Promise<Confirmation> {
    await this.#refuseIfLacking(destination)
    await this.#write(identifier, () => this.#options.mapping.ask({ type: 'put', identifier, destination }, WRITE_DEADLINE_MS))
    return this.#changed([identifier])
  }

  async delete(identifier: string): Promise<{ readonly removed: boolean; readonly confirmation: Confirmation }> {
    const removed = await this.#write(identifier, () => this.#options.mapping.ask({ type: 'delete', identifier }, WRITE_DEADLINE_MS))
    // Even when there was none: a cached route of one that somebody else removed goes too.
    return { removed, confirmation: await this.#changed([identifier]) }
  }

  async reloadMappings(): Promise<ReloadAnswer> {
    try {
      const { invalidate, ...result } = await this.#options.mapping.ask({ type: 'reload' }, RELOAD_DEADLINE_MS)
      return { ok: true, ...result, confirmation: await this.#invalidateChanged(invalidate, this.#shared) }
    } catch (thrown) {
      const error = asSignalboxError(thrown)
      if (error.code !== 'SOURCE_INVALID') throw error
      return { ok: false, mistakes: mistakesOf(error)?.mistakes ?? [], message: error.message }
    }
  }

  reloadConfig(): Promise<ConfigReloadAnswer> {
    return this.#options.reloadConfig()
  }

  invalidate(identifier: string | undefined): Promise<Confirmation> {
    return this.#invalidateChanged(identifier === undefined ? { all: true } : { all: false, identifiers: [identifier] })
  }

  kick(identifier: string): Promise<{ readonly kicked: number; readonly confirmation: Confirmation }> {
    return this.#options.fleet.ask({ type: 'kick', identifier }, this.#fleetDeadline)
  }

  async cutover({ identifier, destination, hold, client }: CutoverRequest): Promise<CutoverAnswer> {
    const { clock, config } = this.#options
    await this.#refuseIfLacking(destination)
    const warning = await this.#closed(destination)
    const who = `${config.cluster.instance} for ${client}`.slice(0, 200)
    const answer = await cutover(this.#cutoverGround, clock, {
      identifier,
      destination,
      hold: Math.min(hold, DELAY_SECONDS) * 1000,
      holder: { id: randomUUID(), who, since: clock.wall() },
    })
    return answer.result === 'busy' || warning === undefined ? answer : { ...answer, warning }
  }

  /** Why nobody can log in at the destination for the moment. An account may be moved there: somebody may be about to open it. */
  async #closed(destination: string): Promise<string | undefined> {
    const { fleet, health } = this.#options
    const [breakers, { states }] = await Promise.all([health.ask({ type: 'snapshot' }, ASK_MS), fleet.ask({ type: 'status' }, ASK_MS)])
    const given = states.find((one) => one.destination === destination)?.state ?? 'up'
    const down = breakers.some((one) => one.destination === destination && one.down)
    if (given === 'up' && !down) return undefined
    const why = given === 'up' ? 'is down: it failed too often' : `was taken out by an operator (${given})`
    return `destination "${destination}" ${why}; logins to it get the temporary failure`
  }

  get #cutoverGround(): CutoverGround {
    const { mapping, fleet } = this.#options
    return {
      lookup: async (identifier) => (await mapping.ask({ type: 'lookup', identifier }, WRITE_DEADLINE_MS)) ?? undefined,
      lease: async (identifier, holder, ms) => (await mapping.ask({ type: 'lease', identifier, holder, ms }, WRITE_DEADLINE_MS)) ?? undefined,
      endLease: async (identifier, id) => {
        await mapping.ask({ type: 'end-lease', identifier, id }, WRITE_DEADLINE_MS)
      },
      hold: (identifier, id, ms) => fleet.ask({ type: 'hold', identifier, id, ms }, this.#fleetDeadline),
      write: async (identifier, destination, ms) => {
        await mapping.ask({ type: 'put', identifier, destination }, ms)
      },
      exchange: (identifier, { from, to }) => {
        const change = { type: 'exchange', identifier, from: from ?? null, to: to ?? null } as const
        return mapping.ask(change, WRITE_DEADLINE_MS)
      },
      invalidate: (identifier) => this.#changed([identifier]),
      kick: (identifier, except) => fleet.ask({ type: 'kick', identifier, ...(except === undefined ? {} : { except }) }, this.#fleetDeadline),
      release: (identifier, id) => fleet.ask({ type: 'release', identifier, id }, this.#fleetDeadline),
    }
  }

  async fleet(): Promise<FleetAnswer> {
    const { clock, config, facts, epoch, fleet } = this.#options
    const { bus, peers, sequence, strangers } = await fleet.ask({ type: 'status' }, ASK_MS)
    const own = facts()
    const now = clock.now()
    const self: InstanceStatus = {
      instance: config.cluster.instance,
      state: 'self',
      started: new Date(epoch).toISOString(),
      version: own.version,
      workers: own.workers,
      digest: own.digest,
      digest_agrees: true,
      last_heard_s: 0,
      sequence,
      lag: null,
      gaps: 0,
    }
    const instances = [self, ...peers.map((peer) => statusOf(peer, own.digest, now))]
    return { bus, instances, strangers: strangers === undefined ? null : strangersAnswer(strangers) }
  }

  forget(instance: string): Promise<boolean> {
    return this.#options.fleet.ask({ type: 'forget', instance }, ASK_MS)
  }

  delay(identifier: string, seconds: number): Promise<Confirmation> {
    const ms = Math.min(seconds, DELAY_SECONDS) * 1000
    return this.#options.fleet.ask({ type: 'hold', identifier, id: randomUUID(), ms }, this.#fleetDeadline)
  }

  get #fleetDeadline(): number {
    return this.#options.config.cluster.ackTimeout + FLEET_MARGIN_MS
  }

  /** Rejects with BUS_PEER_LACKS when a live peer doesn't declare the destination. */
  async #refuseIfLacking(destination: string): Promise<void> {
    const lacking = await this.#options.fleet.ask({ type: 'lacking', destination }, ASK_MS)
    if (lacking.length === 0) return
    throw new SignalboxError('BUS_PEER_LACKS', `destination "${destination}" is not declared at ${lacking.join(', ')}`)
  }

  /** A write that failed may have happened all the same (no answer in time, not replicated): its route is void then too. */
  async #write<A>(identifier: string, write: () => Promise<A>): Promise<A> {
    try {
      return await write()
    } catch (thrown) {
      const error = asSignalboxError(thrown)
      if (MAYBE_WRITTEN.has(error.code)) await this.#changed([identifier])
      throw error
    }
  }

  /** Our own write is in force at the source: every instance invalidates; with a shared file it reads that again first. */
  #changed(identifiers: readonly string[]): Promise<Confirmation> {
    return this.#invalidateChanged({ all: false, identifiers }, this.#shared)
  }

  /** Whether peers read the very file that this instance does. */
  get #shared(): boolean {
    return this.#options.config.mapping.file?.shared === true
  }

  #invalidateChanged(changed: Changed, reread = false): Promise<Confirmation> {
    const { fleet } = this.#options
    return changed.all
      ? fleet.ask({ type: 'invalidate-all', reread }, this.#fleetDeadline)
      : fleet.ask({ type: 'invalidate', identifiers: changed.identifiers, reread }, this.#fleetDeadline)
  }

  /** The answer of the first worker that is still there. */
  async #lookupInOne(members: readonly Member[], identifier: string): Promise<readonly WorkerLookup[]> {
    for (const member of members) {
      const answer = await this.#lookupIn(member, identifier)
      if (answer !== undefined) return [answer]
    }
    return []
  }

  /** Undefined: the worker went away meanwhile, and has no opinion any more. */
  async #lookupIn({ worker, resolver }: Member, identifier: string): Promise<WorkerLookup | undefined> {
    const { config, catalogue } = this.#options
    try {
      const route = await resolver.ask({ type: 'inspect', identifier }, config.mapping.lookupTimeout + ASK_MS)
      return {
        worker,
        destination: nameOf(catalogue, route),
        routed_to_default: route.kind === 'default',
        cached: route.source === 'cache',
        source: route.source,
      }
    } catch (thrown) {
      const error = asSignalboxError(thrown)
      if (error.code === 'ACTOR_GONE') return undefined
      throw error
    }
  }

  /** Of the workers that answer; one that doesn't is being replaced. */
  async #workerStats(): Promise<readonly WorkerStats[]> {
    const answers = await Promise.allSettled(this.#options.workers().map(({ control }) => control.ask({ type: 'stats' }, ASK_MS)))
    return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
  }
}

function strangersAnswer({ since, last, ...told }: StrangersStatus): StrangersAnswer {
  return { ...told, since: new Date(since).toISOString(), last: new Date(last).toISOString() }
}

function pause(clock: Clock, ms: number): { readonly over: Promise<void>; cancel(): void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = clock.after(ms, resolve)
  return { over: promise, cancel: () => timer.cancel() }
}

function statusOf(peer: FleetStatus['peers'][number], digest: string, now: number): InstanceStatus {
  return {
    instance: peer.instance,
    state: peer.lostAt === undefined ? 'live' : 'lost',
    started: new Date(peer.epoch).toISOString(),
    version: peer.facts?.version ?? 'unknown',
    workers: peer.facts?.workers ?? 0,
    digest: peer.facts?.digest ?? 'unknown',
    digest_agrees: peer.facts?.digest === digest,
    last_heard_s: Math.round((now - peer.heard) / 100) / 10,
    sequence: peer.sequence,
    lag: peer.unacknowledged,
    gaps: peer.gaps,
  }
}

/** Workers and primary number the destinations alike: both made their catalogue from one list, in its order. */
function nameOf(catalogue: Catalogue, { destination }: OpenRoute): string {
  const name = catalogue.nameOf(destination)
  if (name === undefined) throw new SignalboxError('INTERNAL', `no destination has the number ${destination}`)
  return name
}
