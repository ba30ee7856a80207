/**
 * Gathers what a store tells of one identifier at a time into changes of many: each costs a round through all workers, and a
 * transaction over twenty thousand rows is told of twenty thousand times. What comes out of the blue is passed on with what came in
 * the same turn of the event loop; what follows within GATHER_MS is passed on together. So nobody waits for a single change, and
 * a flood is fifty changes a second, each of which names at most IDENTIFIERS_PER_FRAME accounts or means all.
 */
import type { Clock, Timer } from '../clock.ts'
import { GATHER_MS, IDENTIFIERS_PER_FRAME } from '../limits.ts'
import type { Changed } from './source.ts'

export class Gathering {
  readonly #clock: Clock
  readonly #pass: (changed: Changed) => void
  #gathered = new Set<string>()
  #all = false
  /** Set while one change has just been passed on. */
  #timer: Timer | undefined
  #turn = false

  constructor(clock: Clock, pass: (changed: Changed) => void) {
    this.#clock = clock
    this.#pass = pass
  }

  /** Undefined: everything has changed. */
  add(identifier: string | undefined): void {
    if (!this.#all) {
      if (identifier === undefined) this.#all = true
      else this.#gathered.add(identifier)
      if (this.#gathered.size > IDENTIFIERS_PER_FRAME) this.#all = true
      if (this.#all) this.#gathered.clear()
    }
    if (this.#timer !== undefined || this.#turn) return
    this.#turn = true
    queueMicrotask(() => {
      this.#turn = false
      this.flush()
    })
  }

  /** Passes on what there is. */
  flush(): void {
    if (!this.#all && this.#gathered.size === 0) return
    const changed: Changed = this.#all ? { all: true } : { all: false, identifiers: [...this.#gathered] }
    this.#gathered = new Set()
    this.#all = false
    this.#timer?.cancel()
    this.#timer = this.#clock.after(GATHER_MS, () => {
      this.#timer = undefined
      this.flush()
    })
    this.#pass(changed)
  }

  /** Forgets what there is. */
  close(): void {
    this.#timer?.cancel()
    this.#gathered.clear()
    this.#all = false
  }
}
