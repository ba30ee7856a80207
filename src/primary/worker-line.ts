/**
 * What one worker's cache is told, and what it owes. A worker that stands still would otherwise find every change since, one by
 * one, in a queue that nothing bounds: beyond so many unanswered ones (as many identifiers as it would remember, too) all that
 * follow become one invalidation of everything, which is told when it answers again and confirms each of them. Of doubts one
 * is under way and one waits. The cost is lookups, in a worker that had stood still anyway.
 */
import type { ActorRef } from '../actor/message.ts'
import type { Clock } from '../clock.ts'
import { SignalboxError } from '../errors.ts'
import { CHANGES_OWED, INVALIDATIONS_REMEMBERED, WORKER_STALL_MS } from '../limits.ts'
import type { ResolverMessage } from '../resolver/resolver.ts'

/** A worker that stands still is replaced long before. */
const GIVEN_UP_MS = 6 * WORKER_STALL_MS

export interface WorkerLineOptions {
  readonly clock: Clock
  readonly resolver: ActorRef<ResolverMessage>
  /** Milliseconds that somebody waits for an acknowledgement. */
  readonly ackTimeout: number
}

export class WorkerLine {
  readonly #options: WorkerLineOptions
  /** Invalidations and identifiers that were sent and not answered. */
  #owed = 0
  #identifiers = 0
  /** Stands for all invalidations that were not sent. */
  #everything: PromiseWithResolvers<unknown> | undefined
  #doubting = false
  #nextDoubt: PromiseWithResolvers<unknown> | undefined

  constructor(options: WorkerLineOptions) {
    this.#options = options
  }

  /** Each resolves when the worker has obeyed; rejects with ACTOR_DEADLINE after ackTimeout, or as `ask` does. */
  invalidate(identifiers: readonly string[]): Promise<unknown> {
    return this.#inTime('invalidate', this.#invalidate(identifiers))
  }

  invalidateAll(): Promise<unknown> {
    return this.#inTime('invalidate-all', this.#invalidate(undefined))
  }

  doubt(reason: string): Promise<unknown> {
    return this.#inTime('doubt', this.#doubt(reason))
  }

  /** Not while something waits to be told that came before it: the worker would believe to know of it. */
  beat(at: number): void {
    if (this.#everything === undefined && this.#nextDoubt === undefined) this.#options.resolver.tell({ type: 'beat', at })
  }

  /** @param identifiers undefined: all */
  #invalidate(identifiers: readonly string[] | undefined): Promise<unknown> {
    const count = identifiers?.length ?? 0
    // What is owed alone counts: a single change of any size is sent as what it is.
    if (this.#everything !== undefined || this.#owed >= CHANGES_OWED || this.#identifiers > INVALIDATIONS_REMEMBERED) {
      this.#everything ??= Promise.withResolvers()
      return this.#everything.promise
    }
    const { resolver } = this.#options
    this.#owed++
    this.#identifiers += count
    const answer =
      identifiers === undefined
        ? resolver.ask({ type: 'invalidate-all' }, GIVEN_UP_MS)
        : resolver.ask({ type: 'invalidate', identifiers }, GIVEN_UP_MS)
    return answer.finally(() => {
      this.#owed--
      this.#identifiers -= count
      this.#tellOfEverything()
    })
  }

  /** It answers, or is gone. */
  #tellOfEverything(): void {
    const everything = this.#everything
    if (everything === undefined) return
    this.#everything = undefined
    this.#invalidate(undefined).then(everything.resolve, everything.reject)
  }

  #doubt(reason: string): Promise<unknown> {
    if (this.#doubting) {
      this.#nextDoubt ??= Promise.withResolvers()
      return this.#nextDoubt.promise
    }
    this.#doubting = true
    return this.#options.resolver.ask({ type: 'doubt', reason }, GIVEN_UP_MS).finally(() => {
      this.#doubting = false
      const next = this.#nextDoubt
      this.#nextDoubt = undefined
      if (next !== undefined) this.#doubt(reason).then(next.resolve, next.reject)
    })
  }

  #inTime(what: string, work: Promise<unknown>): Promise<unknown> {
    const { clock, ackTimeout } = this.#options
    return new Promise((resolve, reject) => {
      const late = (): void => reject(new SignalboxError('ACTOR_DEADLINE', `actor resolver did not answer "${what}" within ${ackTimeout} ms`))
      const timer = clock.after(ackTimeout, late)
      work.then(resolve, reject).finally(() => timer.cancel())
    })
  }
}
