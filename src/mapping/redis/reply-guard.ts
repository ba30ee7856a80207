/**
 * Counts the bytes of each reply on a connection before the client library gathers them, so that a value of half a
 * gigabyte, or a server that never ends its answer, costs REDIS_REPLY bytes and not the process. It reads lengths only:
 * RESP2's five types (RESP specification, "RESP protocol description"), and leaves mistakes in the grammar to the client.
 */

const CR = 13
const DOLLAR = 36
const STAR = 42
const MINUS = 45
const ZERO = 48

/** Follows one connection from its first byte. */
export class ReplyGuard {
  readonly #limit: number
  /** Values that the reply under way still lacks; 0: between replies. */
  #missing = 0
  #size = 0
  /** Bytes of a bulk string, with its line end, still to come. */
  #skip = 0
  /** Type of the line being read; 0: none. */
  #type = 0
  #length = 0
  #negative = false
  #inDigits = true

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Takes the next bytes. False: a reply exceeds the limit, or announces that it will. */
  accept(bytes: Buffer): boolean {
    let at = 0
    while (at < bytes.length) {
      if (this.#skip > 0) {
        const taken = Math.min(this.#skip, bytes.length - at)
        this.#skip -= taken
        at += taken
        if (this.#skip === 0) this.#valueEnded()
        continue
      }
      const byte = bytes[at++] ?? 0
      if (this.#type === 0) this.#lineBegins(byte)
      if (++this.#size > this.#limit) return false
      if (byte === 10) {
        if (!this.#lineEnds()) return false
      } else if (this.#inDigits && byte !== this.#type) this.#digit(byte)
    }
    return true
  }

  #lineBegins(byte: number): void {
    if (this.#missing === 0) {
      this.#missing = 1
      this.#size = 0
    }
    this.#type = byte
    this.#length = 0
    this.#negative = false
    this.#inDigits = byte === DOLLAR || byte === STAR
  }

  #digit(byte: number): void {
    if (byte === MINUS) this.#negative = true
    else if (byte >= ZERO && byte <= ZERO + 9) this.#length = Math.min(this.#length * 10 + byte - ZERO, 2 ** 40)
    else if (byte === CR) this.#inDigits = false
  }

  #lineEnds(): boolean {
    const type = this.#type
    this.#type = 0
    if (type === DOLLAR && !this.#negative) {
      this.#skip = this.#length + 2
      this.#size += this.#skip
      return this.#size <= this.#limit
    }
    if (type === STAR && !this.#negative) this.#missing += this.#length
    this.#valueEnded()
    // Each value that is announced takes at least three bytes.
    return this.#size + this.#missing * 3 <= this.#limit
  }

  #valueEnded(): void {
    this.#missing--
  }
}
