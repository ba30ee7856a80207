/** Statistics asked of peers, and by them: each question is answered once, by whom it was put to, or in time by nobody. */
import { randomInt } from 'node:crypto'
import type { Clock } from '../clock.ts'

export type Stats = Readonly<Record<string, number | string>>

const QUESTIONS = 2 ** 48 - 1

export class PeerStatistics {
  readonly #clock: Clock
  readonly #gather: () => Promise<Stats>
  readonly #asked = new Map<number, { readonly instance: string; readonly settle: (stats: Stats | undefined) => void }>()
  /** Who waits for ours, with its question. */
  readonly #askers = new Map<string, number>()

  constructor(clock: Clock, gather: () => Promise<Stats>) {
    this.#clock = clock
    this.#gather = gather
  }

  /** Resolves with undefined after `deadline` milliseconds. `send` sends the question. */
  ask(instance: string, deadline: number, send: (question: number) => void): Promise<Stats | undefined> {
    const question = randomInt(QUESTIONS)
    return new Promise((resolve) => {
      const settle = (stats: Stats | undefined): void => {
        timer.cancel()
        this.#asked.delete(question)
        resolve(stats)
      }
      const timer = this.#clock.after(deadline, () => settle(undefined), { keepAlive: true })
      this.#asked.set(question, { instance, settle })
      send(question)
    })
  }

  /** False: it answers nothing that was asked of it. */
  answered(instance: string, question: number, stats: Stats): boolean {
    const asked = this.#asked.get(question)
    if (asked?.instance !== instance) return false
    asked.settle(stats)
    return true
  }

  /** One gathering serves all who ask meanwhile; rejects when it fails, for the first of them. */
  async answer(instance: string, question: number, send: (asker: string, question: number, stats: Stats) => void): Promise<void> {
    const gathering = this.#askers.size > 0
    this.#askers.set(instance, question)
    if (gathering) return
    try {
      const stats = await this.#gather()
      for (const [asker, asked] of this.#askers) send(asker, asked, stats)
    } finally {
      this.#askers.clear()
    }
  }

  /** Nobody will answer any more. */
  close(): void {
    for (const { settle } of this.#asked.values()) settle(undefined)
  }
}
