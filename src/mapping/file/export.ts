/**
 * Exports: the mappings in order of their identifiers' bytes, as they were when the export began, in constant memory.
 */
import type { Mapping } from '../source.ts'
import type { Change } from './changes.ts'
import { Cursor } from './cursor.ts'
import type { Table } from './table.ts'

export interface ExportOptions {
  readonly prefix?: string
  readonly destination?: string
  /** Begins behind this identifier, whether there is such a mapping or not. */
  readonly after?: string
  readonly limit?: number
}

/** Lines that are looked at before others get the event loop: a consumer that never waits would have it to itself. */
const STRIDE = 500

/** The table must be ordered. */
export async function* exportMappings(
  table: Table,
  changes: readonly Change[],
  { prefix = '', destination, after, limit = Infinity }: ExportOptions,
): AsyncGenerator<Mapping> {
  const from = after !== undefined && Buffer.compare(Buffer.from(after), Buffer.from(prefix)) > 0 ? after : prefix
  const cursor = new Cursor(table, changes, new TextEncoder().encode(`${from}\t`))
  let given = 0
  for (let seen = 1; given < limit && cursor.advance(); seen++) {
    if (seen % STRIDE === 0) await new Promise((resolve) => setImmediate(resolve))
    const mapping = { identifier: cursor.identifier, destination: cursor.destination }
    if (!mapping.identifier.startsWith(prefix)) return
    if (mapping.identifier === after) continue
    if (destination !== undefined && mapping.destination !== destination) continue
    given++
    yield mapping
  }
}
