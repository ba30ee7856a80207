/**
 * Writes lines to a descriptor in large pieces. Small runs are gathered in a buffer, long ones go out of the image as
 * they lie.
 */
import { writeSync } from 'node:fs'
import { lineEnd } from './line.ts'
import type { Table } from './table.ts'

const BUFFER = 1 << 20
/** Runs at least this long are not copied into the buffer. */
const DIRECT = 1 << 16
/** What one system call is given at most. */
const PIECE = 1 << 23

export class LineWriter {
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
    for (let position = from; position < to; position++) {
      const offset = table.offset(position)
      this.write(table.bytes, offset, lineEnd(table.bytes, offset) + 1)
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
