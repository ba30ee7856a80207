/**
 * Warming up: work until it stops getting cheaper. Just-in-time compilers need thousands of sessions, and how many
 * depends on the code and the machine; what runs compiled code is through after three goes.
 */
import type { Bench } from './question.ts'

const LONGEST_MS = 6_000
const QUICK_LONGEST_MS = 2_000
/** Cheaper than the best so far by less than this is no progress. */
const PROGRESS = 0.96
/** So many goes without progress end it. */
const PATIENCE = 3

/** @param go Works for a while; resolves with what a unit cost. */
export async function warmed({ quick }: Bench, go: () => Promise<number>): Promise<void> {
  const end = performance.now() + (quick ? QUICK_LONGEST_MS : LONGEST_MS)
  let best = Number.POSITIVE_INFINITY
  for (let idle = 0; idle < PATIENCE && performance.now() < end; ) {
    const cost = await go()
    idle = cost < best * PROGRESS ? 0 : idle + 1
    best = Math.min(best, cost)
  }
}
