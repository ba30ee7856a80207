/**
 * A worker's part in the metrics: counts what its sessions report, and tells the primary every second in which something
 * happened. An idle worker says nothing.
 */
import type { ActorRef } from '../actor/message.ts'
import type { Clock } from '../clock.ts'
import { COUNTERS_MS } from '../limits.ts'
import { Counters } from '../observe/counters.ts'
import type { CacheCounts, Counts } from '../observe/counters.ts'
import { count } from '../observe/durations.ts'
import { watchProcess } from '../observe/process-facts.ts'
import type { ProcessFacts } from '../observe/process-facts.ts'
import type { TallyMessage } from '../primary/tally.ts'
import type { LoginFacts, Session, SessionReport } from '../session/session.ts'

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

  constructor(options: CountingOptions) {
    this.#options = options
    this.#process = watchProcess(options.clock)
    options.clock.every(COUNTERS_MS, () => {
      if (this.#moved() !== this.#told) this.tell()
    })
  }

  /** Counts, then hands on. */
  report(to: SessionReport): SessionReport {
    const leg = (session: Session, destination: string | undefined) => this.counters.leg(session.profile.listener.protocol, destination ?? '')
    const letIn = (session: Session, { destination, took }: LoginFacts): void => {
      const counts = leg(session, destination)
      counts.accepted++
      counts.sessions++
      count(counts.took, took)
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
      refused: (session, facts) => {
        leg(session, facts.destination).refused++
        to.refused(session, facts)
      },
      unavailable: (session, facts, error) => {
        leg(session, facts.destination).unavailable++
        this.counters.failure(error.code)
        to.unavailable(session, facts, error)
      },
      closed: (session, end) => {
        if (end.login !== undefined) leg(session, end.login.destination).sessions--
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

  /** Grows with whatever happens: the sum of all that was counted. */
  #moved(): number {
    const { legs, failures } = this.counters.counts(this.#options.cache(), 0)
    const { hits, misses, invalidations, evictions, audited } = this.#options.cache()
    let moved = hits + misses + invalidations + evictions + audited
    for (const leg of legs) moved += 2 * leg.accepted + leg.refused + leg.unavailable + leg.bytesIn + leg.bytesOut - leg.sessions
    for (const { times } of failures) moved += times
    return moved
  }
}
