/**
 * What the question about cache misses says between its two processes besides the frames, and the account that the Nth
 * lookup asks for. A process asks for another one each time, out of many more than its cache holds: no lookup is a hit.
 */

/** What the asking process is: the worker's resolver and link, or a bare message there and back. */
export type Asker = 'resolver' | 'bare'

/** To the asking process: measure. */
export interface Measure {
  readonly t: 'measure'
  readonly inFlight: number
  readonly count: number
}

/** From it. */
export interface Measured {
  readonly t: 'measured'
  /** Median time of a lookup, milliseconds. */
  readonly median: number
  readonly perSecond: number
  /** Processor time of the asking process, microseconds in all. */
  readonly cpu: number
}

/** A bare message, either way. */
export interface Bare {
  readonly t: 'bare'
  readonly id: number
}

export const ACCOUNTS = 200_000
/** Of the worker's cache. */
export const CACHED = 1_000
/** A prime that shares no factor with the number of accounts: visits all in no order. */
const STEP = 7_919_981

export function account(n: number): string {
  return `user${(n * STEP) % ACCOUNTS}@example.com`
}
