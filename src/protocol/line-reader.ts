/**
 * Bytes from a peer, held until a whole line (or literal) of them is there. Shared by every dialogue, on both legs.
 * A chunk that holds whole lines is read where it lies; only what is left over is copied, in `settle`, because the
 * session may read into the same memory again. It finds line ends and nothing else: limits are the caller's, who
 * knows what kind of line it waits for. The trade-off: views are only good until the next feed, consume or settle.
 */
const NOTHING = Buffer.alloc(0)
const LF = 0x0a
const CR = 0x0d
const SMALLEST = 256

export class LineReader {
  #bytes: Buffer = NOTHING
  #start = 0
  #end = 0
  /** Up to here no LF was found by the last search; spares a slow peer's bytes from being searched again. */
  #searched = 0
  /** Whether #bytes is ours to write into; else it is the caller's chunk. */
  #own = false

  /** Bytes held. */
  get length(): number {
    return this.#end - this.#start
  }

  /** The byte at `offset` of what is held; undefined behind its end. */
  at(offset: number): number | undefined {
    return offset < this.length ? this.#bytes[this.#start + offset] : undefined
  }

  /** Adds bytes. The chunk may be reused by the caller once `settle` has returned. */
  feed(chunk: Buffer): void {
    if (chunk.length === 0) return
    const length = this.length
    if (length === 0) {
      this.#bytes = chunk
      this.#start = 0
      this.#end = chunk.length
      this.#searched = 0
      this.#own = false
      return
    }
    this.#reserve(length + chunk.length)
    chunk.copy(this.#bytes, this.#end)
    this.#end += chunk.length
  }

  /** The offset behind the next LF at or after `from`; -1 when none is held. `from` never goes back between consumes. */
  lineEnd(from = 0): number {
    const begin = Math.max(this.#start + from, this.#searched)
    if (begin >= this.#end) return -1
    const found = this.#bytes.indexOf(LF, begin)
    if (found < 0 || found >= this.#end) {
      this.#searched = this.#end
      return -1
    }
    return found + 1 - this.#start
  }

  /** A view of the bytes between two offsets. */
  view(from: number, to: number): Buffer {
    return this.#bytes.subarray(this.#start + from, this.#start + to)
  }

  /** The offset where the text of a line that ends at `end` (from lineEnd) stops: before its CRLF or bare LF. */
  textEnd(from: number, end: number): number {
    return end - 2 >= from && this.#bytes[this.#start + end - 2] === CR ? end - 2 : end - 1
  }

  /** Forgets the first `count` bytes. */
  consume(count: number): void {
    this.#start += count
    if (this.#start >= this.#end) this.drop()
  }

  /** Takes what is left into memory of our own. To be called before the caller's chunk is reused. */
  settle(): void {
    if (!this.#own && this.length > 0) this.#reserve(this.length)
  }

  /** A copy of everything held, which is then forgotten. */
  takeAll(): Buffer {
    const all = Buffer.from(this.view(0, this.length))
    this.drop()
    return all
  }

  /** Forgets everything. */
  drop(): void {
    this.#bytes = NOTHING
    this.#start = this.#end = this.#searched = 0
    this.#own = false
  }

  /** Makes sure that `size` bytes, those held included, fit into memory of our own; grows by doubling. */
  #reserve(size: number): void {
    const { length } = this
    if (this.#own && this.#start + size <= this.#bytes.length) return
    const searched = this.#searched - this.#start
    if (this.#own && size * 2 <= this.#bytes.length) {
      this.#bytes.copyWithin(0, this.#start, this.#end)
    } else {
      const grown = Buffer.allocUnsafe(Math.max(SMALLEST, size > length ? size * 2 : size))
      this.#bytes.copy(grown, 0, this.#start, this.#end)
      this.#bytes = grown
      this.#own = true
    }
    this.#start = 0
    this.#end = length
    this.#searched = searched
  }
}
