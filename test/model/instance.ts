/**
 * One instance of a fleet within the test's process: the real operations, fleet actor, bus member, mapping owner and
 * resolvers, put together as primary and worker do, over a store and a bus in memory. What is left out is what carries
 * bytes between processes.
 */
import { spawn } from '../../src/actor/actor.ts'
import type { RunningActor } from '../../src/actor/actor.ts'
import type { ActorRef, Message } from '../../src/actor/message.ts'
import type { Config } from '../../src/config/config.ts'
import { Catalogue } from '../../src/destination/catalogue.ts'
import { BUS_PATIENCE } from '../../src/limits.ts'
import { MappingOwner } from '../../src/mapping/actor.ts'
import type { MappingMessage } from '../../src/mapping/actor.ts'
import { BusMember } from '../../src/primary/bus-member.ts'
import { factsOf } from '../../src/primary/bus.ts'
import { Fleet } from '../../src/primary/fleet.ts'
import type { FleetMessage } from '../../src/primary/fleet.ts'
import { Health } from '../../src/primary/health.ts'
import { Limits } from '../../src/primary/limits.ts'
import { PrimaryOperations } from '../../src/primary/operations.ts'
import { Peers } from '../../src/primary/peers.ts'
import { Generations } from '../../src/resolver/generations.ts'
import { FailedLookups } from '../../src/resolver/failed-lookups.ts'
import { Resolver } from '../../src/resolver/resolver.ts'
import type { ResolverMessage } from '../../src/resolver/resolver.ts'
import { Happenings } from '../../src/observe/happenings.ts'
import { Sessions } from '../../src/session/sessions.ts'
import type { SessionsMessage } from '../../src/session/sessions.ts'
import type { BusHub, HubEnd } from '../support/bus-hub.ts'
import type { FakeClock } from '../support/fake-clock.ts'
import { heardBy, Standstill } from './standstill.ts'
import { StoreLine } from './store.ts'
import type { Store } from './store.ts'

const WORKERS = 2
const DEADLINE = 60_000

/** What a mutant replaces. */
export interface Parts {
  readonly generations: () => Generations
  readonly failed: () => FailedLookups
  readonly peers: () => Peers
  /** Heartbeats of its primary's that a worker may miss. */
  readonly patience: number
}

export const SOUND: Parts = {
  generations: () => new Generations(),
  failed: () => new FailedLookups(),
  peers: () => new Peers(),
  patience: BUS_PATIENCE,
}

export interface InstanceOptions {
  readonly config: Config
  readonly clock: FakeClock
  readonly hub: BusHub
  readonly store: Store
  readonly watch: boolean
  readonly epoch: number
  readonly parts: Parts
}

export interface ModelWorker {
  readonly number: number
  readonly resolver: Resolver
  readonly actor: RunningActor<ResolverMessage>
  readonly sessions: RunningActor<SessionsMessage>
}

export class Instance {
  readonly name: string
  readonly end: HubEnd
  readonly line: StoreLine
  readonly operations: PrimaryOperations
  readonly member: BusMember
  readonly watches: boolean
  readonly #options: InstanceOptions
  readonly #catalogue: Catalogue
  readonly #fleet: Fleet
  readonly #fleetActor: RunningActor<FleetMessage>
  readonly #mapping: RunningActor<MappingMessage>
  readonly #workers = new Map<number, ModelWorker>()
  /** The primary's process, and those of all workers. */
  readonly primary: Standstill
  readonly below: Standstill
  #forked = 0
  /** Clock time at which all that is cached was last told to be doubtful. */
  doubted = Number.NEGATIVE_INFINITY
  /** False: its process has ended. */
  alive = true

