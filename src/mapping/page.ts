/**
 * One page of a store that has no order of its own: the first `limit` identifiers behind `after`, found by looking at
 * all of them and keeping the smallest, in the memory of one page. Ordered by their bytes in UTF-8, as every source is.
 */
import type { Mapping } from './source.ts'

/** Resolves with at most `limit` mappings, ordered, each identifier once. */
export async function smallestBehind(mappings: AsyncIterable<Mapping>, after: string, limit: number): Promise<Mapping[]> {
  const kept = new Map<string, Mapping>()
  let largest: string | undefined
  for await (const mapping of mappings) {
    const { identifier } = mapping
    if (compareBytes(identifier, after) <= 0 || kept.has(identifier) || limit <= 0) continue
    if (largest !== undefined && compareBytes(identifier, largest) >= 0) continue
    kept.set(identifier, mapping)
    // Cut only when there are twice as many: sorting costs little per entry then.
    if (kept.size < limit * 2) continue
    largest = cut(kept, limit)
  }
  cut(kept, limit)
  return [...kept.values()]
}

/** The order of the texts' bytes in UTF-8. Code units have the same order but for surrogates, which stand for the largest. */
export function compareBytes(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)]
    if (x !== y) return rank(x) - rank(y)
  }
  return a.length - b.length
}

function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit
}

/** Leaves the smallest ones, in order; returns the largest of them. */
function cut(kept: Map<string, Mapping>, limit: number): string | undefined {
  const sorted = [...kept.values()].sort((a, b) => compareBytes(a.identifier, b.identifier)).slice(0, limit)
  kept.clear()
  for (const mapping of sorted) kept.set(mapping.identifier, mapping)
  return sorted.length < limit ? undefined : sorted.at(-1)?.identifier
}
