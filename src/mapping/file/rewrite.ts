/**
 * The two ways to a new mapping file: single changes merged into the table (what lies between them is copied in one
 * go), and an import merged into or put in place of everything. Both sorted, one mapping a line. Runs in the thread.
 */
import { SignalboxError } from '../../errors.ts'
import { orderTable } from './build.ts'
import { decodeChanges } from './changes.ts'
import type { Change } from './changes.ts'
import { compareCursors, Cursor } from './cursor.ts'
import { difference } from './difference.ts'
import type { Difference } from './difference.ts'
import type { Fingerprint } from './fingerprint.ts'
import { compareLines } from './line.ts'
import { load } from './load.ts'
import type { Loaded, LoadTask } from './load.ts'
import { replaceFile } from './replace.ts'
import type { Replacement } from './replace.ts'
import { Table } from './table.ts'
import type { TableData } from './table.ts'
import { LineWriter } from './writer.ts'

export interface RewriteTask {
  readonly replacement: Replacement
  /** Ordered. */
  readonly table: TableData
  /** Everything that differs from the table (encodeChanges). */
  readonly changes: Uint8Array
}

/** Returns the fingerprint of the new file. Throws SOURCE_CONFLICT, SOURCE_WRITE. */
export function rewrite(task: RewriteTask): Fingerprint {
  const table = new Table(task.table)
  const changes = decodeChanges(task.changes)
  return replaceFile(task.replacement, (descriptor) => writeMerged(descriptor, table, changes))
}

function writeMerged(descriptor: number, table: Table, changes: readonly Change[]): void {
  const writer = new LineWriter(descriptor)
  let position = 0
  for (const { line, deleted } of changes) {
    const found = table.lowerBound(line, position)
    writer.range(table, position, found)
    const present = found < table.end && compareLines(table.bytes, table.offset(found), line, 0) === 0
    position = present ? table.next(found) : found
    if (!deleted) writer.write(line, 0, line.length)
  }
  writer.range(table, position, table.end)
  writer.flush()
}

export interface ImportTask {
  readonly replacement: Replacement
  /** Where the import lies, in the format of a mapping file. */
  readonly spool: string
  readonly mode: 'merge' | 'replace'
  readonly table: TableData
  readonly changes: Uint8Array
  readonly load: LoadTask
}

export interface Imported {
  readonly loaded: Loaded
  readonly difference: Difference
  /** Different identifiers in the import. */
  readonly count: number
}

/** All that can fail happens before the rename: the new file is read back before it takes the old one's place. */
export function importAll(task: ImportTask): Imported {
  const imported = new Table(orderTable(load({ ...task.load, path: task.spool }).table))
  const changes = decodeChanges(task.changes)
  const write = (descriptor: number): void => {
    const writer = new LineWriter(descriptor)
    if (task.mode === 'replace') writer.range(imported, 0, imported.end)
    else writeBoth(writer, new Cursor(new Table(task.table), changes), new Cursor(imported, []))
    writer.flush()
  }
  let ready: { loaded: Loaded; difference: Difference } | undefined
  const fingerprint = replaceFile(task.replacement, write, () => {
    const loaded = load({ ...task.load, path: task.replacement.temporary })
    const table = orderTable(loaded.table)
    ready = { loaded: { ...loaded, table }, difference: difference(task.table, changes, table) }
  })
  if (ready === undefined) throw new SignalboxError('INTERNAL', 'an import was not read back')
  return { loaded: { ...ready.loaded, fingerprint }, difference: ready.difference, count: imported.data.count }
}

export type CompareTask = Omit<ImportTask, 'replacement'>

/** What an import would do. */
export function compareAll(task: CompareTask): Omit<Imported, 'loaded'> {
  const imported = orderTable(load({ ...task.load, path: task.spool }).table)
  return { difference: difference(task.table, decodeChanges(task.changes), imported, task.mode === 'merge'), count: imported.count }
}

/** What the second holds replaces what the first does. */
function writeBoth(writer: LineWriter, first: Cursor, second: Cursor): void {
  let hasFirst = first.advance()
  let hasSecond = second.advance()
  while (hasFirst || hasSecond) {
    const compared = !hasFirst ? 1 : !hasSecond ? -1 : compareCursors(first, second)
    const cursor = compared < 0 ? first : second
    writer.write(cursor.bytes, cursor.start, cursor.end + 1)
    if (compared <= 0) hasFirst = first.advance()
    if (compared >= 0) hasSecond = second.advance()
  }
}
