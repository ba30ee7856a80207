/**
 * One page of a store that has no order of its own: the first `limit` identifiers behind `after`, found by looking at
 * all of them and keeping the smallest, in the memory of one page. Ordered by UTF-16 code units, which is what `<` does.
 */
import type { Mapping } from './source.ts'

/** Resolves with at most `limit` mappings, ordered, each identifier once. */
export async function smallestBehind(mappings: AsyncIterable<Mapping>, after: string, limit: number): Promise<Mapping[]> {
  const kept = new Map<string, Mapping>()
  let largest: string | undefined
  for await (const mapping of mappings) {
    const { identifier } = mapping
    if (identifier <= after || kept.has(identifier) || limit <= 0) continue
    if (largest !== undefined && identifier >= largest) continue
    kept.set(identifier, mapping)
    // Cut only when there are twice as many: sorting costs little per entry then.
    if (kept.size < limit * 2) continue
    largest = cut(kept, limit)
  }
  cut(kept, limit)
  return [...kept.values()]
}

/** Leaves the smallest ones, in order; returns the largest of them. */
function cut(kept: Map<string, Mapping>, limit: number): string | undefined {
  const sorted = [...kept.values()].sort((a, b) => (a.identifier < b.identifier ? -1 : 1)).slice(0, limit)
  kept.clear()
  for (const mapping of sorted) kept.set(mapping.identifier, mapping)
  return sorted.length < limit ? undefined : sorted.at(-1)?.identifier
}
