/**
 * A worker's part in the metrics: counts what its sessions report, and tells the primary every second in which something
 * happened. An idle worker says nothing.
 */
import type { ActorRef } from '../actor/message.ts'
import type { Clock } from '../clock.ts'
import { COUNTERS_MS, SESSIONS_SAMPLED } from '../limits.ts'
import { Counters } from '../observe/counters.ts'
import type { CacheCounts, Counts } from '../observe/counters.ts'
import { count } from '../observe/durations.ts'
import { watchProcess } from '../observe/process-facts.ts'
import type { ProcessFacts } from '../observe/process-facts.ts'
import type { SampledSession, TallyMessage } from '../primary/tally.ts'
import type { LoginFacts, Reported, SessionReport } from '../session/services.ts'
import { TURNED_AWAY } from './report.ts'

export interface CountingOptions {
  readonly worker: number
  readonly clock: Clock
  readonly tally: ActorRef<TallyMessage>
  readonly cache: () => CacheCounts
  /** Connections in any stage. */
  readonly open: () => number
}

export class Counting {
  readonly counters = new Counters()
  readonly #options: CountingOptions
  readonly #process: () => ProcessFacts
  /** What the last that was told came to. */
  #told = 0
  #watched = false
  #sampled: SampledSession[] = []
  /** Sessions that began or ended unsampled since the last sample went out. */
  #unsampled = 0

  constructor(options: CountingOptions) {
    this.#options = options
    this.#process = watchProcess(options.clock)
    options.clock.every(COUNTERS_MS, () => {
      this.#tellSample()
      if (this.#moved() !== this.#told) this.tell()
    })
  }

  /** Counts, then hands on. */
  report(to: SessionReport): SessionReport {
    const leg = (session: Reported, destination: string | undefined) => this.counters.leg(session.profile.listener.protocol, destination ?? '')
    const letIn = (session: Reported, { account, destination, took }: LoginFacts): void => {
      const counts = leg(session, destination)
      counts.accepted++
      counts.sessions++
      count(counts.took, took)
      if (this.#watched) this.#sample(session, account, { state: 'begun', destination: destination ?? '' })
    }
    return {
      accepted: (session, facts) => {
        letIn(session, facts)
        to.accepted(session, facts)
      },
      passedThrough: (session, facts) => {
        letIn(session, facts)
        to.passedThrough(session, facts)
      },
      refused: (session, facts, reason) => {
        leg(session, facts.destination).refused++
        to.refused(session, facts, reason)
      },
      unavailable: (session, facts, error) => {
        leg(session, facts.destination).unavailable++
        this.counters.failure(error.code)
        to.unavailable(session, facts, error)
      },
      closed: (session, end) => {
        const turnedAway = end.login === undefined && end.error !== undefined ? TURNED_AWAY.get(end.error.code) : undefined
        if (turnedAway !== undefined) this.counters.refused(session.profile.listener.protocol, turnedAway)
        if (end.login !== undefined) {
          const { account, destination } = end.login
          leg(session, destination).sessions--
          if (!this.#watched) return to.closed(session, end)
          const { bytesIn, bytesOut, reason } = end
          const facts = { state: 'ended', destination: destination ?? '', reason, bytes_in: bytesIn, bytes_out: bytesOut }
          this.#sample(session, account, { ...facts, seconds: Math.round(end.seconds * 1000) / 1000 })
        }
        to.closed(session, end)
      },
    }
  }

  /** All that was counted, and how the process is. */
  now(): { readonly counts: Counts; readonly process: ProcessFacts } {
    const { cache, open } = this.#options
    return { counts: this.counters.counts(cache(), open()), process: this.#process() }
  }

  tell(): void {
    this.#told = this.#moved()
    this.#options.tally.tell({ type: 'counted', worker: this.#options.worker, ...this.now() })
  }

  /** Whether sessions that begin and end are to be told of. */
  watch(sessions: boolean): void {
    this.#watched = sessions
  }

  #sample({ connection, profile }: Reported, account: string | undefined, facts: SampledSession['facts']): void {
    if (this.#sampled.length >= SESSIONS_SAMPLED) {
      this.#unsampled++
      return
    }
    const { id, clientAddress } = connection
    this.#sampled.push({ account, facts: { session: id, protocol: profile.listener.protocol, client: clientAddress, ...facts } })
  }

  #tellSample(): void {
    if (this.#sampled.length === 0) return
    const { tally, worker } = this.#options
    tally.tell({ type: 'sampled', worker, sessions: this.#sampled, unsampled: this.#unsampled })
    this.#sampled = []
    this.#unsampled = 0
  }

  /** Grows with whatever happens: the sum of all that was counted. */
  #moved(): number {
    const { legs, failures, refused, responses } = this.counters.counts(this.#options.cache(), 0)
    // What is audited every second is no news: whoever asks is told.
    const { hits, misses, invalidations, evictions } = this.#options.cache()
    let moved = hits + misses + invalidations + evictions
    for (const leg of legs) moved += 2 * leg.accepted + leg.refused + leg.unavailable + leg.bytesIn + leg.bytesOut - leg.sessions
    for (const { times } of [...failures, ...refused]) moved += times
    for (const { times } of responses) moved += times.reduce((sum, more) => sum + more, 0)
    return moved
  }
}
