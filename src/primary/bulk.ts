/**
 * The mappings as a whole, for the management API: listed, counted, exported, imported. An import is read and checked to
 * its end, then asked of the fleet (does every live peer know these destinations?), then committed, then what changed is
 * invalidated everywhere. One at a time: two would each need the disk for all of theirs, and neither operator would know
 * what holds in the end.
 */
import type { ActorRef } from '../actor/message.ts'
import type { Config } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import type { BulkImportOptions, BulkImportResult, BulkOperations, ListOptions } from '../management/bulk-operations.ts'
import type { Confirmation } from '../management/operations.ts'
import type { Changed, Mapping, MappingSource } from '../mapping/source.ts'
import { parseMappings } from '../mapping/tsv.ts'
import type { TsvCount } from '../mapping/tsv.ts'
import type { FleetMessage } from './fleet.ts'

export interface BulkOptions {
  readonly config: Pick<Config, 'mapping' | 'cluster' | 'destinations'>
  readonly source: MappingSource
  readonly fleet: ActorRef<FleetMessage>
}

const ASK_MS = 2_000
/** Over what the fleet waits for acknowledgements. */
const FLEET_MARGIN_MS = 1_000

export class MappingBulk implements BulkOperations {
  readonly #options: BulkOptions
  #importing = false

  constructor(options: BulkOptions) {
    this.#options = options
  }

  get source(): MappingSource['kind'] {
    return this.#options.source.kind
  }

  list(options: ListOptions): AsyncIterable<Mapping> {
    return this.#options.source.export(options)
  }

  summary(): Promise<ReadonlyMap<string, number>> {
    return this.#options.source.summary()
  }

  async import(body: AsyncIterable<Uint8Array>, options: BulkImportOptions): Promise<BulkImportResult> {
    if (!this.#options.source.writable) throw new SignalboxError('SOURCE_READ_ONLY', 'the mapping source is read-only')
    if (this.#importing) throw new SignalboxError('SOURCE_CONFLICT', 'another import is under way at this instance')
    this.#importing = true
    try {
      return await this.#import(body, options)
    } finally {
      this.#importing = false
    }
  }

  async #import(body: AsyncIterable<Uint8Array>, { mode, dryRun, checked, progress }: BulkImportOptions): Promise<BulkImportResult> {
    const { source } = this.#options
    let begun = false
    const importing = source.import(this.#checked(body, mode, checked), mode, { dryRun, progress, begun: () => (begun = true) })
    const { invalidate, ...counts } = await importing.catch(async (error: unknown) => {
      // Some of it is written, or may be: no cached route is beyond doubt.
      if (begun) await this.#invalidate({ all: true })
      throw error
    })
    return dryRun ? counts : { ...counts, confirmation: await this.#invalidate(invalidate) }
  }

  /** The source changes nothing before this has come to its end, so that what is thrown here undoes nothing. */
  async *#checked(body: AsyncIterable<Uint8Array>, mode: 'merge' | 'replace', checked: (count: TsvCount) => void): AsyncGenerator<Mapping> {
    const { normalize } = this.#options.config.mapping
    const declared = new Set(this.#options.config.destinations.map(({ name }) => name))
    const count: TsvCount = { lines: 0, mappings: 0, bytes: 0, furtherFields: 0 }
    const named = new Set<string>()
    for await (const mapping of parseMappings(body, { normalize, destinations: declared }, count)) {
      named.add(mapping.destination)
      yield mapping
    }
    // Most likely a pipe whose other end failed.
    if (mode === 'replace' && count.mappings === 0) {
      throw new SignalboxError('SOURCE_INVALID', 'the import holds no mapping: replacing everything by nothing is refused')
    }
    for (const destination of named) await this.#knownEverywhere(destination)
    checked(count)
  }

  async #knownEverywhere(destination: string): Promise<void> {
    const lacking = await this.#options.fleet.ask({ type: 'lacking', destination }, ASK_MS)
    if (lacking.length === 0) return
    throw new SignalboxError('BUS_PEER_LACKS', `destination "${destination}" is not declared at ${lacking.join(', ')}`)
  }

  #invalidate(changed: Changed): Promise<Confirmation> {
    const { fleet, config } = this.#options
    const reread = config.mapping.file?.shared === true
    const deadline = config.cluster.ackTimeout + FLEET_MARGIN_MS
    return changed.all
      ? fleet.ask({ type: 'invalidate-all', reread }, deadline)
      : fleet.ask({ type: 'invalidate', identifiers: changed.identifiers, reread }, deadline)
  }
}
