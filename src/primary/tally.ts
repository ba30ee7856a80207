/**
 * The tally actor: what this instance's workers have counted. It owns the last counts of every worker and the sum of those
 * that are gone, so that no sum ever goes down. Workers tell theirs every second in which something happened and once more
 * before they leave; one that is killed takes at most its last second with it.
 */
import type { Behaviour } from '../actor/actor.ts'
import type { Message, Question, Reply } from '../actor/message.ts'
import { impossible } from '../errors.ts'
import { addUp, lasting } from '../observe/counters.ts'
import type { Counts } from '../observe/counters.ts'
import type { ProcessFacts } from '../observe/process-facts.ts'

/** From a worker: all that it has counted since its start. */
export interface Counted extends Message {
  readonly type: 'counted'
  readonly worker: number
  readonly counts: Counts
  readonly process: ProcessFacts
}
export interface TallyWorkerGone extends Message {
  readonly type: 'worker-gone'
  readonly worker: number
}
/** The sums as they are known now. */
export interface Sums extends Question<Tallied> {
  readonly type: 'sums'
}
/** A session that began or ended. */
export interface SampledSession {
  /** As it is; not to be shown. */
  readonly account: string | undefined
  readonly facts: Readonly<Record<string, string | number>>
}
/** From a worker, while somebody listens: some of the sessions that began and ended, and how many more there were. */
export interface Sampled extends Message {
  readonly type: 'sampled'
  readonly worker: number
  readonly sessions: readonly SampledSession[]
  readonly unsampled: number
}
export type TallyMessage = Counted | TallyWorkerGone | Sums | Sampled

export interface Tallied {
  readonly counts: Counts
  readonly workers: readonly { readonly worker: number; readonly process: ProcessFacts }[]
}

export class Tally implements Behaviour<TallyMessage> {
  readonly #workers = new Map<number, Counted>()
  readonly #onSample: (sample: Sampled) => void
  #gone: Counts = addUp([])

  constructor(onSample: (sample: Sampled) => void = () => {}) {
    this.#onSample = onSample
  }

  receive(message: TallyMessage, reply: Reply): void {
    switch (message.type) {
      case 'counted':
        this.#workers.set(message.worker, message)
        return
      case 'worker-gone':
        return this.#workerGone(message.worker)
      case 'sampled':
        return this.#onSample(message)
      case 'sums':
        return reply.to(message, {
          counts: addUp([this.#gone, ...[...this.#workers.values()].map(({ counts }) => counts)]),
          workers: [...this.#workers.values()].map(({ worker, process }) => ({ worker, process })),
        })
      default:
        impossible(message)
    }
  }

  /** Counts of which nobody knows how many they are would be worse than counts from a new beginning. */
  crashed(): void {
    this.#workers.clear()
    this.#gone = addUp([])
  }

  #workerGone(worker: number): void {
    const last = this.#workers.get(worker)
    if (last === undefined) return
    this.#workers.delete(worker)
    this.#gone = addUp([this.#gone, lasting(last.counts)])
  }
}
