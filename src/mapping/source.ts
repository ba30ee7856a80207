/**
 * A mapping source says which destination holds an account. Identifiers that come in here are already normalised
 * (identity/identifier.ts); destinations are names. One conformance suite (test/conformance/mapping-source.ts) runs
 * over every implementation.
 *
 * Errors are SignalboxErrors: SOURCE_UNAVAILABLE, SOURCE_TIMEOUT (lookups and writes), SOURCE_READ_ONLY,
 * SOURCE_CONFLICT (the file changed on disk), SOURCE_INVALID (a bad file or import, `MappingMistakes` as cause),
 * SOURCE_WRITE (disk full, permission), SOURCE_NOT_REPLICATED.
 */

import type { Leases } from './lease.ts'

/** The half of a source that a resolver needs. For Redis and SQL every worker has its own; for the file it asks the primary. */
export interface MappingLookup {
  /**
   * The destination's name; undefined: no mapping. Rejects with SOURCE_UNAVAILABLE or SOURCE_TIMEOUT; with SOURCE_INVALID
   * when there is an entry that can't be read (a key of another type, a value longer than any name): that is a failure of
   * the store, since "no mapping" would move the account.
   */
  lookup(identifier: string): Promise<string | undefined>
  close(): Promise<void>
}

/** One mapping of an import or export. */
export interface Mapping {
  readonly identifier: string
  readonly destination: string
}

/** What must be invalidated after a change that was not a single put or delete. */
export type Changed = { readonly all: true } | { readonly all: false; readonly identifiers: readonly string[] }

export interface ReloadResult {
  readonly added: number
  readonly changed: number
  readonly removed: number
  readonly invalidate: Changed
  /** Warnings of the load: duplicates, further fields … one sentence each. */
  readonly warnings: readonly string[]
}

export interface ImportResult {
  readonly added: number
  readonly changed: number
  readonly removed: number
  readonly unchanged: number
  readonly invalidate: Changed
}

export interface ImportOptions {
  /** Everything but the change: reads, checks, compares with what there is, and counts. */
  readonly dryRun?: boolean
  /**
   * Called before anything changes that a failure may leave changed: each batch in Redis, the commit in a database. The
   * file's own import leaves nothing behind, or reports what it does.
   */
  readonly begun?: () => void
  /** Told now and then how many of the checked mappings are through, where the source can say. */
  readonly progress?: (done: number) => void
}

/** A mistake in a mapping file or import. */
export interface MappingMistake {
  /** 1-based. */
  readonly line: number
  readonly message: string
}

/** From what to what; undefined: no mapping. */
export interface Exchanged {
  readonly from: string | undefined
  readonly to: string | undefined
}

/** What a source goes by that keeps and checks a copy of all mappings. */
export interface SourceRules {
  readonly normalize: 'none' | 'lowercase'
  /** Names of the declared destinations. */
  readonly destinations: readonly string[]
}

/** A source that was read by other rules, and waits. */
export interface RulesReady {
  readonly warnings: readonly string[]
  /** Goes by them from now on, all at once. Gives what must be invalidated. */
  readonly use: () => Changed
}

/** The primary's whole source. */
export interface MappingSource extends MappingLookup, Leases {
  readonly kind: 'file' | 'redis' | 'sql'
  readonly writable: boolean
  /** Whether changes that others make at the store are seen at once; absent: the source can't see them. */
  readonly watch?: 'off' | 'on' | 'unavailable'
  /** Commits the mapping; resolves when a lookup that begins now sees it. */
  put(identifier: string, destination: string): Promise<void>
  /** Commits the removal. True when there was a mapping. */
  delete(identifier: string): Promise<boolean>
  /**
   * Commits `to` (undefined: no mapping) if the store holds `from` at that moment. False: it holds something else, and
   * nothing was written.
   */
  exchange(identifier: string, change: Exchanged): Promise<boolean>
  /** Re-reads the source where it keeps a copy (the file); others resolve with zeros. Rejects with SOURCE_INVALID and changes nothing when the file is bad. */
  reload(): Promise<ReloadResult>
  /**
   * Reads all mappings by other rules, and lets nobody write until `act` has decided: where that neither uses them nor
   * throws, or throws, all stays as it was. Rejects as `reload` does, and with what `act` throws. Absent where the source
   * keeps no copy.
   */
  underRules?(rules: SourceRules, act: (ready: RulesReady) => Promise<void>): Promise<void>
  /** All mappings, ordered by identifier where the source can, in constant memory. */
  export(options?: { prefix?: string; destination?: string; after?: string; limit?: number }): AsyncIterable<Mapping>
  /**
   * Merges (or replaces all) in one transaction or group commit. All of it is read and checked before anything changes:
   * when the iterable throws, so does this, and nothing has changed. A dry run counts an account that comes twice once.
   */
  import(mappings: AsyncIterable<Mapping> | Iterable<Mapping>, mode: 'merge' | 'replace', options?: ImportOptions): Promise<ImportResult>
  /** How many mappings there are per destination name. */
  summary(): Promise<ReadonlyMap<string, number>>
  /**
   * Changes that somebody else made (the file replaced, a key set by hand). `doubt`: something may have been missed,
   * everything cached becomes doubtful. Set once, before the first lookup.
   */
  onChange(listener: (change: Changed | { readonly doubt: true; readonly reason: string }) => void): void
}
