/**
 * A bounded queue of messages with counters. It owns the waiting messages and nothing else. A ring that grows up to
 * the bound: what happens beyond it is decided by the actor (`overflow`), counted here, and never silent.
 */

export interface MailboxCounters {
  /** Messages waiting now. */
  readonly waiting: number
  /** The most that ever waited. */
  readonly highWater: number
  /** Messages taken in since the start. */
  readonly accepted: number
  /** Messages turned away because the bound was reached. */
  readonly refused: number
}

export class Mailbox<T> {
  readonly #bound: number
  #ring: (T | undefined)[]
  #head = 0
  #size = 0
  #highWater = 0
  #accepted = 0
  #refused = 0

  constructor(bound: number) {
    this.#bound = bound
    this.#ring = new Array<T | undefined>(Math.min(16, bound))
  }

  /** False when full: the message was not taken and was counted as refused. */
  push(message: T): boolean {
    if (this.#size >= this.#bound) {
      this.#refused++
      return false
    }
    if (this.#size === this.#ring.length) this.#grow()
    this.#ring[(this.#head + this.#size) % this.#ring.length] = message
    this.#size++
    this.#accepted++
    if (this.#size > this.#highWater) this.#highWater = this.#size
    return true
  }

  shift(): T | undefined {
    if (this.#size === 0) return undefined
    const message = this.#ring[this.#head]
    this.#ring[this.#head] = undefined
    this.#head = (this.#head + 1) % this.#ring.length
    this.#size--
    return message
  }

  get counters(): MailboxCounters {
    return { waiting: this.#size, highWater: this.#highWater, accepted: this.#accepted, refused: this.#refused }
  }

  get size(): number {
    return this.#size
  }

  #grow(): void {
    const larger = new Array<T | undefined>(Math.min(this.#bound, this.#ring.length * 2))
    for (let index = 0; index < this.#size; index++) larger[index] = this.#ring[(this.#head + index) % this.#ring.length]
    this.#ring = larger
    this.#head = 0
  }
}
