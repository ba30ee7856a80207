/**
 * What the sources say in the log, and how often. A store with a million bad values must not fill a disk: the same
 * sentence about the same thing comes once a minute, and only so many things are remembered.
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'

/** The part of the log that a source uses; pino's logger fits. */
export interface SourceLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

const PAUSE_MS = 60_000
const REMEMBERED = 1_000

/** Lets a thing through once a minute. */
export class OnceAMinute {
  readonly #clock: Clock
  readonly #last = new LRUCache<string, number>({ max: REMEMBERED })

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** True when `thing` was not let through within the last minute. */
  allows(thing: string): boolean {
    const now = this.#clock.now()
    const last = this.#last.get(thing)
    if (last !== undefined && now - last < PAUSE_MS) return false
    this.#last.set(thing, now)
    return true
  }
}
