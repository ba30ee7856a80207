/**
 * Writes lines to a descriptor in large pieces. Small runs are gathered in a buffer, long ones go out of the image as
 * they lie.
 */
import { writeSync } from 'node:fs'
import { IDENTIFIER, MAPPING_LINE } from '../../limits.ts'
import { LF } from './line.ts'
import type { Table } from './table.ts'

const BUFFER = 1 << 20
/** Runs at least this long are not copied into the buffer. */
const DIRECT = 1 << 16
/** What one system call is given at most. */
const PIECE = 1 << 23

/** Lines that are gathered in one go. */
const BATCH = 512
/** A line in an image: what it was in a file, or an identifier that normalising made longer and the rest. */
const LONGEST = IDENTIFIER + MAPPING_LINE + 2

export class LineWriter {
  /** Keeps the reads that only touch from being optimised away. */
  touched = 0
  readonly #descriptor: number
  readonly #buffer = new Uint8Array(BUFFER)
  #used = 0

  constructor(descriptor: number) {
    this.#descriptor = descriptor
  }

  /** bytes[from, to). Throws what the system says: ENOSPC, EIO, EFBIG. */
  write(bytes: Uint8Array, from: number, to: number): void {
    if (to - from >= DIRECT) {
      this.flush()
      return this.#out(bytes, from, to)
    }
    if (this.#used + to - from > BUFFER) this.flush()
    if (to - from < 256) for (let i = from; i < to; i++) this.#buffer[this.#used++] = bytes[i] ?? 0
    else {
      this.#buffer.set(bytes.subarray(from, to), this.#used)
      this.#used += to - from
    }
  }

  /** The table's lines at the positions [from, to). */
  range(table: Table, from: number, to: number): void {
    if (table.data.ascending) return this.write(table.bytes, from, to)
    for (let position = from; position < to; position += BATCH) {
      this.#gather(table, position, Math.min(position + BATCH, to))
    }
  }

  /** Lines that lie anywhere: all are touched first, so that the processor fetches many at a time. */
  #gather(table: Table, from: number, to: number): void {
    const bytes = table.bytes
    let touched = 0
    for (let position = from; position < to; position++) {
      const offset = table.offset(position)
      touched ^= (bytes[offset] ?? 0) ^ (bytes[offset + 63] ?? 0)
    }
    this.touched = touched
    for (let position = from; position < to; position++) {
      if (this.#used + LONGEST > BUFFER) this.flush()
      const buffer = this.#buffer
      let used = this.#used
      for (let at = table.offset(position); ; at++) {
        const byte = bytes[at] ?? LF
        buffer[used++] = byte
        if (byte === LF) break
      }
      this.#used = used
    }
  }

  flush(): void {
    this.#out(this.#buffer, 0, this.#used)
    this.#used = 0
  }

  #out(bytes: Uint8Array, from: number, to: number): void {
    for (let at = from; at < to; ) at += writeSync(this.#descriptor, bytes, at, Math.min(PIECE, to - at))
  }
}