  constructor(options: InstanceOptions) {
    const { config, hub, store, watch, epoch, parts } = options
    const clock = new Standstill(options.clock)
    this.primary = clock
    this.below = new Standstill(options.clock)
    const { heartbeat, instance, ackTimeout } = config.cluster
    this.#options = options
    this.name = instance
    this.watches = watch
    this.end = hub.connect(instance)
    this.line = new StoreLine({ store, clock: options.clock, instance, watch, heartbeat, process: clock })
    this.#catalogue = new Catalogue(config.destinations)
    this.#fleet = new Fleet({ clock, ackTimeout, reread: undefined, unconfirmed: () => {} })
    this.#fleetActor = spawn(this.#fleet, { name: 'fleet', clock })
    this.#mapping = spawn(new MappingOwner(this.line), { name: 'mapping', clock })
    this.line.onChange((change) => {
      const fleet = this.#fleetActor.ref
      if ('doubt' in change) this.#doubt(change.reason)
      else fleet.tell({ type: 'local-change', changed: change })
    })
    const destinations = config.destinations.map(({ name }) => name)
    const same = factsOf(config, 'model', WORKERS)
    const health = new Health({ server: config.server, destinations, clock, random: () => 0, publish: () => {}, changed: () => {} })
    const facts = () => ({ ...same, workers: this.#workers.size })
    this.operations = new PrimaryOperations({
      config,
      clock,
      version: 'model',
      catalogue: this.#catalogue,
      mapping: this.#mapping.ref,
      source: this.line,
      fleet: this.#fleetActor.ref,
      health: spawn(health, { name: 'health', clock }).ref,
      limits: new Limits(config.limits, [], clock),
      workers: () => [],
      state: () => 'ready',
      draining: new AbortController().signal,
      watch: () => (watch ? 'on' : 'off'),
      facts,
      epoch,
      metrics: () => Promise.resolve(''),
      happenings: new Happenings(),
      redact: (account) => account,
      reloadConfig: () => Promise.reject(new Error('there is no file to read again')),
    })
    this.member = new BusMember({
      cluster: config.cluster,
      clock,
      transport: heardBy(clock, this.end),
      epoch,
      facts,
      destinations: () => destinations,
      holds: () => this.#fleet.holds(),
      stats: () => Promise.resolve({}),
      obey: (change) => this.#fleetActor.ref.ask({ type: 'obey', change }, DEADLINE),
      doubt: (reason) => this.#doubt(reason),
      told: {
        up: () => this.#fleetActor.ref.tell({ type: 'bus', up: true }),
        beat: (at) => this.#fleetActor.ref.tell({ type: 'beat', at }),
        down: () => this.#fleetActor.ref.tell({ type: 'bus', up: false }),
        joined: () => {},
        left: () => {},
        lost: () => {},
        differs: () => {},
        twin: () => {},
        strangers: () => {},
        failed: () => {},
      },
      peers: parts.peers(),
    })
  }

  /** Joins the bus, then starts its workers; somebody must move the clock meanwhile. */
  async begin(): Promise<void> {
    this.#fleet.attach(this.member, await this.member.join())
    for (let number = 0; number < WORKERS; number++) this.#fork()
  }

  get workers(): readonly ModelWorker[] {
    return [...this.#workers.values()]
  }

  nameOf(destination: number): string | undefined {
    return this.#catalogue.nameOf(destination)
  }

  #doubt(reason: string): void {
    this.doubted = this.#options.clock.now()
    this.#fleetActor.ref.tell({ type: 'doubt', reason })
  }

  /** A worker's process is killed; another takes its place. */
  killWorker(which: number): void {
    const worker = this.workers[which % this.#workers.size]
    if (worker === undefined) return
    this.#end(worker)
    this.#fleetActor.ref.tell({ type: 'left', worker: worker.number })
    this.#fork()
  }

  /** The process is killed. */
  crash(): void {
    this.end.vanish()
    this.#over()
    void this.member.close()
  }

  /** It is shut down. */
  leave(): void {
    this.#over()
    void this.member.close()
  }

  #over(): void {
    this.alive = false
    for (const worker of this.#workers.values()) this.#end(worker)
    this.#workers.clear()
    this.#fleetActor.stop()
    this.#mapping.stop()
    void this.line.close()
  }

  #end(worker: ModelWorker): void {
    this.#workers.delete(worker.number)
    worker.actor.stop()
    worker.sessions.stop()
  }

  #fork(): void {
    const { config, parts } = this.#options
    const clock = this.below
    const number = ++this.#forked
    const resolver = new Resolver({
      mapping: config.mapping,
      clock,
      source: this.line.lookupOnly(clock),
      destinationId: (name) => this.#catalogue.idOf(name),
      destinationName: (id) => this.#catalogue.nameOf(id),
      defaultDestination: () => 0,
      loginHoldMax: 10,
      busDownTtl: config.cluster.busDownTtl,
      patience: parts.patience * config.cluster.heartbeat,
      self: (message) => actor.ref.tell(message),
      random: () => 0.5,
      report: { undeclared: () => {}, auditStale: () => {}, sourceFailed: () => {}, sourceAnswered: () => {} },
      generations: parts.generations(),
      failed: parts.failed(),
    })
    const actor = spawn<ResolverMessage>(resolver, { name: 'resolver', clock })
    const sessions = spawn<SessionsMessage>(new Sessions(), { name: 'sessions', clock })
    this.#workers.set(number, { number, resolver, actor, sessions })
    this.#fleetActor.ref.tell({ type: 'joined', member: { worker: number, resolver: reached(clock, actor), sessions: reached(clock, sessions) } })
  }
}

/** The way from a primary to an actor of a worker that may stand still. */
function reached<M extends Message>(worker: Standstill, { ref }: RunningActor<M>): ActorRef<M> {
  return {
    tell: (message) => worker.pass(() => ref.tell(message)),
    ask: async (question, deadline, cancel) => {
      if (worker.standing) await new Promise<void>((resolve) => worker.pass(resolve))
      return ref.ask(question, deadline, cancel)
    },
  }
}
