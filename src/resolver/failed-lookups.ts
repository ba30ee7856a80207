/**
 * Which accounts' lookups have failed a moment ago, so that a source that is sick isn't asked for the same account by
 * every login. Nothing that is forgotten too early does harm; what is remembered too long does: an account that was moved
 * meanwhile would be sent to where it was. So all of it is forgotten as soon as there is a reason to ask again.
 */
import { LRUCache } from 'lru-cache'
import { FAILED_LOOKUPS_REMEMBERED } from '../limits.ts'

export class FailedLookups {
  readonly #until = new LRUCache<string, number>({ max: FAILED_LOOKUPS_REMEMBERED })

  /** @param until clock time at which it may be tried again */
  failed(key: string, until: number): void {
    this.#until.set(key, until)
  }

  /** Whether the account's lookup has failed so recently that it is spared. */
  remembers(key: string, now: number): boolean {
    const until = this.#until.get(key)
    return until !== undefined && now < until
  }

  forget(key: string): void {
    this.#until.delete(key)
  }

  /** The source answers, or what is known may be wrong: every account may be asked for again. */
  forgetAll(): void {
    // Emptying costs as much as filling, and this is called after each lookup that succeeds.
    if (this.#until.size > 0) this.#until.clear()
  }
}
