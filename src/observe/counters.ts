/**
 * What one worker counts: logins, stages, sessions, bytes. Plain numbers in arrays and small objects, found by two look-ups
 * in maps and then held by the session, so that a login costs nanoseconds and a byte nothing; no library, no promise, no
 * label that a stranger could fill (protocols, destinations, stages and codes are closed lists). The primary adds up the
 * workers (primary/tally.ts) and gives the sums their names (primary/metrics.ts).
 */
import type { ProtocolName } from '../config/config.ts'
import { add, count, noDurations } from './durations.ts'
import type { Durations } from './durations.ts'

/** The stages of a session that are timed, and those of a request. */
const SESSION_STAGES = ['preauth', 'resolve', 'dial', 'replay'] as const
const REQUEST_STAGES = ['preauth', 'resolve', 'dial', 'first-byte', 'exchange'] as const
export type Stage = (typeof SESSION_STAGES | typeof REQUEST_STAGES)[number]

/** What came of requests, by the first digit of the status that the client was told; `none`: nothing, the connection broke. */
export const RESPONSES = ['none', '1xx', '2xx', '3xx', '4xx', '5xx'] as const

export const OUTCOMES = ['accepted', 'refused', 'unavailable'] as const
/** `refused`: by the backend, or by us for a name that can be no account's. `unavailable`: it could not be tried, the client got a temporary failure. */
export type Outcome = (typeof OUTCOMES)[number]

/** All that is counted of the sessions of one protocol to one destination. */
export interface LegCounts {
  readonly protocol: ProtocolName
  /** Name; empty: the login never got as far as having one. */
  readonly destination: string
  accepted: number
  refused: number
  unavailable: number
  /** Bridged now. */
  sessions: number
  /** From the clients to the backend and back, since the hand-over. */
  bytesIn: number
  bytesOut: number
  /** From the complete login command to the backend's yes. */
  readonly took: Durations
}

/** What the resolver counts by itself. */
export interface CacheCounts {
  readonly hits: number
  readonly misses: number
  readonly staleServed: number
  readonly lookupFailures: number
  readonly evictions: number
  readonly invalidations: number
  readonly audited: number
  readonly auditStale: number
  /** Not sums but what is so now: routes cached, logins held back, lookups under way. */
  readonly entries: number
  readonly held: number
  readonly lookupsOpen: number
}

/** Connections that were turned away, for a reason of a closed list. */
export interface Refused {
  readonly protocol: ProtocolName
  readonly reason: string
  readonly times: number
}

/** Requests of http listeners to one destination (empty: to none), by what came of them, in the order of RESPONSES. */
export interface ResponseCounts {
  readonly destination: string
  readonly times: readonly number[]
}

/** As a worker sends it, and as the primary keeps it. */
export interface Counts {
  readonly legs: readonly LegCounts[]
  readonly stages: readonly { readonly protocol: ProtocolName; readonly stage: Stage; readonly durations: Durations }[]
  /** Logins that could not be tried, by the error's code. */
  readonly failures: readonly { readonly code: string; readonly times: number }[]
  /** Connections that were turned away. */
  readonly refused: readonly Refused[]
  readonly responses: readonly ResponseCounts[]
  readonly cache: CacheCounts
  /** Connections in any stage now. */
  readonly open: number
}

export class Counters {
  readonly #legs = new Map<ProtocolName, Map<string, LegCounts>>()
  readonly #stages = new Map<ProtocolName, Map<Stage, Durations>>()
  readonly #failures = new Map<string, number>()
  readonly #refused = new Map<string, Refused>()
  readonly #responses = new Map<string, number[]>()

  /** The counts of a protocol's sessions to a destination, to be counted up by whoever asked. */
  leg(protocol: ProtocolName, destination: string): LegCounts {
    let legs = this.#legs.get(protocol)
    if (legs === undefined) this.#legs.set(protocol, (legs = new Map()))
    let leg = legs.get(destination)
    if (leg === undefined) legs.set(destination, (leg = noLeg(protocol, destination)))
    return leg
  }

  failure(code: string): void {
    this.#failures.set(code, (this.#failures.get(code) ?? 0) + 1)
  }

  /** A connection was turned away. */
  refused(protocol: ProtocolName, reason: string, times = 1): void {
    const key = `${protocol} ${reason}`
    this.#refused.set(key, { protocol, reason, times: times + (this.#refused.get(key)?.times ?? 0) })
  }

