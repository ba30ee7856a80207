/**
 * The grammar of mapping files: UTF-8, one mapping a line (identifier, tabs or spaces, destination), blank lines and
 * `#` comments ignored, a BOM and CRLF accepted. Takes the file in pieces of any size and appends normalised lines to
 * an Image. It collects every mistake with its line and refuses nothing by itself; the caller looks at `mistakes`.
 *
 * Identifiers are normalised like everywhere else (case only: a master-user suffix is something that logins carry, so
 * a line `user%master` is not cut to `user`, which would move somebody else's account). ASCII goes byte by byte, all
 * else through identity/identifier.ts.
 *
 * Speed: lines that are in the image's form already (all of them in a file that Signalbox wrote) are only looked at,
 * and copied many at a time; `#clean` is the one loop that millions of lines go through.
 */
import { isUtf8 } from 'node:buffer'
import { asSignalboxError } from '../../errors.ts'
import { IDENTIFIER, MAPPING_LINE } from '../../limits.ts'
import { MistakeList } from '../mistakes.ts'
import type { DestinationNames } from './destination-names.ts'
import { finish, LineNotes, mix } from './hash.ts'
import type { Image } from './image.ts'
import { compareLines, CR, HASH, LF, QUOTE, SPACE, TAB } from './line.ts'
import { storable } from './storable.ts'

export type Normalize = 'none' | 'lowercase'

const BOM = [0xef, 0xbb, 0xbf]
const DELETE = 0x7f
const UPPER_A = 0x41
const UPPER_Z = 0x5a

/** Bytes that end the clean part of an identifier or destination: separators, and whatever needs a closer look. */
function stops(needsLook: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (byte <= SPACE || byte >= DELETE || needsLook(byte) ? 1 : 0))
}
const IDENTIFIER_STOPS = stops((byte) => byte === QUOTE)
const IDENTIFIER_STOPS_LOWER = stops((byte) => byte === QUOTE || (byte >= UPPER_A && byte <= UPPER_Z))
const DESTINATION_STOPS = stops(() => false)

export class Parser {
  readonly mistakes = new MistakeList()
  /** One entry for each mapping appended, duplicates included. */
  readonly notes = new LineNotes()
  /** Mappings appended per destination, duplicates included. */
  readonly counts: number[]
  /** Lines that are comments. */
  comments = 0
  /** Lines with more than two fields. */
  furtherFields = 0
  /** True while every identifier was greater than the one before: neither disorder nor duplicates. */
  ascending = true

  readonly #image: Image
  readonly #names: DestinationNames
  readonly #normalize: Normalize
  readonly #lower: boolean
  readonly #seed: number
  readonly #stops: Uint8Array
  /** The beginning of a line whose end has not been seen: BOM, a whole line, CR, and a byte that makes it too long. */
  readonly #carry = new Uint8Array(BOM.length + MAPPING_LINE + 2)
  #carried = 0
  #line = 0
  /** Where the mapping before the current one begins: in the chunk while it waits to be copied, else in the image. */
  #previousBytes: Uint8Array
  #previous = -1

  constructor(image: Image, names: DestinationNames, options: { normalize: Normalize; seed: number }) {
    this.#image = image
    this.#names = names
    this.#normalize = options.normalize
    this.#lower = options.normalize === 'lowercase'
    this.#seed = options.seed
    this.#stops = this.#lower ? IDENTIFIER_STOPS_LOWER : IDENTIFIER_STOPS
    this.#previousBytes = image.bytes
    this.counts = new Array<number>(names.names.length).fill(0)
  }

  push(piece: Uint8Array): void {
    // One kind of array everywhere (no Buffers), and no look beyond its end: the loops below depend on both.
    const chunk = new Uint8Array(piece.buffer, piece.byteOffset, piece.length)
    const whole = chunk.lastIndexOf(LF) + 1
    let start = 0
    if (this.#carried > 0 && whole > 0) {
      start = chunk.indexOf(LF) + 1
      this.#keep(chunk, 0, start - 1)
      this.#flush()
    }
    let copied = start
    while (start < whole) {
      const next = this.#clean(chunk, start)
      if (next > 0) {
        start = next
        continue
      }
      this.#copy(chunk, copied, start)
      const end = chunk.indexOf(LF, start)
      this.#parse(chunk, start, end)
      start = copied = end + 1
    }
    this.#copy(chunk, copied, start)
    this.#keep(chunk, start, chunk.length)
  }

  /** The file ends here; a last line needs no line feed. */
  end(): void {
    if (this.#carried > 0) this.#flush()
  }

  /**
   * Takes the line at `start` when it has the form that it has in the image, and returns where the next one begins;
   * otherwise 0, and nothing has happened.
   */
  #clean(bytes: Uint8Array, start: number): number {
    const stops = this.#stops
    let hash = this.#seed
    let at = start
    let byte = bytes[at] ?? 0
    if (byte === HASH) return 0
    while (stops[byte] === 0) {
      hash = mix(hash, byte)
      byte = bytes[++at] ?? 0
    }
    if (byte !== TAB || at === start || at - start > IDENTIFIER) return 0
    const destination = ++at
    byte = bytes[at] ?? 0
    while (DESTINATION_STOPS[byte] === 0) byte = bytes[++at] ?? 0
    if (byte !== LF || at - start > MAPPING_LINE) return 0
    const id = this.#names.match(bytes, destination, at)
    if (id < 0) return 0
    this.#line++
    this.#count(bytes, start, id)
    this.notes.add(finish(hash), at + 1 - start)
    return at + 1
  }

