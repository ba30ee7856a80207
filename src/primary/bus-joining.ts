/**
 * From a subscription to a member: looks whether our name is free, before anybody else hears of us, says hello, and waits for the
 * welcomes with the holds in force. Of two instances of one name that come at once the one that started first stays; the
 * other finds out here. Nobody is waited for longer than three heartbeats.
 */
import type { ActiveHold } from '../bus/payload.ts'
import type { BusTransport } from '../bus/transport.ts'
import type { Clock } from '../clock.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { Introductions } from './introductions.ts'

export interface BusJoiningOptions {
  readonly clock: Clock
  readonly transport: BusTransport
  readonly instance: string
  /** The channels for all, and for us. */
  readonly channels: readonly [frames: string, own: string]
  /** Milliseconds between two heartbeats, and for which one who doesn't answer is waited for. */
  readonly heartbeat: number
  readonly patience: number
  /** A bus that is lost meanwhile is no failure. */
  readonly allowUnavailable: boolean
  /** Asks whoever has our name. */
  readonly probe: (question: number) => void
  /** Our name is free: beat, and say hello to all. */
  readonly appear: () => Promise<void>
  /** Whether we hear ourselves. */
  readonly heard: () => boolean
}

export class BusJoining {
  readonly #options: BusJoiningOptions
  /** The question to whoever has our name. */
  readonly #question = Introductions.draw()
  readonly #welcomes = new Map<string, readonly ActiveHold[]>()
  #taken = false
  #over = false
  #look: () => void = () => {}

  constructor(options: BusJoiningOptions) {
    this.#options = options
  }

  /** The holds in force at those who have answered. */
  get holds(): readonly ActiveHold[] {
    return [...this.#welcomes.values()].flat()
  }

  /** Rejects with BUS_NAME_TAKEN, or with what `appear` rejects with. Resolves early when it is over. */
  async run(): Promise<void> {
    const { allowUnavailable, appear, channels, heard, probe } = this.#options
    const [frames, own] = channels
    const namesakes = await this.#othersOn(own)
    if (this.#over) return
    if (namesakes > 0) {
      // To the peers we would be the other one, started anew.
      probe(this.#question)
      await this.#until(() => this.#taken, namesakes)
      this.#refuseIfTaken()
      if (this.#over) return
    }
    try {
      await appear()
    } catch (error) {
      if (allowUnavailable && asSignalboxError(error).code === 'BUS_DOWN') return
      throw error
    }
    const others = await this.#othersOn(frames)
    await this.#until(() => this.#taken || (heard() && this.#welcomes.size >= others), others)
    this.#refuseIfTaken()
  }

  /** A peer has answered our hello. */
  welcomed(instance: string, holds: readonly ActiveHold[]): void {
    this.#welcomes.set(instance, holds)
    this.#look()
  }

  /** Somebody of our name has answered this question. */
  namesakeAnswered(question: number): void {
    if (question !== this.#question) return
    this.#taken = true
    this.#look()
  }

  /** Something has changed. */
  progress(): void {
    this.#look()
  }

  /** Nothing is waited for any more. */
  end(): void {
    this.#over = true
    this.#look()
  }

  #refuseIfTaken(): void {
    if (!this.#taken) return
    const { instance } = this.#options
    throw new SignalboxError('BUS_NAME_TAKEN', `another live instance is named "${instance}": give this one a cluster.instance of its own`)
  }

  /** Subscribers besides ourselves; infinitely many where that can't be told. */
  async #othersOn(channel: string): Promise<number> {
    const { heartbeat, transport } = this.#options
    const subscribers = await transport.subscribers(channel, heartbeat)
    return subscribers === undefined ? Number.POSITIVE_INFINITY : Math.max(0, subscribers - 1)
  }

  /** Resolves when the condition holds, those who are waited for have had their time, or it is over. */
  #until(condition: () => boolean, others: number): Promise<void> {
    const { clock, heartbeat, patience } = this.#options
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel()
        this.#look = () => {}
        resolve()
      }
      // Where nobody can say how many there are, everyone would wait the whole time.
      const timer = clock.after(Number.isFinite(others) ? patience : heartbeat, done, { keepAlive: true })
      this.#look = () => {
        if (condition() || this.#over) done()
      }
      this.#look()
    })
  }
}
