/**
 * What an instance may have missed of the bus, and what it makes of that: everything cached becomes doubtful, it is counted,
 * and nothing ends. Before the bus is joined nothing is cached, so that nothing can be doubtful. Most reasons are worth a line
 * in the log; the ordinary course of things and what is told otherwise are not.
 */
import { claimedName } from '../bus/frame.ts'
import type { Clock } from '../clock.ts'
import { BUS_STANDING_LOG_MS } from '../limits.ts'
import { Seldom } from '../observe/seldom.ts'
import type { Continuity, Proven } from './peers.ts'
import { Strangers } from './strangers.ts'
import type { StrangersStatus } from './strangers.ts'

/** All that a frame, or an answer, can show to be missing. */
export type Missed = Exclude<Continuity, 'next' | 'repeated'> | NonNullable<Proven['missed']>

const WHY: Readonly<Record<Missed, (instance: string) => string>> = {
  gap: (instance) => `frames of peer ${instance} were missed`,
  restarted: (instance) => `peer ${instance} has started anew`,
  new: (instance) => `peer ${instance} has appeared`,
  unheard: (instance) => `peer ${instance} was there without our knowing`,
  rewound: (instance) => `frames under the name of peer ${instance} were not its own`,
  older: (instance) => `peer ${instance} sends under an older epoch`,
  untracked: (instance) => `there are too many peers to follow ${instance}`,
}
/** Those after which frames of a peer are missing for sure. */
const GAPS: ReadonlySet<Missed> = new Set(['gap', 'restarted', 'unheard', 'rewound'])

export interface BusDoubtsOptions {
  readonly clock: Clock
  /**
   * Everything cached is doubtful. Called once per turn of the event loop, or twice when the second reason is worth a line
   * and the first was not; the same for one after which kicks are missing, too (`kicks`). `quiet`: the reason is told
   * otherwise, or is the ordinary course of things.
   */
  readonly doubt: (reason: string, quiet: boolean, kicks: boolean) => void
  readonly told: {
    /** Somebody else uses our name. Seldom; `times`: his frames since. */
    twin(times: number): void
    /** Frames could not be believed. Seldom; `times`: how many since. */
    strangers(status: StrangersStatus, times: number): void
  }
}

export class BusDoubts {
  /** `invalid`: frames that could not be read, or that nobody may send so. */
  readonly counters = { gaps: 0, invalid: 0, doubts: 0 }
  readonly #options: BusDoubtsOptions
  readonly #strangers = new Strangers()
  readonly #standing: Seldom
  #possible = false
  /** In this turn; undefined: not yet. */
  #doubted: { loudly: boolean; kicks: boolean } | undefined

  constructor(options: BusDoubtsOptions) {
    this.#options = options
    this.#standing = new Seldom(options.clock, BUS_STANDING_LOG_MS)
  }

  /** Something may be cached from now on. */
  begin(): void {
    this.#possible = true
  }

  /** Nothing is to be told any more. */
  end(): void {
    this.#possible = false
  }

  /** Those whose frames could not be believed; undefined: there were none. */
  get strangers(): StrangersStatus | undefined {
    return this.#strangers.status
  }

  missed(instance: string, what: Missed): void {
    if (this.#possible && GAPS.has(what)) this.counters.gaps++
    this.doubt(WHY[what](instance), what === 'new', GAPS.has(what))
  }

  /** What was said meanwhile was said to others. */
  away(reason: string): void {
    this.doubt(reason, false, true)
  }

  /** A frame of somebody who is believed, with a content that isn't one. */
  invalid(reason: string): void {
    this.counters.invalid++
    this.doubt(reason)
  }

  /** A frame of which not even the sender can be believed. */
  stranger(frame: Buffer, reason: string): void {
    this.counters.invalid++
    const status = this.#strangers.heard(claimedName(frame), reason, this.#options.clock.wall())
    const times = this.#standing.times('strangers')
    if (times !== undefined) this.#options.told.strangers(status, times)
    this.doubt(reason, true)
  }

  /** What another says under our name nobody can follow. While joining it may be a late word of our own former life. */
  twin(): void {
    if (!this.#possible) return
    this.doubt('somebody else sends under our name', true)
    const times = this.#standing.times('twin')
    if (times !== undefined) this.#options.told.twin(times)
  }

  /**
   * Once per turn of the event loop: what comes in one piece was sent before any cache could have asked again after the
   * first doubt, so that one doubt covers it all; and a flood of frames must not become a flood of messages to the workers.
   */
  doubt(reason: string, quiet = false, kicks = false): void {
    if (!this.#possible) return
    const before = this.#doubted
    if (before !== undefined && (quiet || before.loudly) && (!kicks || before.kicks)) return
    if (before === undefined) queueMicrotask(() => (this.#doubted = undefined))
    this.#doubted = { loudly: !quiet || before?.loudly === true, kicks: kicks || before?.kicks === true }
    this.counters.doubts++
    this.#options.doubt(reason, quiet, kicks)
  }
}
