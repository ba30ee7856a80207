/**
 * This instance's own heartbeats on their way around: which were sent when, and when the newest one that came back was
 * sent. By the time of sending, not of coming back: a server that stood still and then delivers everything at once does
 * not make an instance be on the bus as of now. Without clock or transport.
 */
export class Pulse {
  readonly #patience: number
  readonly #sent = new Map<number, number>()
  #returned = Number.NEGATIVE_INFINITY

  /** @param patience milliseconds within which a heartbeat must be back */
  constructor(patience: number) {
    this.#patience = patience
  }

  sent(sequence: number, now: number): void {
    for (const [old, at] of this.#sent) if (now - at > this.#patience) this.#sent.delete(old)
    this.#sent.set(sequence, now)
  }

  /** A frame of ours has come back. */
  heard(sequence: number): void {
    const at = this.#sent.get(sequence)
    if (at === undefined) return
    this.#sent.delete(sequence)
    this.#returned = Math.max(this.#returned, at)
  }

  /** Clock time at which the newest one that came back was sent: what others had said by then has been heard. */
  get returned(): number {
    return this.#returned
  }

  /** Whether one that was sent within the patience has come back. */
  beats(now: number): boolean {
    return now - this.#returned <= this.#patience
  }
}
