/**
 * The metrics of an instance by name: what every number is called, what it means, which labels it has, for Prometheus. It
 * owns prom-client's registry, which nobody but a scrape ever touches: the numbers are counted elsewhere (observe/counters.ts
 * in the workers, the actors here) and put in when they are asked for. docs/metrics.md says the same for people; a test holds
 * the two together. Base units, and counts that never go down while the process lives.
 */
import { Counter, Gauge, Registry } from 'prom-client'
import type { Counts } from '../observe/counters.ts'
import { OUTCOMES, RESPONSES } from '../observe/counters.ts'
import { sumOf } from '../observe/durations.ts'
import type { ProcessFacts } from '../observe/process-facts.ts'
import { ServedHistogram } from './histogram.ts'
import type { DestinationHealth } from './health.ts'
import type { FleetStatus } from './fleet.ts'

/** Everything that is told at one scrape. */
export interface Reading {
  readonly version: string
  readonly instance: string
  readonly state: 'starting' | 'ready' | 'draining'
  /** Wall clock, milliseconds. */
  readonly startedAt: number
  readonly counts: Counts
  /** The primary and the workers: `primary`, `worker 1` … */
  readonly processes: readonly { readonly process: string; readonly facts: ProcessFacts }[]
  readonly workersReady: number
  readonly health: readonly DestinationHealth[]
  readonly states: readonly { readonly destination: string; readonly state: 'up' | 'drain' | 'down' }[]
  readonly fleet: FleetStatus
  readonly watch: 'off' | 'on' | 'unavailable'
  readonly workerDeaths: number
  /** Of changes that were made here: until every worker, and until every peer had acknowledged. */
  readonly confirmations: readonly { readonly by: 'workers' | 'peers'; readonly durations: readonly number[] }[]
  readonly listeners: readonly { readonly connected: number; readonly lost: number }[]
}

type Labels = Readonly<Record<string, string>>
type Put = (value: number, labels?: Labels) => void

interface Definition {
  readonly name: string
  readonly type: 'counter' | 'gauge'
  readonly help: string
  readonly labels?: readonly string[]
  readonly put: (reading: Reading, put: Put) => void
}

const PREFIX = 'signalbox_'

