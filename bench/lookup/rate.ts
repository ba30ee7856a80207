/** Asks so many questions, so many of them in flight: how long does one take, and how many are answered a second? */
import { median } from '../statistics.ts'

export interface Rate {
  /** Median time of a question, milliseconds. */
  readonly median: number
  readonly perSecond: number
  /** Processor time of this process, microseconds in all. */
  readonly cpu: number
}

/** @param ask The Nth question. Rejects: the measurement fails. */
export async function rate(inFlight: number, count: number, ask: (n: number) => Promise<unknown>): Promise<Rate> {
  const times: number[] = []
  const before = process.cpuUsage()
  const began = performance.now()
  let asked = 0
  const one = async (): Promise<void> => {
    for (let start = performance.now(); asked < count; ) {
      await ask(asked++)
      const now = performance.now()
      times.push(now - start)
      start = now
    }
  }
  await Promise.all(Array.from({ length: inFlight }, one))
  const { user, system } = process.cpuUsage(before)
  return {
    median: median(times),
    perSecond: times.length / ((performance.now() - began) / 1_000),
    cpu: user + system,
  }
}
