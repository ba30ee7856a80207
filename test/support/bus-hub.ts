/**
 * A bus in memory whose network a test can break: every copy of a frame on its way from a sender to a receiver can be
 * dropped, delayed, repeated or overtaken, and every member can be cut off, deaf or mute. Time is the test's clock.
 */
import type { BusListener, BusTransport } from '../../src/bus/transport.ts'
import type { Clock } from '../../src/clock.ts'
import { SignalboxError } from '../../src/errors.ts'

export interface HubFrame {
  readonly from: string
  readonly to: string
  readonly channel: string
  readonly bytes: Buffer
}

/** Milliseconds after which copies of a frame arrive: [] drops it, [0] is a good network, [0, 5] repeats it. */
export type Fate = readonly number[]

export class BusHub {
  readonly #clock: Clock
  readonly #ends = new Set<HubEnd>()
  /** Decides about every copy; set by a test. */
  fate: (frame: HubFrame) => Fate = () => [0]
  /** Everything that was ever published, to look at or to replay. */
  readonly published: HubFrame[] = []
  /** False: nobody can say how many subscribers there are. */
  counts = true

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** One member's end. */
  connect(name: string): HubEnd {
    return new HubEnd(this, name)
  }

  /** As an attacker, who can publish what he likes. */
  inject(channel: string, bytes: Buffer): void {
    this.carry('attacker', channel, bytes)
  }

  carry(from: string, channel: string, bytes: Buffer): void {
    this.published.push({ from, to: '*', channel, bytes })
    for (const end of this.#ends) {
      if (!end.subscribedTo(channel) || end.deaf || end.cut) continue
      for (const ms of this.fate({ from, to: end.name, channel, bytes })) {
        // In a turn of its own, as from a socket.
        if (ms === 0) queueMicrotask(() => end.arrive(channel, bytes))
        else this.#clock.after(ms, () => end.arrive(channel, bytes))
      }
    }
  }

  enter(end: HubEnd): void {
    this.#ends.add(end)
  }

  leave(end: HubEnd): void {
    this.#ends.delete(end)
  }

  subscribersOf(channel: string): number | undefined {
    return this.counts ? [...this.#ends].filter((end) => end.subscribedTo(channel)).length : undefined
  }
}

export class HubEnd implements BusTransport {
  readonly name: string
  readonly #hub: BusHub
  #channels: readonly string[] = []
  #listener: BusListener | undefined
  /** Hears nothing, and isn't told. */
  deaf = false
  /** What it publishes goes nowhere, and it isn't told. */
  mute = false
  /** No connection: hears nothing, publishing fails. */
  cut = false
  /** What opening fails with. */
  refusal: SignalboxError | undefined
  closed = false

  constructor(hub: BusHub, name: string) {
    this.#hub = hub
    this.name = name
  }

  async open(channels: readonly string[], listener: BusListener, allowUnavailable: boolean): Promise<boolean> {
    if (this.refusal !== undefined) throw this.refusal
    if (this.cut && !allowUnavailable) throw new SignalboxError('BUS_DOWN', 'cut')
    this.#channels = channels
    this.#listener = listener
    this.#hub.enter(this)
    return !this.cut
  }

  async publish(channel: string, bytes: Buffer): Promise<void> {
    if (this.cut || this.closed) throw new SignalboxError('BUS_DOWN', 'cut')
    if (!this.mute) this.#hub.carry(this.name, channel, bytes)
  }

  async subscribers(channel: string): Promise<number | undefined> {
    return this.#hub.subscribersOf(channel)
  }

  trouble(): string | undefined {
    return this.cut ? 'cut' : undefined
  }

  async close(): Promise<void> {
    this.vanish()
  }

  /** The process is gone without a word. */
  vanish(): void {
    this.closed = true
    this.#hub.leave(this)
  }

  /** The connection is there again. */
  mend(): void {
    this.cut = false
    this.#listener?.resubscribed()
  }

  subscribedTo(channel: string): boolean {
    return this.#channels.includes(channel)
  }

  arrive(channel: string, bytes: Buffer): void {
    // What was on its way when the connection broke is lost with it.
    if (!this.closed && !this.cut && !this.deaf) this.#listener?.frame(channel, bytes)
  }
}
