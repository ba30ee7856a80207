/** The few statistics that rounds need. Quartiles are interpolated linearly between the neighbours (type 7). */

export interface Spread {
  readonly rounds: number
  readonly median: number
  readonly least: number
  readonly most: number
  readonly lowerQuartile: number
  readonly upperQuartile: number
}

/** @param share 0 … 1; NaN of nothing */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const below = sorted[Math.floor(at)] ?? Number.NaN
  const above = sorted[Math.ceil(at)] ?? Number.NaN
  return below + (above - below) * (at - Math.floor(at))
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

export function spread(values: readonly number[]): Spread {
  return {
    rounds: values.length,
    median: median(values),
    least: quantile(values, 0),
    most: quantile(values, 1),
    lowerQuartile: quantile(values, 0.25),
    upperQuartile: quantile(values, 0.75),
  }
}

/** Ratios round by round; rounds that only one of the two has are left out. */
export function ratios(values: readonly number[], of: readonly number[]): number[] {
  return values.flatMap((value, round) => {
    const other = of[round]
    return other === undefined || other === 0 ? [] : [value / other]
  })
}
