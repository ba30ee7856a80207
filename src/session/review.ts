/**
 * Whether the sessions of a worker are still where their accounts belong, looked over after kicks may have been missed: the
 * instance was off the bus, or frames of a peer were lost. Every account that has sessions is looked up again, so many at a
 * time; sessions that go elsewhere are ended. Accounts of which nobody can say are asked for again until somebody can.
 *
 * The price is one lookup per account. A review that is asked for while one runs follows it; none follows at once, so
 * that a bus that is lost again and again doesn't become a flood of lookups.
 */
import type { Clock } from '../clock.ts'
import { REVIEW_BATCH, REVIEW_PAUSE_MS, REVIEW_STEP_MS } from '../limits.ts'

export interface ReviewCounts {
  readonly accounts: number
  /** Sessions that were ended. */
  readonly ended: number
  /** Accounts of which nobody could say; they are looked up again. */
  readonly unknown: number
}

export interface ReviewOptions {
  readonly clock: Clock
  /** Those that have sessions now. */
  readonly accounts: () => readonly string[]
  /** The destination's name; undefined: nobody can say for the moment. May reject, which says the same. */
  readonly where: (account: string) => Promise<string | undefined>
  /** Ends the account's sessions that go elsewhere than to the destination; says how many. */
  readonly end: (account: string, destination: string) => number
  /** All have been looked over (there were some), or, later, sessions of those that were left have been ended. */
  readonly reviewed: (counts: ReviewCounts) => void
}

export class SessionReview {
  readonly #options: ReviewOptions
  #running = false
  #again = false

  constructor(options: ReviewOptions) {
    this.#options = options
  }

  /** Begins, or notes that it is to be done again. */
  begin(): void {
    this.#again = true
    if (this.#running) return
    this.#running = true
    void this.#run().finally(() => (this.#running = false))
  }

  async #run(): Promise<void> {
    const { accounts, reviewed } = this.#options
    let left: ReadonlySet<string> = new Set()
    while (this.#again || left.size > 0) {
      const whole = this.#again
      this.#again = false
      const present = accounts()
      const todo = whole ? present : present.filter((account) => left.has(account))
      const { ended, unknown } = await this.#lookOver(todo)
      left = unknown
      if ((whole && todo.length > 0) || ended > 0) reviewed({ accounts: todo.length, ended, unknown: unknown.size })
      await this.#pause(REVIEW_PAUSE_MS)
    }
  }

  async #lookOver(accounts: readonly string[]): Promise<{ readonly ended: number; readonly unknown: ReadonlySet<string> }> {
    const { end, where } = this.#options
    const unknown = new Set<string>()
    let ended = 0
    for (let at = 0; at < accounts.length; at += REVIEW_BATCH) {
      if (at > 0) await this.#pause(REVIEW_STEP_MS)
      const asked = accounts.slice(at, at + REVIEW_BATCH).map(async (account) => {
        // That it can't be said is an answer: the resolver tells of the outage.
        const destination = await where(account).catch(() => undefined)
        if (destination === undefined) unknown.add(account)
        else ended += end(account, destination)
      })
      await Promise.all(asked)
    }
    return { ended, unknown }
  }

  /** Nothing that would keep a process alive. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#options.clock.after(ms, resolve))
  }
}
