/**
 * Who has acknowledged which change of ours. A change is settled when everybody awaited has acknowledged or said bye, or
 * when the caller's time is over; what comes later changes nothing. Without clock or transport.
 */

/** What a peer made of a change. */
export interface PeerOutcome {
  readonly instance: string
  readonly acknowledged: boolean
  /** Sessions that a kick ended there. */
  readonly count: number
}

interface Awaited {
  readonly missing: Set<string>
  readonly outcomes: PeerOutcome[]
  readonly done: (outcomes: readonly PeerOutcome[]) => void
}

export class Acknowledgements {
  readonly #awaited = new Map<number, Awaited>()

  /** Resolves once the change is settled, with an outcome for everyone awaited who has not left. Waits for `settle` when nobody is. */
  expect(sequence: number, instances: readonly string[]): Promise<readonly PeerOutcome[]> {
    return new Promise((done) => this.#awaited.set(sequence, { missing: new Set(instances), outcomes: [], done }))
  }

  /** Whether somebody is still awaited. */
  pending(sequence: number): boolean {
    return (this.#awaited.get(sequence)?.missing.size ?? 0) > 0
  }

  acknowledged(instance: string, sequence: number, count: number): void {
    const awaited = this.#awaited.get(sequence)
    if (awaited === undefined || !awaited.missing.delete(instance)) return
    awaited.outcomes.push({ instance, acknowledged: true, count })
    if (awaited.missing.size === 0) this.settle(sequence)
  }

  /** It said bye: it serves nothing any more, so that nothing is left to confirm. */
  left(instance: string): void {
    for (const [sequence, { missing }] of this.#awaited) if (missing.delete(instance) && missing.size === 0) this.settle(sequence)
  }

  /** The time is over. */
  settle(sequence: number): void {
    const awaited = this.#awaited.get(sequence)
    if (awaited === undefined) return
    this.#awaited.delete(sequence)
    const missing = [...awaited.missing].map((instance) => ({ instance, acknowledged: false, count: 0 }))
    awaited.done([...awaited.outcomes, ...missing])
  }

  settleAll(): void {
    for (const sequence of this.#awaited.keys()) this.settle(sequence)
  }
}
