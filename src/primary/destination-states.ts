/**
 * What operators made of the destinations by hand: `up`, `drain` (nobody new, live sessions are ended over time) or `down`
 * (nobody new). One state per destination for the whole fleet: each carries the time at which it was given, and the latest
 * counts wherever it is heard, in whatever order. An instance that starts learns it from its peers; nothing is written to
 * disk, so a fleet that stops as a whole begins with every destination up.
 */
import type { GivenState, OperatorState } from '../bus/payload.ts'
import type { Clock } from '../clock.ts'

/** What counts when two were given in one millisecond: the more careful. */
const CARE: Readonly<Record<OperatorState, number>> = { up: 0, drain: 1, down: 2 }

export class DestinationStates {
  readonly #clock: Pick<Clock, 'wall'>
  readonly #given = new Map<string, GivenState>()

  constructor(clock: Pick<Clock, 'wall'>) {
    this.#clock = clock
  }

  /** A state given here and now: later than whatever is known, also where this host's clock is behind. */
  give(destination: string, state: OperatorState): GivenState {
    const known = this.#given.get(destination)
    return { destination, state, at: Math.max(Math.floor(this.#clock.wall()), (known?.at ?? 0) + 1) }
  }

  /** False: something later, or this very state, is known already. */
  adopt(given: GivenState): boolean {
    if (!this.isNews(given)) return false
    const { destination, state, at } = given
    this.#given.set(destination, { destination, state, at })
    return true
  }

  isNews({ destination, state, at }: GivenState): boolean {
    const known = this.#given.get(destination)
    return known === undefined || at > known.at || (at === known.at && CARE[state] > CARE[known.state])
  }

  of(destination: string): OperatorState {
    return this.#given.get(destination)?.state ?? 'up'
  }

  /** Everything that was ever given, `up` included: it may be news to others. */
  all(): readonly GivenState[] {
    return [...this.#given.values()]
  }
}
