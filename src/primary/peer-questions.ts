/** Questions put to peers: each is answered once, by whom it was put to, or in time by nobody. */
import { randomInt } from 'node:crypto'
import type { Clock } from '../clock.ts'

const QUESTIONS = 2 ** 48 - 1

export class PeerQuestions<A> {
  readonly #clock: Clock
  readonly #asked = new Map<number, { readonly instance: string; readonly settle: (answer: A | undefined) => void }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves with undefined after `deadline` milliseconds. `send` sends the question. */
  ask(instance: string, deadline: number, send: (question: number) => void): Promise<A | undefined> {
    const question = randomInt(QUESTIONS)
    return new Promise((resolve) => {
      const settle = (answer: A | undefined): void => {
        timer.cancel()
        this.#asked.delete(question)
        resolve(answer)
      }
      const timer = this.#clock.after(deadline, () => settle(undefined), { keepAlive: true })
      this.#asked.set(question, { instance, settle })
      send(question)
    })
  }

  /** False: it answers nothing that was asked of it. */
  answered(instance: string, question: number, answer: A): boolean {
    const asked = this.#asked.get(question)
    if (asked?.instance !== instance) return false
    asked.settle(answer)
    return true
  }

  /** Nobody will answer any more. */
  close(): void {
    for (const { settle } of this.#asked.values()) settle(undefined)
  }
}
