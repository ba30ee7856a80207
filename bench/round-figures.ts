/** The figures of a round, of whatever came and went so many times: how fast, and at what cost. */
import type { Outcome } from './load/job.ts'
import type { Measured } from './stage.ts'
import { quantile } from './statistics.ts'

/** Units a second, and milliseconds until one is answered: the median and the 99th percentile. */
export function speedFigures({ done, seconds, latencies }: Outcome): Readonly<Record<'rate' | 'latency' | 'late', number>> {
  return { rate: done / seconds, latency: quantile(latencies, 0.5) / 1_000, late: quantile(latencies, 0.99) / 1_000 }
}

/** The same with processor time, in µs a unit, and the cores that were used and wanted. */
export function costFigures({ outcome, cost }: Measured): Readonly<Record<'cpu' | 'rate' | 'latency' | 'late' | 'cores' | 'wanted', number>> {
  return { cpu: (cost.cpuSeconds * 1e6) / outcome.done, ...speedFigures(outcome), cores: cost.cores, wanted: cost.wanted }
}
