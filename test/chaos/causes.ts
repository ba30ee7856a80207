/**
 * Which fault may have done what to whom, and when. A fault explains what happened to a client only when it can have brought about just that, at
 * that place, at that time: between the client's last sign of life and the moment at which it noticed lies the moment itself, and into
 * that stretch the fault must reach, with a grace for its effects that is stated for each of them. That a client has lived through a fault excuses
 * nothing that happens to it later.
 *
 * Where the log can say more (whose session it was that a killed worker had, why a session was closed), it must say so. What has been
 * held back (a link that stands still, a process that is stopped) may come when that is over, and seem to be a late sign of life.
 */
import { systemClock } from '../../src/clock.ts'
import type { Clock } from '../../src/clock.ts'
import type { Trip } from './crowd.ts'
import type { Trace } from './trace.ts'

/** What a fault may do to clients. */
export type Effect = 'cut' | 'ended' | 'busy' | 'absent'
/** An instance that has missed something of its peers looks its sessions over, wherever the fault was, and ends those whose account has moved. */
export type Excuse = Effect | 'moved'
/** Effects, and for how many milliseconds after the fault's end they may still come. */
export type Graces = Readonly<Partial<Record<Excuse, number>>>

/** What became of a client that was not served. */
export interface Met {
  readonly trip: Trip
  readonly outcome: Effect
  /** Where it was; undefined: it did not get in. */
  readonly destination: string | undefined
  /** Clock times: of the last sign of life, and at which it knew. */
  readonly alive: number
  readonly noticed: number
  /** Whether it was at one of these, or may have been on its way there. */
  readonly goes: (destinations: readonly string[]) => boolean
  /** Whether the account belongs somewhere else by now, or, of one that did not get in, may have moved since it set out. */
  readonly left: boolean
  /** What the log says of it. */
  readonly trace: Trace
}

export type Covers = (met: Met) => boolean

/** A fault that has begun. */
export interface Begun {
  /** @param grace milliseconds for which it still explains something, instead of those that were said at its beginning */
  over(grace?: number): void
}

interface Cause {
  readonly graces: Graces
  readonly covers: Covers
  readonly shown: Covers | undefined
  readonly from: number
  /** Clock time of its end, and the grace that was given then. */
  to: number
  grace: number | undefined
  /** Clock time from which on all was well. */
  calm: number
}

interface Hold {
  readonly covers: (trip: Trip) => boolean
  readonly from: number
  to: number
}

/** What was held back has come by then. */
const RELEASED_MS = 1_000
/** Longer than a line waits to be written (LOG_FLUSH_MS), on a busy machine: what a killed process had to say of a moment before. */
export const UNWRITTEN_MS = 500
/** Signs of a session that was closed for a reason are that near, by the log's time. */
const NEAR_MS = 1_000

export class Causes {
  readonly #clock: Clock
  readonly #causes: Cause[] = []
  readonly #holds: Hold[] = []

  constructor(clock: Clock = systemClock) {
    this.#clock = clock
  }

  /** @param shown where the log must say so, what it must say; asked some time afterwards */
  begin(graces: Graces, covers: Covers, shown?: Covers): Begun {
    const cause: Cause = { graces, covers, shown, from: this.#clock.now(), to: Number.POSITIVE_INFINITY, grace: undefined, calm: Number.POSITIVE_INFINITY }
    this.#causes.push(cause)
    return {
      over: (grace) => {
        cause.to = this.#clock.now()
        cause.grace = grace
      },
    }
  }

  /** What these clients would hear is held back from now on, and comes when that is over. Excuses nothing by itself. */
  hold(covers: (trip: Trip) => boolean): { over(): void } {
    const hold: Hold = { covers, from: this.#clock.now(), to: Number.POSITIVE_INFINITY }
    this.#holds.push(hold)
    return { over: () => void (hold.to = this.#clock.now()) }
  }

  /** All faults are over and all is well: only sessions of accounts that have moved may still be found and ended. */
  calm(): void {
    const now = this.#clock.now()
    for (const cause of this.#causes) cause.calm = Math.min(cause.calm, now)
  }

  /** `asked`: it depends on what the log says (`shown`). */
  explains(met: Met): 'yes' | 'no' | 'asked' {
    const ways = this.#ways(met)
    return ways.includes(undefined) ? 'yes' : ways.length > 0 ? 'asked' : 'no'
  }

  /** The same, once the log has been read to some time after. */
  shown(met: Met): boolean {
    const ways = this.#ways(met)
    if (ways.some((said) => said?.() !== false)) return true
    // Its line was lost with the process that had not written it yet.
    const lost = this.#causes.some(({ graces, covers, from }) => graces.cut !== undefined && from > met.noticed && from <= met.noticed + UNWRITTEN_MS && covers(met))
    return lost && ways.length > 0
  }

  /** Each way in which a fault can have done it: what the log must say, or undefined where it need say nothing. */
  #ways(met: Met): ((() => boolean) | undefined)[] {
    const alive = this.#lastSign(met)
    const ways: ((() => boolean) | undefined)[] = []
    for (const { graces, covers, shown, from, to, grace, calm } of this.#causes) {
      if (from > met.noticed) continue
      const reaches = (excuse: Excuse, most: number): boolean => {
        const stated = graces[excuse]
        return stated !== undefined && alive <= Math.min(to + (grace ?? stated), most)
      }
      if (reaches(met.outcome, calm) && covers(met)) ways.push(shown === undefined ? undefined : () => shown(met))
      // Wherever the fault was. A login under way is ended, too, but nobody logs whose it was.
      if ((met.outcome === 'cut' || met.outcome === 'ended') && met.left && reaches('moved', Number.POSITIVE_INFINITY)) {
        const [since, until] = [alive - NEAR_MS, met.noticed + NEAR_MS]
        ways.push(() => (met.outcome === 'cut' ? met.trace.closedAs('moved', since, until) : met.trace.reviewed(since, until)))
      }
    }
    return ways
  }

  /** Since when it may have been over, unknown to the client. */
  #lastSign({ trip, alive, noticed }: Met): number {
    let earliest = alive
    for (const { covers, from, to } of this.#holds) {
      if (from <= noticed && to + RELEASED_MS >= alive && covers(trip)) earliest = Math.min(earliest, from)
    }
    return earliest
  }
}
