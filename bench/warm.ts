/**
 * Warming up: work until it stops getting cheaper. Just-in-time compilers need tens of thousands of sessions for that: V8
 * compiles a function for good after some thousand calls, one after the other, beside the work. What is measured
 * before is the price of having been started a moment ago (a login costs up to twice as much then), not that of running for days.
 */
import type { Bench } from './question.ts'
import type { Measured } from './stage.ts'

/** Sessions through each worker after which little is compiled any more, in the floor as in the proxy. */
export const COMPILED_AFTER = 20_000
const LONGEST_MS = 16_000
const QUICK_LONGEST_MS = 2_000
/** Cheaper than the best so far by less than this is no progress. */
const PROGRESS = 0.96
/** So many goes without progress end it. */
const PATIENCE = 2

export interface Went {
  /** What a unit of work cost. */
  readonly cost: number
  /** Units that were done. */
  readonly done: number
}

/**
 * @param least Units of work, at least; a quick run does without
 * @param go Works for a while
 */
export async function warmed({ quick }: Bench, least: number, go: () => Promise<Went>): Promise<void> {
  const end = performance.now() + (quick ? QUICK_LONGEST_MS : LONGEST_MS)
  let best = Number.POSITIVE_INFINITY
  const wanted = quick ? 0 : least
  let all = 0
  for (let idle = 0; (idle < PATIENCE || all < wanted) && performance.now() < end; ) {
    const { cost, done } = await go()
    all += done
    idle = cost < best * PROGRESS ? 0 : idle + 1
    best = Math.min(best, cost)
  }
}

export async function gone(measuring: Promise<Measured>): Promise<Went> {
  const { outcome, cost } = await measuring
  return { cost: cost.cpuSeconds / outcome.done, done: outcome.done }
}
