/** Keeps so many questions in flight for a while: how long does one take, and how many are answered a second? */
import { median } from '../statistics.ts'

export interface Rate {
  /** Median time of a question, milliseconds. */
  readonly median: number
  readonly perSecond: number
}

/** @param ask The Nth question. Rejects: the measurement fails. */
export async function rate(inFlight: number, ms: number, ask: (n: number) => Promise<unknown>): Promise<Rate> {
  const times: number[] = []
  const began = performance.now()
  const end = began + ms
  let asked = 0
  const one = async (): Promise<void> => {
    for (let start = performance.now(); start < end; ) {
      await ask(asked++)
      const now = performance.now()
      times.push(now - start)
      start = now
    }
  }
  await Promise.all(Array.from({ length: inFlight }, one))
  return { median: median(times), perSecond: times.length / ((performance.now() - began) / 1_000) }
}