  /** Appends clean lines. */
  #copy(bytes: Uint8Array, from: number, to: number): void {
    if (from === to) return
    const image = this.#image
    image.reserve(to - from)
    image.bytes.set(bytes.subarray(from, to), image.length)
    this.#previousBytes = image.bytes
    this.#previous += image.length - from
    image.length += to - from
  }

  #count(bytes: Uint8Array, start: number, id: number): void {
    if (this.ascending && this.#previous >= 0) {
      this.ascending = compareLines(this.#previousBytes, this.#previous, bytes, start) < 0
    }
    this.#previousBytes = bytes
    this.#previous = start
    this.counts[id] = (this.counts[id] ?? 0) + 1
  }

  #flush(): void {
    const end = this.#carried
    this.#carried = 0
    this.#parse(this.#carry, 0, end)
  }

  #keep(chunk: Uint8Array, start: number, end: number): void {
    const room = this.#carry.length - this.#carried
    // What does not fit is dropped: the line is too long already and will be told so.
    const taken = Math.min(room, end - start)
    this.#carry.set(chunk.subarray(start, start + taken), this.#carried)
    this.#carried += taken
  }

  #parse(bytes: Uint8Array, from: number, to: number): void {
    this.#line++
    let start = from
    let end = to
    if (this.#line === 1 && BOM.every((byte, i) => i < end - from && bytes[from + i] === byte)) start += BOM.length
    if (end > start && bytes[end - 1] === CR) end--
    if (end - start > MAPPING_LINE) return this.#mistake(`longer than ${MAPPING_LINE} bytes`)
    while (start < end && (bytes[start] === SPACE || bytes[start] === TAB)) start++
    if (start >= end) return
    if (bytes[start] === HASH) {
      this.comments++
      if (!isUtf8(bytes.subarray(start, end))) this.#mistake('not valid UTF-8')
      return
    }
    this.#mapping(bytes, start, end)
  }

  #mapping(bytes: Uint8Array, start: number, end: number): void {
    const image = this.#image
    image.reserve(end - start + 2)
    const out = image.bytes
    const lineStart = image.length
    let write = lineStart
    let at = start
    let wide = 0
    let bad = false
    for (; at < end; at++) {
      let byte = bytes[at] ?? 0
      if (byte === TAB || byte === SPACE) break
      if (byte >= UPPER_A && byte <= UPPER_Z && this.#lower) byte += 0x20
      else if (byte < SPACE || byte === QUOTE || byte === DELETE) bad = true
      wide |= byte
      out[write++] = byte
    }
    const identifierEnd = at
    while (at < end && (bytes[at] === TAB || bytes[at] === SPACE)) at++
    const destinationStart = at
    while (at < end) {
      const byte = bytes[at] ?? 0
      if (byte === TAB || byte === SPACE) break
      wide |= byte
      at++
    }
    const destinationEnd = at
    while (at < end && (bytes[at] === TAB || bytes[at] === SPACE)) at++
    const further = at < end
    if ((further || wide >= 0x80) && !isUtf8(bytes.subarray(start, end))) return this.#mistake('not valid UTF-8')
    if (destinationStart === destinationEnd) return this.#mistake('fewer than two fields')
    if (bad || wide >= 0x80 || write - lineStart > IDENTIFIER) {
      const normalized = this.#general(bytes, start, identifierEnd)
      if (normalized === undefined) return
      image.reserve(normalized.length + destinationEnd - destinationStart + 2)
      image.bytes.set(normalized, lineStart)
      write = lineStart + normalized.length
    }
    const id = this.#names.match(bytes, destinationStart, destinationEnd)
    if (id < 0) {
      return this.#mistake(`destination ${quoted(bytes.subarray(destinationStart, destinationEnd))} is not declared`)
    }
    if (further) this.furtherFields++
    this.#append(lineStart, write, bytes.subarray(destinationStart, destinationEnd), id)
  }

  /** The identifier's bytes when it isn't plain ASCII; undefined when it was noted as a mistake. */
  #general(bytes: Uint8Array, start: number, end: number): Uint8Array | undefined {
    try {
      const name = Buffer.from(bytes.subarray(start, end)).toString()
      return Buffer.from(storable(name, this.#normalize))
    } catch (thrown) {
      const error = asSignalboxError(thrown)
      if (error.code !== 'CLIENT_BAD_IDENTIFIER') throw error
      this.#mistake(error.message)
      return undefined
    }
  }

  /** Completes the line whose identifier stands in the image from `lineStart` to `tab`. */
  #append(lineStart: number, tab: number, destination: Uint8Array, id: number): void {
    const image = this.#image
    const out = image.bytes
    let hash = this.#seed
    for (let i = lineStart; i < tab; i++) hash = mix(hash, out[i] ?? 0)
    out[tab] = TAB
    out.set(destination, tab + 1)
    image.length = tab + 1 + destination.length
    out[image.length++] = LF
    this.#count(out, lineStart, id)
    this.notes.add(finish(hash), image.length - lineStart)
  }

  #mistake(message: string): void {
    this.mistakes.add(this.#line, message)
  }
}

/** A name out of a stranger's file, fit for a message. */
function quoted(bytes: Uint8Array): string {
  return JSON.stringify(Buffer.from(bytes.subarray(0, 64)).toString()) + (bytes.length > 64 ? ' …' : '')
}
