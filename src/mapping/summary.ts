/** How many mappings there are per destination, in bounded memory: a store may hold any number of different values. */
import { SUMMARY_VALUES } from '../limits.ts'
import type { Mapping } from './source.ts'

/** Under this key stand all values beyond the first SUMMARY_VALUES. No destination is called so. */
export const OTHER_VALUES = '(others)'

export async function summarise(mappings: AsyncIterable<Mapping>): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>()
  for await (const { destination } of mappings) {
    const known = counts.has(destination) || counts.size < SUMMARY_VALUES
    const key = known ? destination : OTHER_VALUES
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return counts
}
