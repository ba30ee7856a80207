/**
 * The hash of identifiers: FNV-1a from a start value that differs per table (nobody can choose names that collide),
 * with a final mixing, because the index is probed linearly.
 */

/** One step, for one byte. */
export function mix(hash: number, byte: number): number {
  return Math.imul(hash ^ byte, 0x01000193)
}

/** The end of a hash: mixes its bits. 32 bits, unsigned. */
export function finish(hash: number): number {
  let h = hash ^ (hash >>> 16)
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** The slot where a probe begins, of `slots`: grows with the finished hash. */
export function firstSlot(finished: number, slots: number): number {
  return Math.floor((finished / 4_294_967_296) * slots)
}

const BLOCK = 1 << 18

/** What the parser notes of every line for whoever builds the index: finished hash and length. Grows without being copied. */
export class LineNotes {
  count = 0
  /** Filled but for the end of the last one. */
  readonly blocks: { readonly hashes: Uint32Array; readonly lengths: Uint16Array }[] = []
  #hashes = new Uint32Array(0)
  #lengths = new Uint16Array(0)

  /** `length`: of the line in the image, with its line feed. */
  add(hash: number, length: number): void {
    const at = this.count & (BLOCK - 1)
    if (at === 0) {
      this.#hashes = new Uint32Array(BLOCK)
      this.#lengths = new Uint16Array(BLOCK)
      this.blocks.push({ hashes: this.#hashes, lengths: this.#lengths })
    }
    this.#hashes[at] = hash
    this.#lengths[at] = length
    this.count++
  }
}