  /** A stage is over after `ms` milliseconds, in whatever way. */
  stage(protocol: ProtocolName, stage: Stage, ms: number): void {
    count(this.#durations(protocol, stage), ms)
  }

  /** A request to a destination (empty: to none) is over. `status`: what the client was told; undefined: nothing. */
  response(destination: string, status: number | undefined): void {
    const times = this.#responsesOf(destination)
    const kind = status === undefined ? 0 : Math.floor(status / 100)
    times[kind] = (times[kind] ?? 0) + 1
  }

  /** Adds what another has counted. */
  add({ legs, stages, failures, refused, responses }: Counts): void {
    for (const { protocol, destination, took, ...more } of legs) {
      const leg = this.leg(protocol, destination)
      for (const name of LEG_COUNTS) leg[name] += more[name]
      add(leg.took, took)
    }
    for (const { protocol, stage, durations } of stages) add(this.#durations(protocol, stage), durations)
    for (const { destination, times } of responses) {
      const sum = this.#responsesOf(destination)
      times.forEach((more, kind) => (sum[kind] = (sum[kind] ?? 0) + more))
    }
    for (const { protocol, reason, times } of refused) this.refused(protocol, reason, times)
    for (const { code, times } of failures) this.#failures.set(code, (this.#failures.get(code) ?? 0) + times)
  }

  /** What was counted until now; not to be kept, as the counting goes on in it. */
  counts(cache: CacheCounts, open: number): Counts {
    return {
      legs: [...this.#legs.values()].flatMap((legs) => [...legs.values()]),
      stages: [...this.#stages].flatMap(([protocol, stages]) =>
        [...stages].map(([stage, durations]) => ({ protocol, stage, durations })),
      ),
      failures: [...this.#failures].map(([code, times]) => ({ code, times })),
      refused: [...this.#refused.values()],
      responses: [...this.#responses].map(([destination, times]) => ({ destination, times })),
      cache,
      open,
    }
  }

  #durations(protocol: ProtocolName, stage: Stage): Durations {
    let stages = this.#stages.get(protocol)
    if (stages === undefined) {
      stages = new Map((protocol === 'http' ? REQUEST_STAGES : SESSION_STAGES).map((name) => [name, noDurations()]))
      this.#stages.set(protocol, stages)
    }
    let durations = stages.get(stage)
    if (durations === undefined) stages.set(stage, (durations = noDurations()))
    return durations
  }

  #responsesOf(destination: string): number[] {
    let times = this.#responses.get(destination)
    if (times === undefined) this.#responses.set(destination, (times = RESPONSES.map(() => 0)))
    return times
  }
}

const LEG_COUNTS = ['accepted', 'refused', 'unavailable', 'sessions', 'bytesIn', 'bytesOut'] as const
const CACHE_COUNTS = ['hits', 'misses', 'staleServed', 'lookupFailures', 'evictions', 'invalidations', 'audited', 'auditStale'] as const
const CACHE_NOW = ['entries', 'held', 'lookupsOpen'] as const

/** What a resolver has counted that was never asked. */
export const NO_CACHE = {
  hits: 0,
  misses: 0,
  staleServed: 0,
  lookupFailures: 0,
  evictions: 0,
  invalidations: 0,
  audited: 0,
  auditStale: 0,
  entries: 0,
  held: 0,
  lookupsOpen: 0,
}

function noLeg(protocol: ProtocolName, destination: string): LegCounts {
  return { protocol, destination, accepted: 0, refused: 0, unavailable: 0, sessions: 0, bytesIn: 0, bytesOut: 0, took: noDurations() }
}

/** Adds up what several workers have counted. */
export function addUp(all: Iterable<Counts>): Counts {
  const sum = new Counters()
  const cache = { ...NO_CACHE }
  let open = 0
  for (const counts of all) {
    sum.add(counts)
    for (const name of [...CACHE_COUNTS, ...CACHE_NOW]) cache[name] += counts.cache[name]
    open += counts.open
  }
  return sum.counts(cache, open)
}

/** The same without what is only so for the moment: what remains of a worker that is gone. */
export function lasting(counts: Counts): Counts {
  return {
    ...counts,
    legs: counts.legs.map((leg) => ({ ...leg, sessions: 0 })),
    cache: { ...counts.cache, entries: 0, held: 0, lookupsOpen: 0 },
    open: 0,
  }
}
