/**
 * A histogram of prom-client whose buckets were counted elsewhere: it observes nothing, and shows what it was last given.
 */
import { Histogram } from 'prom-client'
import type { Registry } from 'prom-client'
import { BUCKETS } from '../observe/durations.ts'

/** One series: `durations` as observe/durations.ts counts them, `sum` in seconds. */
export interface Series {
  readonly labels: Readonly<Record<string, string>>
  readonly durations: readonly number[]
  readonly sum: number
}

interface Options {
  readonly name: string
  readonly help: string
  readonly labelNames: readonly string[]
  readonly registers: Registry[]
}

export class ServedHistogram extends Histogram {
  readonly described: { readonly name: string; readonly type: string; readonly help: string; readonly labels: readonly string[] }
  #series: readonly Series[] = []

  constructor({ name, help, labelNames, registers }: Options) {
    super({ name, help, labelNames: [...labelNames], registers, buckets: [...BUCKETS] })
    this.described = { name, type: 'histogram', help, labels: labelNames }
  }

  serve(series: readonly Series[]): void {
    this.#series = series
  }

  /** What the registry asks a histogram for when it writes text: cumulated buckets, sum and count. */
  getForPromString() {
    const { name, help, type } = this.described
    const values = this.#series.flatMap(({ labels, durations, sum }) => {
      let cumulated = 0
      const buckets = [...BUCKETS, '+Inf'].map((le, index) => {
        cumulated += durations[index] ?? 0
        return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: cumulated }
      })
      return [
        ...buckets,
        { metricName: `${name}_sum`, labels, value: sum },
        { metricName: `${name}_count`, labels, value: cumulated },
      ]
    })
    return Promise.resolve({ name, help, type, values })
  }
}
