/**
 * Bytes that both ends of a bridge can make by themselves: a block of noise, read round and round from a place that a number
 * names. Its length is a prime, so that a chunk of a usual size that is lost, doubled or moved can't go unnoticed.
 */
import { createHash } from 'node:crypto'

const LENGTH = 65_521
const NOISE = makeNoise()

/** A reader of the noise from a place on. */
export class Cargo {
  #at: number

  constructor(seed: number) {
    this.#at = seed % LENGTH
  }

  /** The next `count` bytes at most; what it gives must not be changed. */
  next(count: number): Buffer {
    const piece = NOISE.subarray(this.#at, Math.min(LENGTH, this.#at + count))
    this.#at = (this.#at + piece.length) % LENGTH
    return piece
  }

  /** Whether these are the next bytes. */
  matches(bytes: Buffer): boolean {
    for (let done = 0; done < bytes.length; ) {
      const piece = this.next(bytes.length - done)
      if (piece.compare(bytes, done, done + piece.length) !== 0) return false
      done += piece.length
    }
    return true
  }
}

/** The SHA-256 of the first `count` bytes from a place on, in hex. */
export function cargoHash(seed: number, count: number): string {
  const hash = createHash('sha256')
  const cargo = new Cargo(seed)
  for (let left = count; left > 0; ) {
    const piece = cargo.next(left)
    hash.update(piece)
    left -= piece.length
  }
  return hash.digest('hex')
}

/** The same in every process: xorshift, from a number that means nothing. */
function makeNoise(): Buffer {
  const noise = Buffer.alloc(LENGTH)
  let state = 0x9e3779b9
  for (let index = 0; index < LENGTH; index++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    noise[index] = state & 0xff
  }
  return noise
}
