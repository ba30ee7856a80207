/**
 * The mappings in force: a table and the committed changes on top of it, newest first asked. A change costs an entry
 * here instead of a new table; when there are many, a table with them in it takes over (`rebase`).
 */
import { encodeChanges } from './changes.ts'
import { reclaim } from './reclaim.ts'
import { Table } from './table.ts'
import type { TableData } from './table.ts'

interface Entry {
  /** Undefined: deleted. */
  readonly destination: string | undefined
  /** Number of the commit that it came with. */
  readonly commit: number
}

export class Current {
  #table: Table
  readonly #overlay = new Map<string, Entry>()
  readonly #counts = new Map<string, number>()

  constructor(table: TableData) {
    this.#table = new Table(table)
    this.#recount()
  }

  get table(): Table {
    return this.#table
  }

  /** Changes on top of the table. */
  get overlaid(): number {
    return this.#overlay.size
  }

  find(identifier: string): string | undefined {
    const entry = this.#overlay.get(identifier)
    return entry === undefined ? this.#table.find(identifier) : entry.destination
  }

  /** Takes in the changes of one commit. */
  apply(changes: ReadonlyMap<string, string | undefined>, commit: number): void {
    for (const [identifier, destination] of changes) {
      this.#count(this.find(identifier), -1)
      this.#count(destination, 1)
      this.#overlay.set(identifier, { destination, commit })
    }
  }

  /** The same table, its order known. */
  ordered(table: TableData): void {
    this.#table = new Table(table)
  }

  /** A table that holds all commits up to and with `commit`. */
  rebase(table: TableData, commit: number): void {
    this.#exchange(table)
    for (const [identifier, entry] of this.#overlay) if (entry.commit <= commit) this.#overlay.delete(identifier)
  }

  /** Another state altogether. */
  replace(table: TableData): void {
    this.#exchange(table)
    this.#overlay.clear()
    this.#recount()
  }

  /** Everything that differs from the table, `more` winning, as the thread takes it. */
  changes(more?: ReadonlyMap<string, string | undefined>): Uint8Array {
    const all = new Map<string, string | undefined>()
    for (const [identifier, { destination }] of this.#overlay) all.set(identifier, destination)
    for (const [identifier, destination] of more ?? []) all.set(identifier, destination)
    return encodeChanges(all)
  }

  summary(): ReadonlyMap<string, number> {
    return new Map([...this.#counts].filter(([, count]) => count > 0))
  }

  #exchange(table: TableData): void {
    const old = this.#table.data
    this.#table = new Table(table)
    reclaim(old)
  }

  #recount(): void {
    this.#counts.clear()
    for (const [id, name] of this.#table.data.destinations.entries()) {
      this.#counts.set(name, this.#table.data.counts[id] ?? 0)
    }
  }

  #count(destination: string | undefined, by: number): void {
    if (destination !== undefined) this.#counts.set(destination, (this.#counts.get(destination) ?? 0) + by)
  }
}
