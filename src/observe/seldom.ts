/**
 * Keeps one cause from filling the log: for each key the first occurrence is let through at once, later ones at most every
 * so often, with how many there were since. Bounded: only so many keys are remembered.
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'

interface Known {
  quietUntil: number
  unsaid: number
}

const KEYS = 1_000

export class Seldom {
  readonly #clock: Pick<Clock, 'now'>
  readonly #pause: number
  readonly #known = new LRUCache<string, Known>({ max: KEYS })

  /** @param pause milliseconds between two lines of one key */
  constructor(clock: Pick<Clock, 'now'>, pause: number) {
    this.#clock = clock
    this.#pause = pause
  }

  /** How often it has happened since the last line, this time included; undefined: not to be said now. */
  times(key: string): number | undefined {
    const now = this.#clock.now()
    const known = this.#known.get(key)
    if (known === undefined) {
      this.#known.set(key, { quietUntil: now + this.#pause, unsaid: 0 })
      return 1
    }
    known.unsaid++
    if (now < known.quietUntil) return undefined
    const times = known.unsaid
    known.unsaid = 0
    known.quietUntil = now + this.#pause
    return times
  }
}
