/**
 * Leases of accounts: while an account is being moved nobody else may move it. A lease is kept where the mappings are, so
 * that it holds for everybody who writes there: a key of Redis, a row of a database, a file beside a shared mapping file.
 * The mapping file of a single instance has one writer, this process, which then keeps its leases in memory.
 *
 * A lease ends by itself, since who took it may die. It orders operators; that nothing is overwritten unseen doesn't
 * depend on it (MappingSource.exchange).
 */
import type { Clock } from '../clock.ts'

/** Who holds a lease. */
export interface LeaseHolder {
  /** Drawn for each taking. */
  readonly id: string
  /** For people: which instance, on whose behalf. At most 200 characters. */
  readonly who: string
  /** Wall-clock milliseconds. */
  readonly since: number
}

/** The half of a source that gives out leases. */
export interface Leases {
  /**
   * Takes the account's lease for `ms` milliseconds. Resolves with undefined when it is the holder's now, else with whose it
   * is. Rejects as a write does.
   */
  lease(identifier: string, holder: LeaseHolder, ms: number): Promise<LeaseHolder | undefined>
  /** Gives it back, if it is still that holder's. */
  endLease(identifier: string, id: string): Promise<void>
}

/** Leases of one process. */
export class MemoryLeases implements Leases {
  readonly #clock: Clock
  readonly #held = new Map<string, { readonly holder: LeaseHolder; readonly until: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  async lease(identifier: string, holder: LeaseHolder, ms: number): Promise<LeaseHolder | undefined> {
    const held = this.#held.get(identifier)
    const now = this.#clock.now()
    if (held !== undefined && held.until > now) return held.holder
    this.#held.set(identifier, { holder, until: now + ms })
    return undefined
  }

  async endLease(identifier: string, id: string): Promise<void> {
    if (this.#held.get(identifier)?.holder.id === id) this.#held.delete(identifier)
  }
}

/** A holder as it is stored. */
export function leaseText({ id, who, since }: LeaseHolder): string {
  return JSON.stringify({ id, who, since })
}

/** What is stored, read back; what somebody else put there is a holder that nobody knows. */
export function readLease(text: string): LeaseHolder {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && 'id' in value && 'who' in value && 'since' in value) {
      const { id, who, since } = value
      if (typeof id === 'string' && typeof who === 'string' && typeof since === 'number' && Number.isFinite(since)) return { id, who, since }
    }
  } catch {
    // Not ours.
  }
  return { id: '', who: 'unknown', since: 0 }
}