/** Every counter and gauge, in the order of docs/metrics.md. */
const NUMBERS: readonly Definition[] = [
  {
    name: 'logins_total',
    type: 'counter',
    help: 'Logins by what came of them: accepted or refused by the backend, or unavailable (a temporary failure)',
    labels: ['protocol', 'destination', 'outcome'],
    put: ({ counts }, put) => {
      for (const leg of counts.legs) {
        const { protocol, destination } = leg
        for (const outcome of OUTCOMES) put(leg[outcome], { protocol, destination, outcome })
      }
    },
  },
  {
    name: 'login_failures_total',
    type: 'counter',
    help: 'Logins that could not be tried, by the code of the error',
    labels: ['code'],
    put: ({ counts }, put) => {
      for (const { code, times } of counts.failures) put(times, { code })
    },
  },
  {
    name: 'sessions',
    type: 'gauge',
    help: 'Sessions bridged to a destination now',
    labels: ['protocol', 'destination'],
    put: ({ counts }, put) => {
      for (const { protocol, destination, sessions } of counts.legs) if (destination !== '') put(sessions, { protocol, destination })
    },
  },
  {
    name: 'connections',
    type: 'gauge',
    help: 'Client connections in any stage now',
    put: ({ counts }, put) => put(counts.open),
  },
  {
    name: 'connections_refused_total',
    type: 'counter',
    help: 'Connections that were turned away before they became a session',
    labels: ['protocol', 'reason'],
    put: ({ counts }, put) => {
      for (const { protocol, reason, times } of counts.refused) put(times, { protocol, reason })
    },
  },
  {
    name: 'bytes_total',
    type: 'counter',
    help: 'Bytes bridged since the login: in is from the client to the backend, out is back',
    labels: ['protocol', 'destination', 'direction'],
    put: ({ counts }, put) => {
      for (const { protocol, destination, bytesIn, bytesOut } of counts.legs) {
        if (destination === '') continue
        put(bytesIn, { protocol, destination, direction: 'in' })
        put(bytesOut, { protocol, destination, direction: 'out' })
      }
    },
  },
  {
    name: 'http_requests_total',
    type: 'counter',
    help: 'Requests on http listeners that are over, by the first digit of the status that the client was told',
    labels: ['destination', 'status'],
    put: ({ counts }, put) => {
      for (const { destination, times } of counts.responses) {
        RESPONSES.forEach((status, kind) => put(times[kind] ?? 0, { destination, status }))
      }
    },
  },
  {
    name: 'cache_hits_total',
    type: 'counter',
    help: 'Routes that the cache knew',
    put: ({ counts }, put) => put(counts.cache.hits),
  },
  {
    name: 'cache_misses_total',
    type: 'counter',
    help: 'Routes that had to be looked up',
    put: ({ counts }, put) => put(counts.cache.misses),
  },
  {
    name: 'cache_stale_served_total',
    type: 'counter',
    help: 'Logins that got their last known route because the source could not be asked',
    put: ({ counts }, put) => put(counts.cache.staleServed),
  },
  {
    name: 'lookup_failures_total',
    type: 'counter',
    help: 'Lookups in the mapping source that failed',
    put: ({ counts }, put) => put(counts.cache.lookupFailures),
  },
  {
    name: 'cache_evictions_total',
    type: 'counter',
    help: 'Cached routes that went for lack of room',
    put: ({ counts }, put) => put(counts.cache.evictions),
  },
  {
    name: 'cache_invalidations_total',
    type: 'counter',
    help: 'Cached routes that were made void',
    put: ({ counts }, put) => put(counts.cache.invalidations),
  },
  {
    name: 'cache_audits_total',
    type: 'counter',
    help: 'Cached routes that were compared with the source; stale ones differed without an invalidation to explain it',
    labels: ['result'],
    put: ({ counts }, put) => {
      put(counts.cache.audited - counts.cache.auditStale, { result: 'same' })
      put(counts.cache.auditStale, { result: 'stale' })
    },
  },
  { name: 'cache_entries', type: 'gauge', help: 'Routes cached now', put: ({ counts }, put) => put(counts.cache.entries) },
  { name: 'logins_held', type: 'gauge', help: 'Logins that wait for the end of a hold', put: ({ counts }, put) => put(counts.cache.held) },
  { name: 'lookups_open', type: 'gauge', help: 'Lookups under way', put: ({ counts }, put) => put(counts.cache.lookupsOpen) },
  {
    name: 'destination_up',
    type: 'gauge',
    help: '1 unless the breaker of the destination is open',
    labels: ['destination'],
    put: ({ health }, put) => {
      for (const { destination, down } of health) put(down ? 0 : 1, { destination })
    },
  },
  {
    name: 'destination_consecutive_failures',
    type: 'gauge',
    help: 'Connections to the destination that failed since the last that succeeded',
    labels: ['destination'],
    put: ({ health }, put) => {
      for (const { destination, consecutiveFailures } of health) put(consecutiveFailures, { destination })
    },
  },
  {
    name: 'destination_state',
    type: 'gauge',
    help: '1 for the state that an operator gave the destination: up, drain, down',
    labels: ['destination', 'state'],
    put: ({ states }, put) => {
      for (const { destination, state } of states) {
        for (const possible of ['up', 'drain', 'down']) put(possible === state ? 1 : 0, { destination, state: possible })
      }
    },
  },
  {
    name: 'bus_up',
    type: 'gauge',
    help: '1 while this instance hears its own heartbeat on the bus; absent without a bus',
    put: ({ fleet }, put) => {
      if (fleet.bus !== 'none') put(fleet.bus === 'up' ? 1 : 0)
    },
  },
  {
    name: 'bus_peers',
    type: 'gauge',
    help: 'Peers that are heard, and peers that are lost: silent without having said bye',
    labels: ['state'],
    put: ({ fleet }, put) => {
      const lost = fleet.peers.filter(({ lostAt }) => lostAt !== undefined).length
      put(fleet.peers.length - lost, { state: 'live' })
      put(lost, { state: 'lost' })
    },
  },
  {
    name: 'bus_lag',
    type: 'gauge',
    help: 'Changes of this instance that a peer has not acknowledged',
    labels: ['peer'],
    put: ({ fleet }, put) => {
      for (const { instance, unacknowledged } of fleet.peers) put(unacknowledged, { peer: instance })
    },
  },
  {
    name: 'bus_frames_total',
    type: 'counter',
    help: 'Frames on the bus',
    labels: ['direction'],
    put: ({ fleet: { counters } }, put) => {
      if (counters === undefined) return
      put(counters.received, { direction: 'in' })
      put(counters.sent, { direction: 'out' })
    },
  },
  {
    name: 'bus_frames_bad_total',
    type: 'counter',
    help: 'Frames that could not be read (invalid) or had been heard before (repeated)',
    labels: ['reason'],
    put: ({ fleet: { counters } }, put) => {
      if (counters === undefined) return
      put(counters.invalid, { reason: 'invalid' })
      put(counters.repeated, { reason: 'repeated' })
    },
  },
  {
    name: 'bus_gaps_total',
    type: 'counter',
    help: 'How often frames of peers were missed',
    put: ({ fleet: { counters } }, put) => {
      if (counters !== undefined) put(counters.gaps)
    },
  },
  {
    name: 'bus_doubts_total',
    type: 'counter',
    help: 'How often everything cached became doubtful',
    put: ({ fleet: { counters } }, put) => {
      if (counters !== undefined) put(counters.doubts)
    },
  },
  {
    name: 'watch_up',
    type: 'gauge',
    help: '1 while changes that others make in the mapping source are seen at once; absent where that is not configured',
    put: ({ watch }, put) => {
      if (watch !== 'off') put(watch === 'on' ? 1 : 0)
    },
  },
  { name: 'workers', type: 'gauge', help: 'Workers that serve', put: ({ workersReady }, put) => put(workersReady) },
  {
    name: 'worker_deaths_total',
    type: 'counter',
    help: 'Workers that ended without having been asked to',
    put: ({ workerDeaths }, put) => put(workerDeaths),
  },
  {
    name: 'event_loop_delay_seconds',
    type: 'gauge',
    help: 'How long a turn of the event loop took, over the last half to whole minute',
    labels: ['process', 'statistic'],
    put: ({ processes }, put) => {
      for (const { process, facts } of processes) {
        for (const [statistic, seconds] of Object.entries(facts.loopDelay)) put(seconds, { process, statistic })
      }
    },
  },
  {
    name: 'event_loop_active_seconds_total',
    type: 'counter',
    help: 'Time in which the event loop had something to do',
    labels: ['process'],
    put: ({ processes }, put) => {
      for (const { process, facts } of processes) put(facts.loopActive, { process })
    },
  },
  {
    name: 'process_cpu_seconds_total',
    type: 'counter',
    help: 'Processor time of the processes that are there',
    labels: ['process', 'mode'],
    put: ({ processes }, put) => {
      for (const { process, facts } of processes) {
        put(facts.cpuUser, { process, mode: 'user' })
        put(facts.cpuSystem, { process, mode: 'system' })
      }
    },
  },
  {
    name: 'process_resident_memory_bytes',
    type: 'gauge',
    help: 'Resident memory of a process',
    labels: ['process'],
    put: ({ processes }, put) => {
      for (const { process, facts } of processes) put(facts.resident, { process })
    },
  },
  {
    name: 'process_heap_bytes',
    type: 'gauge',
    help: 'JavaScript heap in use in a process',
    labels: ['process'],
    put: ({ processes }, put) => {
      for (const { process, facts } of processes) put(facts.heapUsed, { process })
    },
  },
  {
    name: 'events_listeners',
    type: 'gauge',
    help: 'Readers of GET /events',
    put: ({ listeners }, put) => put(listeners.reduce((total, { connected }) => total + connected, 0)),
  },
  {
    name: 'events_lost_total',
    type: 'counter',
    help: 'Events that readers of GET /events were too slow for',
    put: ({ listeners }, put) => put(listeners.reduce((total, { lost }) => total + lost, 0)),
  },
  { name: 'start_time_seconds', type: 'gauge', help: 'When the instance started, since 1970', put: ({ startedAt }, put) => put(startedAt / 1000) },
  {
    name: 'ready',
    type: 'gauge',
    help: '1 while clients should be sent here',
    put: ({ state }, put) => put(state === 'ready' ? 1 : 0),
  },
  {
    name: 'info',
    type: 'gauge',
    help: 'Always 1; which instance and version this is',
    labels: ['name', 'version'],
    put: ({ instance, version }, put) => put(1, { name: instance, version }),
  },
]

