/**
 * Walks through a table and the changes on top of it as through one ordered list, without a string per line. Both are
 * only read; a cursor sees the state that it was made with, whatever is committed meanwhile.
 */
import type { Change } from './changes.ts'
import { compareLines, lineEnd, lineTab } from './line.ts'
import type { Table } from './table.ts'

export class Cursor {
  /** The current line stands in `bytes` from `start`, its tab at `tab`, its line feed at `end`; valid after `advance`. */
  bytes: Uint8Array
  start = 0
  tab = 0
  end = 0

  readonly #table: Table
  readonly #changes: readonly Change[]
  #position: number
  #change = 0

  /** Begins at the first identifier, or the first that is not below the one of `from` (a tab behind it). */
  constructor(table: Table, changes: readonly Change[], from?: Uint8Array) {
    this.#table = table
    this.#changes = changes
    this.bytes = table.bytes
    this.#position = from === undefined ? 0 : table.lowerBound(from)
    if (from === undefined) return
    while (this.#change < changes.length && compareLines(this.#changeAt().line, 0, from, 0) < 0) this.#change++
  }

  /** Goes to the next mapping; false at the end. */
  advance(): boolean {
    const table = this.#table
    for (;;) {
      const inTable = this.#position < table.end
      if (this.#change >= this.#changes.length) return inTable && this.#takeLine()
      const { line, deleted } = this.#changeAt()
      const compared = inTable ? compareLines(table.bytes, table.offset(this.#position), line, 0) : 1
      if (compared < 0) return this.#takeLine()
      if (compared === 0) this.#position = table.next(this.#position)
      this.#change++
      if (deleted) continue
      this.#stand(line, 0)
      return true
    }
  }

  #takeLine(): boolean {
    this.#stand(this.#table.bytes, this.#table.offset(this.#position))
    this.#position = this.#table.next(this.#position)
    return true
  }

  #stand(bytes: Uint8Array, start: number): void {
    this.bytes = bytes
    this.start = start
    this.tab = lineTab(bytes, start)
    this.end = lineEnd(bytes, this.tab)
  }

  #changeAt(): Change {
    const change = this.#changes[this.#change]
    if (change === undefined) throw new RangeError('no change left')
    return change
  }

  get identifier(): string {
    return Buffer.from(this.bytes.buffer, this.bytes.byteOffset + this.start, this.tab - this.start).toString()
  }

  get destination(): string {
    return Buffer.from(this.bytes.buffer, this.bytes.byteOffset + this.tab + 1, this.end - this.tab - 1).toString()
  }
}

/** Compares the identifiers that two cursors stand at. */
export function compareCursors(a: Cursor, b: Cursor): number {
  return compareLines(a.bytes, a.start, b.bytes, b.start)
}

/** Whether two cursors' destinations are the same. */
export function sameDestination(a: Cursor, b: Cursor): boolean {
  const length = a.end - a.tab
  if (length !== b.end - b.tab) return false
  for (let i = 1; i < length; i++) if (a.bytes[a.tab + i] !== b.bytes[b.tab + i]) return false
  return true
}
