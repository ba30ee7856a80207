/**
 * Puts the lines of an image in order of their identifiers' bytes: a multikey quicksort (Bentley and Sedgewick, 1997)
 * that keeps the next six bytes of every line beside its offset, so that most comparisons stay out of the image,
 * where each would miss the processor's cache. Needs 12 bytes a line, 8 of them until it is done.
 */
import { compareLines, TAB } from './line.ts'

/** Below this many lines insertion is quicker than partitioning. */
const SMALL = 12
/** Bytes of an identifier in a key: as many as a double holds exactly. */
const KEY = 6

/** Sorts `offsets` (beginnings of lines in `image`, their identifiers all different) in place. Equal ones come in any order. */
export function orderLines(image: Uint8Array, offsets: Uint32Array): void {
  new Sorter(image, offsets).sort(0, offsets.length, 0)
}

/** Lines whose bytes are touched, for the processor to fetch many at a time, before they are looked at. */
const BATCH = 512

class Sorter {
  /** Keeps the reads that only touch from being optimised away. */
  touched = 0
  readonly #image: Uint8Array
  readonly #offsets: Uint32Array
  readonly #keys: Float64Array

  constructor(image: Uint8Array, offsets: Uint32Array) {
    this.#image = image
    this.#offsets = offsets
    this.#keys = new Float64Array(offsets.length)
  }

  /** Sorts [from, to), whose identifiers agree in their first `depth` bytes. */
  sort(from: number, to: number, depth: number): void {
    const image = this.#image
    const offsets = this.#offsets
    const keys = this.#keys
    for (let first = from; first < to; first += BATCH) {
      const last = Math.min(first + BATCH, to)
      let touched = 0
      for (let i = first; i < last; i++) touched ^= image[(offsets[i] ?? 0) + depth] ?? 0
      this.touched = touched
      for (let i = first; i < last; i++) keys[i] = keyAt(image, (offsets[i] ?? 0) + depth)
    }
    this.#partition(from, to, depth)
  }

  /** The same with `keys` filled in. The larger side is looped over, so the stack stays logarithmic. */
  #partition(first: number, last: number, depth: number): void {
    const offsets = this.#offsets
    const keys = this.#keys
    let from = first
    let to = last
    while (to - from > SMALL) {
      const pivot = this.#pivot(from, to)
      let less = from
      let greater = to
      for (let i = from; i < greater; ) {
        const value = keys[i] ?? 0
        const offset = offsets[i] ?? 0
        if (value < pivot) {
          keys[i] = keys[less] ?? 0
          offsets[i++] = offsets[less] ?? 0
          keys[less] = value
          offsets[less++] = offset
        } else if (value > pivot) {
          keys[i] = keys[--greater] ?? 0
          offsets[i] = offsets[greater] ?? 0
          keys[greater] = value
          offsets[greater] = offset
        } else i++
      }
      // A last byte of zero says that the identifiers end within the key: equal ones would be sorted for ever.
      if (greater - less > 1 && pivot % 0x100 !== 0) this.sort(less, greater, depth + KEY)
      if (less - from < to - greater) {
        this.#partition(from, less, depth)
        from = greater
      } else {
        this.#partition(greater, to, depth)
        to = less
      }
    }
    this.#insert(from, to, depth)
  }

  #pivot(from: number, to: number): number {
    const keys = this.#keys
    const step = (to - from) >> 3
    const a = middle(keys[from] ?? 0, keys[from + step] ?? 0, keys[from + 2 * step] ?? 0)
    const b = middle(keys[from + 3 * step] ?? 0, keys[from + 4 * step] ?? 0, keys[from + 5 * step] ?? 0)
    const c = middle(keys[from + 6 * step] ?? 0, keys[from + 7 * step] ?? 0, keys[to - 1] ?? 0)
    return middle(a, b, c)
  }

  #insert(from: number, to: number, depth: number): void {
    const image = this.#image
    const offsets = this.#offsets
    const keys = this.#keys
    for (let i = from + 1; i < to; i++) {
      const offset = offsets[i] ?? 0
      const value = keys[i] ?? 0
      let j = i
      for (; j > from; j--) {
        const before = keys[j - 1] ?? 0
        if (before < value) break
        if (before === value && compareLines(image, (offsets[j - 1] ?? 0) + depth, image, offset + depth) < 0) break
        keys[j] = before
        offsets[j] = offsets[j - 1] ?? 0
      }
      keys[j] = value
      offsets[j] = offset
    }
  }
}

/** Six bytes of an identifier from `at` as one number, the first one highest; zeros behind the identifier's end. */
function keyAt(image: Uint8Array, at: number): number {
  let high = 0
  let low = 0
  let i = 0
  for (; i < 3; i++) {
    const byte = image[at + i] ?? TAB
    if (byte === TAB) break
    high |= byte << (16 - 8 * i)
  }
  for (; i >= 3 && i < KEY; i++) {
    const byte = image[at + i] ?? TAB
    if (byte === TAB) break
    low |= byte << (40 - 8 * i)
  }
  return high * 0x1000000 + low
}

function middle(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c))
}
