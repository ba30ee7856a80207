/**
 * A growing run of bytes outside the JavaScript heap, which becomes the image of a table. It is reserved in the size
 * of the file: pages that are not written to cost no memory, so a file of comments does not pay for itself, and a
 * lower-cased identifier that needs more bytes than it had (`İ`) moves the whole only in the rarest case.
 */
import { SignalboxError } from '../../errors.ts'
import { MAPPING_FILE } from '../../limits.ts'

export class Image {
  /** Replaced when it grows: read it anew after `reserve`. */
  bytes: Uint8Array<SharedArrayBuffer>
  /** Bytes used. */
  length = 0

  constructor(expected: number) {
    this.bytes = new Uint8Array(new SharedArrayBuffer(expected))
  }

  /** Makes room for `more` bytes behind `length`. Throws SOURCE_INVALID beyond MAPPING_FILE. */
  reserve(more: number): void {
    const needed = this.length + more
    if (needed <= this.bytes.length) return
    if (needed > MAPPING_FILE) {
      throw new SignalboxError('SOURCE_INVALID', `mappings take more than ${MAPPING_FILE} bytes`)
    }
    const grown = new Uint8Array(new SharedArrayBuffer(Math.min(MAPPING_FILE, needed + (needed >> 1) + 4_096)))
    grown.set(this.bytes.subarray(0, this.length))
    this.bytes = grown
  }
}
