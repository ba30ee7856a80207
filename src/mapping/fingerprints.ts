/**
 * A set of identifiers for which a string each would be too much: 16 bytes of SHA-256 instead (two of ten million
 * clash with a probability below 10^-24). Split into shards so that growing one takes a millisecond and not a second of
 * the event loop.
 */
import { createHash } from 'node:crypto'

const SHARDS = 256
const WORDS = 4
const FIRST_SLOTS = 64

/** Open addressing with linear probing; a slot whose words are all zero is empty. */
class Shard {
  #slots = new Uint32Array(FIRST_SLOTS * WORDS)
  #used = 0

  /** True when it was not there. */
  add(words: Uint32Array): boolean {
    if ((this.#used + 1) * 4 > (this.#slots.length / WORDS) * 3) this.#grow()
    const at = this.#find(words)
    if (!isEmpty(this.#slots, at)) return false
    this.#slots.set(words, at)
    this.#used++
    return true
  }

  has(words: Uint32Array): boolean {
    return !isEmpty(this.#slots, this.#find(words))
  }

  /** Where it is, or the empty slot where it belongs. */
  #find(words: Uint32Array): number {
    const slots = this.#slots
    const count = slots.length / WORDS
    // The last word chooses the slot; the first chose the shard.
    for (let slot = (words[WORDS - 1] ?? 0) & (count - 1); ; slot = (slot + 1) & (count - 1)) {
      const at = slot * WORDS
      if (isEmpty(slots, at)) return at
      let same = true
      for (let i = 0; i < WORDS && same; i++) same = slots[at + i] === words[i]
      if (same) return at
    }
  }

  #grow(): void {
    const old = this.#slots
    this.#slots = new Uint32Array(old.length * 2)
    for (let at = 0; at < old.length; at += WORDS) {
      if (isEmpty(old, at)) continue
      const words = old.subarray(at, at + WORDS)
      this.#slots.set(words, this.#find(words))
    }
  }
}

export class Fingerprints {
  readonly #shards = Array.from({ length: SHARDS }, () => new Shard())

  /** True when it was not there. */
  add(identifier: string): boolean {
    const words = fingerprint(identifier)
    return this.#shard(words).add(words)
  }

  has(identifier: string): boolean {
    const words = fingerprint(identifier)
    return this.#shard(words).has(words)
  }

  #shard(words: Uint32Array): Shard {
    const shard = this.#shards[(words[0] ?? 0) % SHARDS]
    if (shard === undefined) throw new RangeError('no such shard')
    return shard
  }
}

function fingerprint(identifier: string): Uint32Array {
  const digest = createHash('sha256').update(identifier, 'utf8').digest()
  const words = new Uint32Array(WORDS)
  for (let i = 0; i < WORDS; i++) words[i] = digest.readUInt32LE(i * 4)
  // All zeros mark an empty slot.
  if (isEmpty(words, 0)) words[0] = SHARDS
  return words
}

function isEmpty(slots: Uint32Array, at: number): boolean {
  return slots[at] === 0 && slots[at + 1] === 0 && slots[at + 2] === 0 && slots[at + 3] === 0
}
