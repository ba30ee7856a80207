/**
 * The voice of an instance on the bus: numbers what goes to all, encodes, hands over to the transport. Whatever becomes of
 * a frame to all, its number is used up, so that peers see that they have missed something. Says nothing once it is silent.
 */
import { encodeBusFrame } from '../bus/frame.ts'
import type { BusPayload } from '../bus/payload.ts'
import type { BusTransport } from '../bus/transport.ts'
import type { ClusterConfig } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'

export interface BusSenderOptions {
  readonly cluster: ClusterConfig
  readonly epoch: number
  readonly transport: BusTransport
}

export class BusSender {
  /** Where frames to all go. */
  readonly frames: string
  /** Frames encoded so far. */
  sent = 0
  readonly #options: BusSenderOptions
  #sequence = 0
  #silent = false

  constructor(options: BusSenderOptions) {
    this.#options = options
    this.frames = `${options.cluster.channel}:frames`
  }

  /** The last number used. */
  get sequence(): number {
    return this.#sequence
  }

  /** Where frames to one instance go. */
  channelOf(instance: string): string {
    return `${this.#options.cluster.channel}:to:${instance}`
  }

  /** The number is taken before this returns. Rejects with BUS_DOWN, BUS_REFUSED or FRAME_INVALID. */
  async toAll(payload: BusPayload, deadline: number): Promise<void> {
    const sequence = ++this.#sequence
    if (this.#silent) throw new SignalboxError('BUS_DOWN', 'this instance has left the bus')
    await this.#publish(this.frames, payload, sequence, deadline)
  }

  /** Rejects as `toAll`; resolves without sending once it is silent: whoever waits is told by the bye. */
  async to(instance: string, payload: BusPayload, deadline: number): Promise<void> {
    if (this.#silent) return
    await this.#publish(this.channelOf(instance), payload, 0, deadline)
  }

  silence(): void {
    this.#silent = true
  }

  #publish(channel: string, payload: BusPayload, sequence: number, deadline: number): Promise<void> {
    const { cluster, epoch, transport } = this.#options
    const { kind, ...fields } = payload
    const bytes = encodeBusFrame({ kind, instance: cluster.instance, epoch, sequence, payload: fields }, channel, cluster.secret)
    this.sent++
    return transport.publish(channel, bytes, deadline)
  }
}
