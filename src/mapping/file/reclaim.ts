/**
 * Lets go of replaced tables in time. V8 does not count shared memory, so it sees no reason to collect the few bytes
 * that hold on to half a gigabyte, and a quiet primary would keep every table it ever had. Claiming, for a moment,
 * ordinary memory of that size (never touched, so none is taken) makes it start a collection in the background.
 */
import type { TableData } from './table.ts'

/** Tables below this are left to the next collection that comes by itself. */
const WORTHWHILE = 1 << 24

/** Call when nothing refers to `table` any more. Returns the bytes claimed, 0 for a small table. */
export function reclaim(table: TableData): number {
  const bytes = table.image.byteLength + table.index.byteLength + (table.order?.byteLength ?? 0)
  if (bytes < WORTHWHILE) return 0
  return new ArrayBuffer(bytes).byteLength
}
