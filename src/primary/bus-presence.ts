/**
 * Whether this instance is on the bus: it is while it hears its own heartbeat. Beats, notices that its beats don't come back, and that
 * this process has stood still, when nothing may be concluded from the silence of others yet.
 */
import type { Clock, Timer } from '../clock.ts'
import { Pulse } from './pulse.ts'

export interface BusPresenceOptions {
  readonly clock: Clock
  /** Milliseconds between two beats. */
  readonly heartbeat: number
  /** Milliseconds within which one must be back. */
  readonly patience: number
  /** Time for a beat. `lost`: with this one we are off the bus; `mayJudge`: who has been silent is gone. */
  readonly beat: (found: { readonly lost: boolean; readonly mayJudge: boolean }) => void
}

export class BusPresence {
  readonly #options: BusPresenceOptions
  readonly #pulse: Pulse
  #up = false
  #downSince = 0
  #beating: Timer | undefined
  #lastBeat = 0
  /** Clock time of a beat that came too late for a judgement over others. */
  #stalledAt: number | undefined

  constructor(options: BusPresenceOptions) {
    this.#options = options
    this.#pulse = new Pulse(options.patience)
  }

  /** `up`: our own heartbeat has come back in time. */
  get state(): 'up' | 'down' {
    return this.#up && this.#pulse.beats(this.#options.clock.now()) ? 'up' : 'down'
  }

  /** Whether one has come back, and no beat since has found otherwise. */
  get up(): boolean {
    return this.#up
  }

  /** Clock time until which everything that was said has been heard. */
  get heardUntil(): number {
    return this.#pulse.returned
  }

  /** Seconds for which it had been off the bus, when it has come back. */
  get awaySeconds(): number {
    return (this.#options.clock.now() - this.#downSince) / 1000
  }

  /** Beats from now on. Idempotent. */
  begin(): void {
    const { clock, heartbeat } = this.#options
    if (this.#beating !== undefined) return
    this.#lastBeat = clock.now()
    this.#beating = clock.every(heartbeat, () => this.#beat())
  }

  /** It is off the bus from the beginning. */
  beginAway(): void {
    this.#downSince = this.#options.clock.now()
  }

  end(): void {
    this.#beating?.cancel()
  }

  /** A frame to all has this number, and its return shows that we are on the bus. */
  sent(sequence: number): void {
    this.#pulse.sent(sequence, this.#options.clock.now())
  }

  /** A frame of ours has come back. True: with it we are on the bus, and were not before. */
  returned(sequence: number): boolean {
    this.#pulse.heard(sequence)
    if (this.#up || !this.#pulse.beats(this.#options.clock.now())) return false
    this.#up = true
    return true
  }

  #beat(): void {
    const now = this.#options.clock.now()
    const mayJudge = this.#awake(now)
    this.#lastBeat = now
    const lost = this.#up && !this.#pulse.beats(now)
    if (lost) {
      this.#up = false
      this.#downSince = now
    }
    this.#options.beat({ lost, mayJudge })
  }

  /**
   * False for a heartbeat after this process has stood still: what the others said meanwhile is still to be read. Not twice
   * in a row: one that is always late must judge nevertheless.
   */
  #awake(now: number): boolean {
    const { heartbeat } = this.#options
    if (this.#stalledAt !== undefined) {
      if (now - this.#stalledAt < heartbeat) return false
      this.#stalledAt = undefined
      return true
    }
    if (now - this.#lastBeat <= 2 * heartbeat) return true
    this.#stalledAt = now
    return false
  }
}
