/**
 * The table of a mapping file, outside the JavaScript heap and shared between threads: the image (every mapping as the
 * line that it is in a file, normalised) and an open-addressing index of offsets into it. Read only once it is built.
 *
 * Trade-offs: the destination stands in the image by name instead of as an integer, which costs its letters once per
 * line and makes a rewrite a copy of memory instead of ten million formatted lines. A file that was not in order keeps
 * an array of offsets that says the order (4 bytes a line) instead of a second image beside the first.
 */
import { DestinationNames } from './destination-names.ts'
import { finish, firstSlot, mix } from './hash.ts'
import { compareLines, lineEnd, lineTab, TAB } from './line.ts'
import { IDENTIFIER } from '../../limits.ts'

/** What goes between threads. */
export interface TableData {
  /** Lines `identifier TAB destination LF`. */
  readonly image: SharedArrayBuffer
  /** Bytes of the image in use. */
  readonly length: number
  /** Mappings. */
  readonly count: number
  /** Whether the lines of the image are in order of their identifiers' bytes. */
  readonly ascending: boolean
  /** Otherwise the offsets (32 bits each) of the lines in that order; undefined: not known yet. */
  readonly order: SharedArrayBuffer | undefined
  /** Offset + 1 (32 bits each) of the line whose identifier's hash leads here; 0 is free. Probed linearly. */
  readonly index: SharedArrayBuffer
  /** Start value of the hash: another one per table, so that nobody can choose names that collide. */
  readonly seed: number
  readonly destinations: readonly string[]
  /** Mappings per destination, in the order of `destinations`. */
  readonly counts: readonly number[]
}

/** Free slots for every ten mappings, and as many again filled: three eighths of the index are free. */
const SLOTS_PER_MAPPING = 1.6

export function slotsFor(count: number): number {
  return Math.ceil(count * SLOTS_PER_MAPPING) + 8
}

export class Table {
  readonly data: TableData
  /** The image's bytes in use. */
  readonly bytes: Uint8Array
  readonly #index: Uint32Array
  readonly #order: Uint32Array | undefined
  readonly #names: DestinationNames
  readonly #scratch = Buffer.alloc(IDENTIFIER)

  constructor(data: TableData) {
    this.data = data
    this.bytes = new Uint8Array(data.image, 0, data.length)
    this.#index = new Uint32Array(data.index)
    this.#order = data.order === undefined ? undefined : new Uint32Array(data.order)
    this.#names = new DestinationNames(data.destinations)
  }

  /** The destination's name; undefined: no mapping. Makes no garbage. */
  find(identifier: string): string | undefined {
    const length = identifier.length
    if (length > IDENTIFIER) return undefined
    const scratch = this.#scratch
    let hash = this.data.seed
    for (let i = 0; i < length; i++) {
      const unit = identifier.charCodeAt(i)
      if (unit >= 0x80) return this.#findWide(identifier)
      scratch[i] = unit
      hash = mix(hash, unit)
    }
    return this.#probe(length, hash)
  }

  #findWide(identifier: string): string | undefined {
    // A lone surrogate would be looked up as U+FFFD, which is another account.
    if (!identifier.isWellFormed() || Buffer.byteLength(identifier) > IDENTIFIER) return undefined
    const length = this.#scratch.write(identifier)
    let hash = this.data.seed
    for (let i = 0; i < length; i++) hash = mix(hash, this.#scratch[i] ?? 0)
    return this.#probe(length, hash)
  }

  #probe(length: number, hash: number): string | undefined {
    const index = this.#index
    const slots = index.length
    for (let slot = firstSlot(finish(hash), slots); ; ) {
      const entry = index[slot] ?? 0
      if (entry === 0) return undefined
      if (this.#same(entry - 1, length)) return this.destination(entry - 1 + length)
      if (++slot === slots) slot = 0
    }
  }

  #same(offset: number, length: number): boolean {
    const bytes = this.bytes
    const scratch = this.#scratch
    for (let i = 0; i < length; i++) if (bytes[offset + i] !== scratch[i]) return false
    return bytes[offset + length] === TAB
  }

  /** The name behind the tab at `tab`. */
  destination(tab: number): string | undefined {
    const id = this.#names.match(this.bytes, tab + 1, lineEnd(this.bytes, tab + 1))
    return this.data.destinations[id]
  }

  /** Whether positions can be used: the image is in order or an order is known. */
  get ordered(): boolean {
    return this.data.ascending || this.#order !== undefined
  }

  // Positions run from 0 to `end` in order of the identifiers; what they count is the table's own affair.

  /** The position behind the last mapping. */
  get end(): number {
    return this.#order === undefined ? this.data.length : this.data.count
  }

  /** Where the line at a position begins in `bytes`. */
  offset(position: number): number {
    return this.#order === undefined ? position : (this.#order[position] ?? 0)
  }

  next(position: number): number {
    return this.#order === undefined ? lineEnd(this.bytes, position) + 1 : position + 1
  }

  /** First position whose identifier is not below the one that `line` begins with, a tab behind it. */
  lowerBound(line: Uint8Array, from = 0): number {
    const bytes = this.bytes
    let low = from
    let high = this.end
    while (low < high) {
      let middle = low + Math.floor((high - low) / 2)
      if (this.#order === undefined) while (middle > low && bytes[middle - 1] !== 0x0a) middle--
      if (compareLines(bytes, this.offset(middle), line, 0) < 0) low = this.next(middle)
      else high = middle
    }
    return low
  }

  /** The identifier of the line that begins at `offset`. */
  identifier(offset: number): string {
    return Buffer.from(this.bytes.buffer, offset, lineTab(this.bytes, offset) - offset).toString()
  }
}
