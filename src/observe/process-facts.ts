/**
 * What a process of Signalbox says of itself: processor time, memory, and how its event loop turns. The delay of the loop is
 * sampled once per turn by the runtime itself, so that an idle process is not woken up for it.
 */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import type { Clock } from '../clock.ts'

export interface ProcessFacts {
  /** Processor time since its start, seconds. */
  readonly cpuUser: number
  readonly cpuSystem: number
  /** Bytes. */
  readonly resident: number
  readonly heapUsed: number
  /** Seconds in which the event loop had something to do. */
  readonly loopActive: number
  /** How long a turn of the event loop took within the last half to whole minute, seconds. */
  readonly loopDelay: { readonly mean: number; readonly p99: number; readonly max: number }
}

/** How long a window of the event loop's delays is; what is told covers this one and the one before. */
const WINDOW_MS = 30_000
const NANOSECONDS = 1e9

type Delay = ProcessFacts['loopDelay']
const NO_DELAY: Delay = { mean: 0, p99: 0, max: 0 }

/** Watches this process from now on. */
export function watchProcess(clock: Pick<Clock, 'every'>): () => ProcessFacts {
  const delays = monitorEventLoopDelay({ samplePerIteration: true })
  delays.enable()
  let before = NO_DELAY
  const now = (): Delay =>
    delays.count === 0
      ? NO_DELAY
      : { mean: delays.mean / NANOSECONDS, p99: delays.percentile(99) / NANOSECONDS, max: delays.max / NANOSECONDS }
  clock.every(WINDOW_MS, () => {
    before = now()
    delays.reset()
  })
  return () => {
    const { user, system } = process.cpuUsage()
    const { rss, heapUsed } = process.memoryUsage()
    const current = now()
    return {
      cpuUser: user / 1e6,
      cpuSystem: system / 1e6,
      resident: rss,
      heapUsed,
      loopActive: performance.eventLoopUtilization().active / 1000,
      loopDelay: {
        mean: current.mean === 0 ? before.mean : current.mean,
        p99: Math.max(before.p99, current.p99),
        max: Math.max(before.max, current.max),
      },
    }
  }
}
