/**
 * The nearest known name to one that isn't known, for "did you mean …?". Distance counts insertions, deletions,
 * replacements and swaps of neighbours (optimal string alignment). Nothing is suggested that is further away than a
 * third of the name: a wrong guess costs the reader more than none.
 */

/** Names longer than this are compared by their beginning only: the table is quadratic and the name a stranger's. */
const LONGEST = 64

/** The nearest of `known`, or undefined when none is near. Case and `-` for `_` count as no difference at all. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  const wanted = fold(name)
  let best: string | undefined
  let bestDistance = Infinity
  for (const candidate of known) {
    const folded = fold(candidate)
    let away = distance(wanted, folded)
    // One contains the other (`timeout` for `backend_timeout`): worth a guess, after real misspellings.
    const within = folded.includes(wanted) || wanted.includes(folded)
    const contained = within && Math.min(wanted.length, folded.length) >= 4
    const limit = Math.max(1, Math.floor(Math.max(wanted.length, folded.length) / 3))
    if (away > limit) {
      if (!contained) continue
      away += LONGEST
    }
    if (away < bestDistance) {
      best = candidate
      bestDistance = away
    }
  }
  return best
}

function fold(name: string): string {
  return name.slice(0, LONGEST).toLowerCase().replaceAll('-', '_')
}

/** Optimal string alignment distance. */
export function distance(left: string, right: string): number {
  let beforePrevious: number[] = []
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let row = 1; row <= left.length; row++) {
    const current = [row]
    for (let column = 1; column <= right.length; column++) {
      const same = left[row - 1] === right[column - 1]
      let cost = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + (same ? 0 : 1),
      )
      const crossed = left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1]
      const swapped = row > 1 && column > 1 && crossed
      if (swapped) cost = Math.min(cost, (beforePrevious[column - 2] ?? 0) + 1)
      current.push(cost)
    }
    beforePrevious = previous
    previous = current
  }
  return previous[right.length] ?? 0
}
