/**
 * The generations of the route cache: one counter for the whole, bumped by every invalidation, and a memory of which
 * account was invalidated at which count. A route or a lookup carries the count at which it began; whether its account
 * was invalidated since is then one comparison when nothing happened at all, else one look in the memory.
 *
 * The memory is bounded in time and number. A route older than what is remembered counts as void: refusing a login for
 * the moment is the safe mistake.
 */
import { INVALIDATION_MEMORY_MS, INVALIDATIONS_REMEMBERED } from '../limits.ts'

interface Bump {
  readonly generation: number
  /** Clock time. */
  readonly at: number
}

export class Generations {
  readonly #remembered: number
  #current = 1
  // In the order of the bumps: a key that is bumped again moves to the end.
  readonly #keys = new Map<string, Bump>()
  // Kept over calls: a walk that begins anew would pass all that a map still holds of its deleted entries, for each bump.
  #walk = this.#keys.entries()
  #head: readonly [string, Bump] | undefined
  #floor = 0
  /** Clock time of the latest bump that is no longer remembered. */
  #forgottenAt = Number.NEGATIVE_INFINITY
  #allVoid = 0
  #allVoidAt = Number.NEGATIVE_INFINITY
  #allDoubtful = 0

  constructor(remembered: number = INVALIDATIONS_REMEMBERED) {
    this.#remembered = remembered
  }

  /** The count now: what a lookup that begins now carries. */
  get current(): number {
    return this.#current
  }

  /** Entries stored under a smaller count are void. */
  get allVoid(): number {
    return this.#allVoid
  }

  /** Entries stored under a smaller count are doubtful. */
  get allDoubtful(): number {
    return this.#allDoubtful
  }

  invalidate(key: string, now: number): void {
    this.#current++
    this.#keys.delete(key)
    this.#keys.set(key, { generation: this.#current, at: now })
    this.#forget(now)
  }

  invalidateAll(now: number): void {
    this.#current++
    this.#allVoid = this.#current
    this.#allVoidAt = now
    this.#keys.clear()
    this.#floor = this.#current
  }

  doubtAll(): void {
    this.#current++
    this.#allDoubtful = this.#current
  }

  /** Whether the account was invalidated after the count `since`. */
  voidSince(key: string, since: number): boolean {
    if (since === this.#current) return false
    if (since < this.#floor) return true
    const bump = this.#keys.get(key)
    return bump !== undefined && bump.generation > since
  }

  /** Whether something may have been missed after the count `since`. */
  doubtfulSince(since: number): boolean {
    return since < this.#allDoubtful
  }

  /** Whether the account (or everything) was invalidated less than `settle` milliseconds ago. */
  settling(key: string, now: number, settle: number): boolean {
    if (now - this.#allVoidAt < settle) return true
    const bump = this.#keys.get(key)
    // One that was pushed out of the memory may have been this account's.
    return bump === undefined ? now - this.#forgottenAt < settle : now - bump.at < settle
  }

  /** Whether an invalidation of this very account is remembered. */
  remembers(key: string): boolean {
    return this.#keys.has(key)
  }

  #forget(now: number): void {
    for (let oldest = this.#oldest(); oldest !== undefined; oldest = this.#oldest()) {
      const [key, bump] = oldest
      if (this.#keys.size <= this.#remembered && now - bump.at <= INVALIDATION_MEMORY_MS) return
      this.#keys.delete(key)
      this.#floor = bump.generation
      this.#forgottenAt = bump.at
    }
  }

  /** What the walk has passed is gone, or was bumped again and comes later in it. */
  #oldest(): readonly [string, Bump] | undefined {
    while (this.#head === undefined || this.#keys.get(this.#head[0]) !== this.#head[1]) {
      if (this.#keys.size === 0) return undefined
      const { done, value } = this.#walk.next()
      // A walk that has come to an end stays there.
      if (done === true) this.#walk = this.#keys.entries()
      else this.#head = value
    }
    return this.#head
  }
}
