/**
 * Makes a table of an image: index and duplicates (the later line wins) in one go, the order apart, because lookups
 * don't need it and at ten million lines it takes as long as all the rest. Runs in the thread.
 */
import type { DestinationNames } from './destination-names.ts'
import { firstSlot } from './hash.ts'
import type { LineNotes } from './hash.ts'
import type { Image } from './image.ts'
import { compareLines, lineEnd, lineTab } from './line.ts'
import { orderLines } from './order.ts'
import { slotsFor } from './table.ts'
import type { TableData } from './table.ts'

export interface Lines {
  readonly image: Image
  /** One per line, in the order of the image. */
  readonly notes: LineNotes
  /** Start value of the hashes. */
  readonly seed: number
  /** Whether the lines are in order and without duplicates. */
  readonly ascending: boolean
  readonly names: DestinationNames
  /** Lines per destination. */
  readonly counts: readonly number[]
}

/** First byte of a line that a later one replaced: no identifier can begin so. */
const DEAD = 0

/** A table that can be looked up in. `duplicates`: lines that a later one replaced; they are marked in the image. */
export function buildTable(lines: Lines): { readonly table: TableData; readonly duplicates: number } {
  const bytes = new Uint8Array(lines.image.bytes.buffer, 0, lines.image.length)
  const counts = [...lines.counts]
  let duplicates = 0
  const drop = (offset: number): void => {
    const tab = lineTab(bytes, offset)
    const id = lines.names.match(bytes, tab + 1, lineEnd(bytes, tab + 1))
    counts[id] = (counts[id] ?? 0) - 1
    bytes[offset] = DEAD
    duplicates++
  }
  const index = new Uint32Array(new SharedArrayBuffer(slotsFor(lines.notes.count) * 4))
  fill(index, lines.notes, bytes, lines.ascending ? undefined : drop)
  const table = {
    image: lines.image.bytes.buffer,
    length: lines.image.length,
    count: lines.notes.count - duplicates,
    ascending: lines.ascending,
    order: undefined,
    index: index.buffer,
    seed: lines.seed,
    destinations: lines.names.names,
    counts,
  }
  return { table, duplicates }
}

/** The same table, its order known. */
export function orderTable(table: TableData): TableData {
  if (table.ascending || table.order !== undefined) return table
  const bytes = new Uint8Array(table.image, 0, table.length)
  const order = new Uint32Array(new SharedArrayBuffer(table.count * 4))
  for (let at = 0, i = 0; at < bytes.length; at = lineEnd(bytes, at) + 1) if (bytes[at] !== DEAD) order[i++] = at
  orderLines(bytes, order)
  return { ...table, order: order.buffer }
}

/** Slots of the index that are filled in one stroke: small enough for the processor's cache. */
const STROKE = 1 << 21

/**
 * Enters every line. `tags` is there when identifiers may be equal: eight bits of each slot's hash, which keep the
 * comparison, and the walk into the image that it takes, to lines that are nearly sure to be the same.
 */
function fill(index: Uint32Array, notes: LineNotes, bytes: Uint8Array, drop: ((offset: number) => void) | undefined): void {
  const slots = index.length
  const tags = drop === undefined ? undefined : new Uint8Array(slots)
  const strokes = Math.ceil(slots / STROKE)
  for (let stroke = 0; stroke < strokes; stroke++) {
    const low = (stroke / strokes) * 4_294_967_296
    const high = ((stroke + 1) / strokes) * 4_294_967_296
    let at = 0
    let left = notes.count
    for (const { hashes, lengths } of notes.blocks) {
      const lines = Math.min(left, hashes.length)
      left -= lines
      for (let i = 0; i < lines; i++) {
        const hash = hashes[i] ?? 0
        if (hash >= low && hash < high) {
          let slot = firstSlot(hash, slots)
          if (tags === undefined || drop === undefined) {
            while (index[slot] !== 0) if (++slot === slots) slot = 0
          } else {
            const tag = hash & 0xff
            for (let entry = index[slot] ?? 0; entry !== 0; entry = index[slot] ?? 0) {
              if (tags[slot] === tag && compareLines(bytes, entry - 1, bytes, at) === 0) {
                drop(entry - 1)
                break
              }
              if (++slot === slots) slot = 0
            }
            tags[slot] = tag
          }
          index[slot] = at + 1
        }
        at += lengths[i] ?? 0
      }
    }
  }
}
