/**
 * The questions that prove who is there: one to all with each hello, and one at a time to a peer in doubt. Drawn at random
 * and answered once by each, so that no recorded welcome passes for an answer. Bounded; without clock or transport.
 */
import { randomInt } from 'node:crypto'
import { BUS_PEERS } from '../limits.ts'

const QUESTIONS = 2 ** 48 - 1

export class Introductions {
  readonly #heartbeat: number
  readonly #patience: number
  readonly #limit: number
  #toAll = { question: -1, at: Number.NEGATIVE_INFINITY, answered: new Set<string>() }
  readonly #toOne = new Map<string, { readonly question: number; readonly at: number; readonly known: number }>()

  /** @param patience milliseconds within which a question to all must be answered */
  constructor(heartbeat: number, patience: number, limit = BUS_PEERS) {
    this.#heartbeat = heartbeat
    this.#patience = patience
    this.#limit = limit
  }

  /** A number that nobody can foresee. */
  static draw(): number {
    return randomInt(QUESTIONS)
  }

  /** A new question to all; the one before is void. */
  askAll(now: number): number {
    this.#toAll = { question: Introductions.draw(), at: now, answered: new Set() }
    return this.#toAll.question
  }

  /**
   * A question to one; undefined when it was asked within the last heartbeat.
   *
   * @param known the last number that is known of it; comes back with its answer
   */
  ask(instance: string, now: number, known = -1): number | undefined {
    const asked = this.#toOne.get(instance)
    if (asked !== undefined && now - asked.at < this.#heartbeat) return undefined
    this.#toOne.delete(instance)
    if (this.#toOne.size >= this.#limit) {
      // The oldest: a map keeps the order of insertion.
      const [oldest] = this.#toOne.keys()
      if (oldest !== undefined) this.#toOne.delete(oldest)
    }
    const question = Introductions.draw()
    this.#toOne.set(instance, { question, at: now, known })
    return question
  }

  /** Undefined: no answer to a question of ours, not the first by this instance, or too late. Else what was known of it when it was asked, -1 in a question to all. */
  answered(instance: string, question: number, now: number): number | undefined {
    const asked = this.#toOne.get(instance)
    if (asked?.question === question) {
      this.#toOne.delete(instance)
      return asked.known
    }
    const { at, answered } = this.#toAll
    if (this.#toAll.question !== question || answered.has(instance) || answered.size >= this.#limit) return undefined
    if (now - at > this.#patience) return undefined
    answered.add(instance)
    return -1
  }
}
