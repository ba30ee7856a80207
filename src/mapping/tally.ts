/** Counts what an import does, and remembers which identifiers must be invalidated, up to where "all" is the better answer. */
import { RELOAD_DIFFERENCES } from '../limits.ts'
import type { Changed, ImportResult } from './source.ts'

export class Tally {
  #added = 0
  #changed = 0
  #removed = 0
  #unchanged = 0
  #identifiers: string[] | undefined = []

  /** The store held `before` (undefined: nothing) and now holds `after` (undefined: nothing). */
  count(identifier: string, before: string | undefined, after: string | undefined): void {
    if (before === after) {
      this.#unchanged++
      return
    }
    if (before === undefined) this.#added++
    else if (after === undefined) this.#removed++
    else this.#changed++
    this.#identifiers?.push(identifier)
    if ((this.#identifiers?.length ?? 0) > RELOAD_DIFFERENCES) this.#identifiers = undefined
  }

  result(): ImportResult {
    const invalidate: Changed =
      this.#identifiers === undefined ? { all: true } : { all: false, identifiers: this.#identifiers }
    return { added: this.#added, changed: this.#changed, removed: this.#removed, unchanged: this.#unchanged, invalidate }
  }
}