export class Metrics {
  readonly #registry = new Registry()
  readonly #numbers: readonly ((reading: Reading) => void)[]
  readonly #logins: ServedHistogram
  readonly #stages: ServedHistogram
  readonly #confirmations: ServedHistogram
  #scraping: Promise<unknown> = Promise.resolve()

  constructor() {
    const registers = [this.#registry]
    this.#logins = new ServedHistogram({
      name: `${PREFIX}login_duration_seconds`,
      help: 'From the complete login command to the yes of the backend',
      labelNames: ['protocol', 'destination'],
      registers,
    })
    this.#stages = new ServedHistogram({
      name: `${PREFIX}stage_duration_seconds`,
      help: 'How long a stage of a session took, however it ended; preauth is waiting for the client',
      labelNames: ['protocol', 'stage'],
      registers,
    })
    this.#confirmations = new ServedHistogram({
      name: `${PREFIX}change_confirmation_seconds`,
      help: 'From a change that was made here until it was acknowledged, or given up on',
      labelNames: ['by'],
      registers,
    })
    this.#numbers = NUMBERS.map((definition) => numberOf(definition, this.#registry))
  }

  /** Names of all metrics, for the documentation. */
  get described(): readonly { readonly name: string; readonly type: string; readonly help: string; readonly labels: readonly string[] }[] {
    const histograms = [this.#logins, this.#stages, this.#confirmations].map(({ described }) => described)
    return [...NUMBERS.map(({ name, type, help, labels = [] }) => ({ name: `${PREFIX}${name}`, type, help, labels })), ...histograms]
  }

  /** What the text that `scrape` gives is called. */
  readonly contentType = 'text/plain; version=0.0.4'

  /** The reading as Prometheus reads it. One at a time: the registry holds one reading. */
  scrape(reading: Reading): Promise<string> {
    const text = this.#scraping.then(() => {
      for (const put of this.#numbers) put(reading)
      this.#logins.serve(
        reading.counts.legs.flatMap(({ protocol, destination, took }) =>
          destination === '' ? [] : [{ labels: { protocol, destination }, durations: took, sum: sumOf(took) }],
        ),
      )
      this.#stages.serve(
        reading.counts.stages.map(({ protocol, stage, durations }) => ({ labels: { protocol, stage }, durations, sum: sumOf(durations) })),
      )
      this.#confirmations.serve(
        reading.confirmations.map(({ by, durations }) => ({ labels: { by }, durations, sum: sumOf(durations) })),
      )
      return this.#registry.metrics()
    })
    this.#scraping = text.catch(() => undefined)
    return text
  }
}

function numberOf({ name, type, help, labels = [], put }: Definition, registry: Registry): (reading: Reading) => void {
  const configuration = { name: `${PREFIX}${name}`, help, labelNames: [...labels], registers: [registry] }
  if (type === 'counter') {
    const counter = new Counter(configuration)
    return (reading) => {
      clear(counter, labels)
      put(reading, (value, of = {}) => counter.inc({ ...of }, value))
    }
  }
  const gauge = new Gauge(configuration)
  return (reading) => {
    clear(gauge, labels)
    put(reading, (value, of = {}) => gauge.set({ ...of }, value))
  }
}

/** Without labels a reset leaves a 0, which would say that a bus is down where there is none. */
function clear(metric: Counter | Gauge, labels: readonly string[]): void {
  metric.reset()
  if (labels.length === 0) metric.remove()
}
