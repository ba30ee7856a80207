/**
 * Counts failed authentications per address. After `threshold` failures within `duration` milliseconds an address is
 * locked out for `duration` from the last of them; a success clears its count. The table is bounded: the address not
 * seen for longest is forgotten first, so an attacker with more than LOCKOUT_ADDRESSES networks can reset his own count,
 * which costs him as many connections as it saves. Requests during a lockout don't lengthen it.
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import { LOCKOUT_ADDRESSES } from '../limits.ts'
import { addressKey } from '../listener/address.ts'

interface Count {
  readonly failures: number
  /** When the first of these failures happened. */
  readonly since: number
  /** Locked out until then; 0: not locked. */
  readonly until: number
}

export interface LockoutOptions {
  readonly clock: Clock
  /** Failures that lock out; 0: none ever does. */
  readonly threshold: number
  readonly duration: number
  /** Addresses remembered. */
  readonly addresses?: number
}

export class Lockout {
  readonly #clock: Clock
  readonly #threshold: number
  readonly #duration: number
  readonly #counts: LRUCache<string, Count>

  constructor(options: LockoutOptions) {
    this.#clock = options.clock
    this.#threshold = options.threshold
    this.#duration = options.duration
    this.#counts = new LRUCache({ max: options.addresses ?? LOCKOUT_ADDRESSES })
  }

  /** Whole seconds until the address may try again, at least 1 while it is locked out; 0 when it isn't. */
  remaining(address: string | undefined): number {
    const left = (this.#counts.get(addressKey(address))?.until ?? 0) - this.#clock.now()
    return left > 0 ? Math.ceil(left / 1000) : 0
  }

  /** Counts a failure; says how many there are now and whether this one locked the address out. */
  failed(address: string | undefined): { readonly failures: number; readonly locked: boolean } {
    const key = addressKey(address)
    const now = this.#clock.now()
    const known = this.#counts.get(key)
    // A lockout that is over starts afresh, and so does a streak that took longer than the duration.
    const fresh = known === undefined || known.until !== 0 || now - known.since >= this.#duration
    const failures = fresh ? 1 : known.failures + 1
    const locked = this.#threshold > 0 && failures >= this.#threshold
    this.#counts.set(key, { failures, since: fresh ? now : known.since, until: locked ? now + this.#duration : 0 })
    return { failures, locked }
  }

  succeeded(address: string | undefined): void {
    this.#counts.delete(addressKey(address))
  }

  /** Addresses remembered at the moment. */
  get size(): number {
    return this.#counts.size
  }
}
