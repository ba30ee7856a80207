/**
 * What can be seen of an instance from outside: puts the readings of all its rooms together when somebody asks. It owns what
 * nobody else counts (connections refused, workers that died) and the tally of the workers' counts.
 */
import { spawn } from '../actor/actor.ts'
import type { RunningActor } from '../actor/actor.ts'
import type { ActorRef } from '../actor/message.ts'
import type { Clock } from '../clock.ts'
import type { ProtocolName } from '../config/config.ts'
import { impossible } from '../errors.ts'
import type { SignalboxError } from '../errors.ts'
import { Happenings } from '../observe/happenings.ts'
import type { Redactor } from '../observe/redaction.ts'
import type { Change } from './bus-member.ts'
import { addUp, Counters, NO_CACHE } from '../observe/counters.ts'
import { watchProcess } from '../observe/process-facts.ts'
import type { FleetMessage } from './fleet.ts'
import type { HealthMessage } from './health.ts'
import type { Metrics, Reading } from './metrics.ts'
import type { WorkerHandle } from './supervisor.ts'
import { Tally } from './tally.ts'
import type { Sampled, TallyMessage } from './tally.ts'

export interface ObservatoryOptions {
  readonly clock: Clock
  readonly redact: Redactor
  readonly version: string
  readonly instance: string
  readonly fleet: ActorRef<FleetMessage>
  readonly health: ActorRef<HealthMessage>
  readonly workers: () => readonly WorkerHandle[]
  readonly state: () => Reading['state']
  readonly watch: () => Reading['watch']
  readonly onCrash: (name: string, type: string, error: SignalboxError) => void
}

/** A worker that doesn't answer by then is shown as it was last known. */
const ASK_MS = 1_000
/** Accounts of one change that are told of one by one. */
const NAMED = 100

export class Observatory {
  readonly tally: RunningActor<TallyMessage>
  readonly happenings: Happenings
  readonly #options: ObservatoryOptions
  #metrics: Promise<Metrics> | undefined
  readonly #process: ReturnType<typeof watchProcess>
  /** What this process counts itself: connections that no worker ever saw. */
  readonly #counters = new Counters()
  readonly #startedAt: number
  #deaths = 0

  constructor(options: ObservatoryOptions) {
    const { clock, onCrash } = options
    this.#options = options
    this.#startedAt = clock.wall()
    this.#process = watchProcess(clock)
    this.happenings = new Happenings((listened) => {
      for (const { control } of options.workers()) control.tell({ type: 'watch', sessions: listened })
    })
    this.tally = spawn<TallyMessage>(new Tally((sample) => this.#sampled(sample)), { name: 'tally', clock, onCrash })
  }

  /** A connection was turned away. `reason` is of a closed list. */
  refused(protocol: ProtocolName, reason: string): void {
    this.#counters.refused(protocol, reason)
  }

  /** A worker serves. */
  workerReady({ worker, control }: WorkerHandle): void {
    if (this.happenings.listeners > 0) control.tell({ type: 'watch', sessions: true })
    this.happenings.tell('worker', { worker, state: 'ready' })
  }

  /** A change comes into force in this instance, wherever it was made. */
  changed(change: Change): void {
    const { happenings } = this
    if (happenings.listeners === 0) return
    switch (change.kind) {
      case 'invalidate': {
        const { redact } = this.#options
        for (const identifier of change.identifiers.slice(0, NAMED)) happenings.tell('mapping', { account: redact(identifier), accounts: 1 })
        const more = change.identifiers.length - NAMED
        if (more > 0) happenings.tell('mapping', { account: null, accounts: more })
        return
      }
      case 'invalidate-all':
        return happenings.tell('mapping', { account: null, accounts: 'all' })
      case 'state':
        return happenings.tell('destination', { destination: change.destination, state: change.state, by: 'operator' })
      case 'drain':
        return happenings.tell('destination', { destination: change.destination, state: 'draining', by: 'operator' })
      case 'kick':
      case 'hold':
      case 'release':
        // What comes of them is told: sessions that end.
        return
      default:
        impossible(change)
    }
  }

  #sampled({ worker, sessions, unsampled }: Sampled): void {
    const { redact } = this.#options
    for (const { account, facts } of sessions) {
      this.happenings.tell('session', { ...facts, account: account === undefined ? null : redact(account), worker })
    }
    if (unsampled > 0) this.happenings.tell('session', { state: 'unsampled', count: unsampled, worker })
  }

  /** Process and channel of a worker are gone; `expected`: it was asked to end. */
  workerGone(worker: number, expected: boolean): void {
    if (!expected) this.#deaths++
    this.happenings.tell('worker', { worker, state: expected ? 'ended' : 'died' })
    this.tally.ref.tell({ type: 'worker-gone', worker })
  }

  /** Loads what a scrape needs: after what a start waits for, and before the files may be another version's. */
  async prepareMetrics(): Promise<Metrics> {
    this.#metrics ??= import('./metrics.ts').then(({ Metrics }) => new Metrics())
    return this.#metrics
  }

  /** Prometheus text. Rejects with ACTOR_DEADLINE when a room of this process can't be asked. */
  async metrics(): Promise<string> {
    const metrics = await this.prepareMetrics()
    return metrics.scrape(await this.#reading())
  }

  async #reading(): Promise<Reading> {
    const { fleet, health, workers, version, instance, state, watch } = this.#options
    const asked = workers()
    await Promise.allSettled(
      asked.map(async ({ worker, control }) => {
        const answer = await control.ask({ type: 'counters' }, ASK_MS)
        this.tally.ref.tell({ type: 'counted', worker, ...answer })
      }),
    )
    const [tallied, status, snapshot] = await Promise.all([
      this.tally.ref.ask({ type: 'sums' }, ASK_MS),
      fleet.ask({ type: 'status' }, ASK_MS),
      health.ask({ type: 'snapshot' }, ASK_MS),
    ])
    const given = new Map(status.states.map(({ destination, state }) => [destination, state]))
    const stateOf = (destination: string) => given.get(destination) ?? 'up'
    return {
      version,
      instance,
      state: state(),
      startedAt: this.#startedAt,
      counts: addUp([tallied.counts, this.#counters.counts(NO_CACHE, 0)]),
      processes: [
        { process: 'primary', facts: this.#process() },
        ...tallied.workers.map(({ worker, process }) => ({ process: `worker ${worker}`, facts: process })),
      ],
      workersReady: asked.length,
      health: snapshot,
      states: snapshot.map(({ destination }) => ({ destination, state: stateOf(destination) })),
      fleet: status,
      watch: watch(),
      workerDeaths: this.#deaths,
      confirmations: [
        { by: 'workers', durations: status.confirmations.workers },
        { by: 'peers', durations: status.confirmations.peers },
      ],
      listeners: [{ connected: this.happenings.listeners, lost: this.happenings.lost }],
    }
  }
}
