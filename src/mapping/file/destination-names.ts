/**
 * Destination names as bytes: which of the declared names do these bytes of a line spell? Answers without making a
 * string, because it is asked once per line of a file with millions of them.
 */

const BUCKETS = 256
/** Up to this many names comparing with each is quicker than hashing. */
const FEW = 6

export class DestinationNames {
  readonly names: readonly string[]
  readonly #bytes: Uint8Array[]
  readonly #buckets: number[][]
  #last = 0

  constructor(names: readonly string[]) {
    this.names = names
    this.#bytes = names.map((name) => new TextEncoder().encode(name))
    this.#buckets = Array.from({ length: BUCKETS }, () => [])
    for (const [id, bytes] of this.#bytes.entries()) this.#bucket(bytes, 0, bytes.length).push(id)
  }

  /** Position in `names` of the name that `bytes[start, end)` spells, or -1. */
  match(bytes: Uint8Array, start: number, end: number): number {
    const last = this.#bytes[this.#last]
    if (last !== undefined && same(last, bytes, start, end)) return this.#last
    if (this.#bytes.length <= FEW) {
      for (let id = 0; id < this.#bytes.length; id++) {
        const name = this.#bytes[id]
        if (name !== undefined && same(name, bytes, start, end)) return (this.#last = id)
      }
      return -1
    }
    for (const id of this.#bucket(bytes, start, end)) {
      const name = this.#bytes[id]
      if (name === undefined || !same(name, bytes, start, end)) continue
      this.#last = id
      return id
    }
    return -1
  }

  #bucket(bytes: Uint8Array, start: number, end: number): number[] {
    let hash = end - start
    for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + (bytes[i] ?? 0)) | 0
    return this.#buckets[(hash ^ (hash >>> 8)) & (BUCKETS - 1)] ?? []
  }
}

function same(name: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (name.length !== end - start) return false
  for (let i = 0; i < name.length; i++) if (name[i] !== bytes[start + i]) return false
  return true
}
