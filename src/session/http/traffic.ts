/**
 * What moves in one exchange: the bytes of both bodies, counted for the exchange and for the destination that it is at, and
 * for how long nothing has moved. One timer looks now and then; a byte costs no timer.
 */
import type { Clock, Timer } from '../../clock.ts'
import type { LegCounts } from '../../observe/counters.ts'

export class Traffic {
  bytesIn = 0
  bytesOut = 0
  readonly #clock: Clock
  readonly #silent: () => void
  #leg: LegCounts | undefined
  #moved = 0
  #patience = 0
  #timer: Timer | undefined

  /** @param silent nothing has moved for as long as it is watched for */
  constructor(clock: Clock, silent: () => void) {
    this.#clock = clock
    this.#silent = silent
  }

  /** The exchange is at a destination. */
  at(leg: LegCounts): void {
    this.left()
    leg.sessions++
    this.#leg = leg
  }

  /** … and isn't any more. */
  left(): void {
    if (this.#leg !== undefined) this.#leg.sessions--
    this.#leg = undefined
  }

  /** Came from the client. */
  received(bytes: number): void {
    this.bytesIn += bytes
    this.moved()
  }

  /** Went to the backend. */
  sent(bytes: number): void {
    if (this.#leg !== undefined) this.#leg.bytesIn += bytes
  }

  /** Came from the backend. */
  returned(bytes: number): void {
    this.bytesOut += bytes
    if (this.#leg !== undefined) this.#leg.bytesOut += bytes
    this.moved()
  }

  moved(): void {
    this.#moved = this.#clock.now()
  }

  /** From now on `ms` without a movement are too long. */
  watch(ms: number): void {
    this.moved()
    this.unwatch()
    this.#patience = ms
    this.#look(ms)
  }

  unwatch(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #look(ms: number): void {
    this.#timer = this.#clock.after(ms, () => {
      const rest = this.#moved + this.#patience - this.#clock.now()
      if (rest > 0) this.#look(rest)
      else this.#silent()
    })
  }
}
