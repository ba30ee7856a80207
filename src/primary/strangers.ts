/**
 * Whoever publishes on our channel what we can't believe: no or another secret, an HMAC where we have no secret, or no frame
 * at all. What is told of them are their own words, so that an operator finds the instance with the wrong configuration; nothing
 * is ever done because of them. Without clock or transport.
 */
import { BUS_STRANGERS } from '../limits.ts'

export interface StrangersStatus {
  readonly frames: number
  /** The names that the frames bore, the first BUS_STRANGERS of them; anybody can write any name. */
  readonly names: readonly string[]
  /** Milliseconds since 1970 of the first and of the last. */
  readonly since: number
  readonly last: number
  /** What was wrong with the last. */
  readonly reason: string
}

export class Strangers {
  readonly #names = new Set<string>()
  #frames = 0
  #since = 0
  #last = 0
  #reason = ''

  /** @param name the name that the frame bore; undefined: none that could be one */
  heard(name: string | undefined, reason: string, wall: number): StrangersStatus {
    if (this.#frames === 0) this.#since = wall
    this.#frames++
    this.#last = wall
    this.#reason = reason
    if (name !== undefined && this.#names.size < BUS_STRANGERS) this.#names.add(name)
    return this.#status()
  }

  /** Undefined: there were none. */
  get status(): StrangersStatus | undefined {
    return this.#frames === 0 ? undefined : this.#status()
  }

  #status(): StrangersStatus {
    return { frames: this.#frames, names: [...this.#names], since: this.#since, last: this.#last, reason: this.#reason }
  }
}
