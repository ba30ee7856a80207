/**
 * Accounts whose new logins are held back. A hold has an id and an end, at most limits.HOLD_MS away, and ends by itself;
 * an account is held while any of its holds remains. The logins that wait are bounded in number: above the bound a login
 * is turned away for the moment rather than held.
 */
import type { Clock, Timer } from '../clock.ts'
import { HOLD_MS } from '../limits.ts'

interface Held {
  readonly holds: Map<string, Timer>
  readonly waiting: Set<WaitingLogin>
}

/** A login that waits for the release of its account. */
export interface WaitingLogin {
  readonly proceed: () => void
  /** False: its client has gone. */
  readonly wanted: () => boolean
}

export class Holds {
  readonly #clock: Clock
  readonly #held = new Map<string, Held>()
  #waiting = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Logins waiting now, over all accounts. */
  get waiting(): number {
    return this.#waiting
  }

  /** Accounts held now. */
  get accounts(): number {
    return this.#held.size
  }

  isHeld(key: string): boolean {
    return this.#held.has(key)
  }

  /** Begins or prolongs the hold `id` of an account for `ms` milliseconds from now. */
  hold(key: string, id: string, ms: number): void {
    let held = this.#held.get(key)
    if (held === undefined) {
      held = { holds: new Map(), waiting: new Set() }
      this.#held.set(key, held)
    }
    held.holds.get(id)?.cancel()
    held.holds.set(
      id,
      this.#clock.after(Math.min(ms, HOLD_MS), () => this.release(key, id)),
    )
  }

  /** Ends the hold `id`; when it was the account's last one its logins go on. False: there was none. */
  release(key: string, id: string): boolean {
    const held = this.#held.get(key)
    const timer = held?.holds.get(id)
    if (held === undefined || timer === undefined) return false
    timer.cancel()
    held.holds.delete(id)
    if (held.holds.size > 0) return true
    this.#held.delete(key)
    this.#waiting -= held.waiting.size
    for (const { proceed } of held.waiting) proceed()
    return true
  }

  /**
   * Lets a login wait until its account is released; it proceeds then, in the order of coming. False when the account
   * isn't held or `max` logins wait already, not counting those whose clients have gone: look at `isHeld` first.
   */
  wait(key: string, max: number, login: WaitingLogin): boolean {
    const held = this.#held.get(key)
    if (held === undefined) return false
    if (this.#waiting >= max) this.#forgetUnwanted()
    if (this.#waiting >= max) return false
    held.waiting.add(login)
    this.#waiting++
    return true
  }

  #forgetUnwanted(): void {
    for (const { waiting } of this.#held.values()) {
      for (const login of waiting) if (!login.wanted() && waiting.delete(login)) this.#waiting--
    }
  }
}
