/**
 * What a group commit is about to change: the writes that share it, in their order, each with the answer that it would
 * have got alone.
 */
import type { Current } from './current.ts'

/** Undefined as a destination: the mapping goes. */
export type Changes = ReadonlyMap<string, string | undefined>

/** What one write does. */
export interface Counts {
  added: number
  changed: number
  removed: number
  unchanged: number
  /** Whose destination is another one afterwards. */
  readonly identifiers: string[]
  /** Something else than expected was there: nothing is changed. */
  readonly refused?: true
}

const NOTHING: Changes = new Map()

export class Stage {
  readonly #current: Current
  readonly #staged = new Map<string, string | undefined>()

  constructor(current: Current) {
    this.#current = current
  }

  /** @param expected what must be there, else nothing of `changes` is added */
  add(changes: Changes, expected: Changes = NOTHING): Counts {
    const counts: Counts = { added: 0, changed: 0, removed: 0, unchanged: 0, identifiers: [] }
    for (const [identifier, destination] of expected) {
      if (this.#find(identifier) !== destination) return { ...counts, refused: true }
    }
    for (const [identifier, destination] of changes) {
      const before = this.#find(identifier)
      this.#staged.set(identifier, destination)
      if (before === destination) counts.unchanged++
      else {
        counts.identifiers.push(identifier)
        if (before === undefined) counts.added++
        else if (destination === undefined) counts.removed++
        else counts.changed++
      }
    }
    return counts
  }

  #find(identifier: string): string | undefined {
    return this.#staged.has(identifier) ? this.#staged.get(identifier) : this.#current.find(identifier)
  }

  /** What all writes together change. */
  effective(): Changes {
    return new Map([...this.#staged].filter(([identifier, to]) => this.#current.find(identifier) !== to))
  }
}
