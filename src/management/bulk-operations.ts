/** What the management API may ask of the mappings as a whole. Single mappings are in operations.ts. */
import type { Mapping } from '../mapping/source.ts'
import type { TsvCount } from '../mapping/tsv.ts'
import type { Confirmation } from './operations.ts'

export interface ListOptions {
  readonly prefix?: string
  readonly destination?: string
  /** Begins behind this identifier, whether it is mapped or not. */
  readonly after?: string
  readonly limit?: number
}

export interface BulkImportOptions {
  readonly mode: 'merge' | 'replace'
  readonly dryRun: boolean
  /** Called once, when all of the body has come and nothing is wrong with it; only now something changes. */
  readonly checked: (count: TsvCount) => void
  /** How many mappings are through; now and then, where the source can say. */
  readonly progress: (done: number) => void
}

export interface BulkImportResult {
  readonly added: number
  readonly changed: number
  readonly removed: number
  readonly unchanged: number
  /** Absent after a dry run. */
  readonly confirmation?: Confirmation
}

export interface BulkOperations {
  readonly source: 'file' | 'redis' | 'sql'
  /** Ordered by the identifiers' bytes when `limit` is given, and where the source can. Throws SOURCE_READ_ONLY where it can't list. */
  list(options: ListOptions): AsyncIterable<Mapping>
  /** Destination → accounts; values that are no declared destination too. Rejects as `list` throws. */
  summary(): Promise<ReadonlyMap<string, number>>
  /**
   * Takes in mappings as text. Until `checked` is called every failure has changed nothing: SOURCE_INVALID (its cause:
   * which lines), SOURCE_READ_ONLY, SOURCE_CONFLICT (another import is under way), BUS_PEER_LACKS, SOURCE_WRITE (no room
   * for what came), and what `body` throws.
   */
  import(body: AsyncIterable<Uint8Array>, options: BulkImportOptions): Promise<BulkImportResult>
}
