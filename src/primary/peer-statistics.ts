/** Statistics asked of peers, as any question is, and by them: one gathering answers all who ask meanwhile. */
import type { Clock } from '../clock.ts'
import { PeerQuestions } from './peer-questions.ts'

export type Stats = Readonly<Record<string, number | string>>

export class PeerStatistics extends PeerQuestions<Stats> {
  readonly #gather: () => Promise<Stats>
  /** Who waits for ours, with its question. */
  readonly #askers = new Map<string, number>()

  constructor(clock: Clock, gather: () => Promise<Stats>) {
    super(clock)
    this.#gather = gather
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
}
