/**
 * Durations counted into fixed buckets: one array per series, so that a process can count without a library, send what it
 * has counted as it is, and others can add it up. The bounds are those of every histogram of Signalbox.
 */

/** Upper bounds of the buckets, seconds; one more bucket takes what is longer. */
export const BUCKETS: readonly number[] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** Counts by bucket, not cumulated, and behind them the sum in seconds: `BUCKETS.length + 2` numbers. */
export type Durations = number[]

const SUM = BUCKETS.length + 1

export function noDurations(): Durations {
  return new Array<number>(SUM + 1).fill(0)
}

/** Counts one duration, given in milliseconds. */
export function count(durations: Durations, ms: number): void {
  const seconds = ms / 1000
  let bucket = 0
  while (bucket < BUCKETS.length && seconds > (BUCKETS[bucket] ?? 0)) bucket++
  durations[bucket] = (durations[bucket] ?? 0) + 1
  durations[SUM] = (durations[SUM] ?? 0) + seconds
}

/** Adds what somebody else has counted. */
export function add(to: Durations, more: readonly number[]): void {
  for (let index = 0; index <= SUM; index++) to[index] = (to[index] ?? 0) + (more[index] ?? 0)
}

/** The sum, seconds. */
export function sumOf(durations: readonly number[]): number {
  return durations[SUM] ?? 0
}
