/**
 * The bus over Redis pub/sub: makes a pair of connections (redis-pair.ts), and the next one when it is lost, for ever, with
 * growing, jittered pauses. While there is none, publishing fails at once: nothing is queued, since a change that comes
 * late is told by the gap it left. In a cluster, whose nodes pass messages on to each other, it uses one node at a time, so
 * that order is kept; behind sentinels, whom they name.
 */
import type { Clock, Timer } from '../clock.ts'
import { parseRedisUrl } from '../config/redis-url.ts'
import type { RedisTarget } from '../config/redis-url.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { RECONNECT_MAX_MS } from '../limits.ts'
import { reconnectPause } from '../mapping/backoff.ts'
import { makeWatchClient } from '../mapping/redis/connection.ts'
import { RedisPair } from './redis-pair.ts'
import type { BusListener, BusTransport } from './transport.ts'

export interface RedisTransportOptions {
  /** `cluster.bus`: redis://, rediss://, redis+sentinel://, redis+cluster://. */
  readonly url: string
  readonly clock: Clock
  /** `cluster.heartbeat`, milliseconds: both connections must give a sign of life within three. */
  readonly heartbeat: number
  /** PEM bundle that verifies `rediss://`; undefined: the system's store. */
  readonly ca?: string | undefined
}

export class RedisTransport implements BusTransport {
  readonly #options: RedisTransportOptions
  readonly #target: RedisTarget
  #channels: readonly string[] = []
  #listener: BusListener | undefined
  #pair: RedisPair | undefined
  #state: 'new' | 'opening' | 'up' | 'away' | 'closed' = 'new'
  #trouble = 'not connected yet'
  #tries = 0
  /** Which node of a cluster comes next. */
  #node = 0
  #upSince = 0
  #again: Timer | undefined

  /** Throws CONFIG_INVALID for a URL that is none. */
  constructor(options: RedisTransportOptions) {
    this.#options = options
    this.#target = parseRedisUrl(options.url)
  }

  async open(channels: readonly string[], listener: BusListener, allowUnavailable: boolean): Promise<boolean> {
    if (this.#state !== 'new') throw new SignalboxError('BUS_DOWN', 'bus: opened once only')
    this.#channels = channels
    this.#listener = listener
    this.#state = 'opening'
    try {
      await this.#connect()
      return true
    } catch (thrown) {
      const error = asSignalboxError(thrown, 'BUS_DOWN')
      if (this.#isClosed() || error.code !== 'BUS_DOWN' || !allowUnavailable) {
        await this.close()
        throw error
      }
      this.#trouble = error.message
      this.#later()
      return false
    }
  }

  async publish(channel: string, bytes: Buffer, deadline: number): Promise<void> {
    if (this.#pair === undefined) throw new SignalboxError('BUS_DOWN', `bus: ${this.#trouble}`)
    return this.#pair.publish(channel, bytes, deadline)
  }

  async subscribers(channel: string, deadline: number): Promise<number | undefined> {
    // A node of a cluster knows its own subscribers only.
    if (this.#target.kind === 'cluster') return undefined
    return this.#pair?.subscribers(channel, deadline)
  }

  trouble(): string | undefined {
    return this.#state === 'up' ? undefined : `${this.#target.text}: ${this.#trouble}`
  }

  async close(): Promise<void> {
    this.#state = 'closed'
    this.#trouble = 'closed'
    this.#again?.cancel()
    this.#pair?.close()
    this.#pair = undefined
  }

  async #connect(): Promise<void> {
    const { url: _, clock, heartbeat, ...tls } = this.#options
    const target = this.#target
    const node = target.kind === 'cluster' ? target.nodes[this.#node++ % target.nodes.length] : undefined
    const pair = new RedisPair({
      connect: (name) => makeWatchClient({ target, clock, name, ca: tls.ca }, node),
      clock,
      heartbeat,
      message: (channel, bytes) => this.#listener?.frame(channel, bytes),
      lost: (reason) => this.#lost(reason),
    })
    // At once: what comes with the answer to the subscription is answered.
    this.#pair = pair
    try {
      await pair.open(this.#channels)
    } catch (error) {
      if (this.#pair === pair) this.#pair = undefined
      throw error
    }
    if (this.#isClosed()) throw new SignalboxError('BUS_DOWN', 'bus: closed')
    this.#state = 'up'
    this.#upSince = clock.now()
  }

  /** For the compiler, which doesn't see that an await may change it. */
  #isClosed(): boolean {
    return this.#state === 'closed'
  }

  #lost(reason: string): void {
    if (this.#isClosed()) return
    this.#pair = undefined
    this.#trouble = reason
    // What is lost as soon as it is made isn't tried again as if for the first time.
    if (this.#options.clock.now() - this.#upSince >= RECONNECT_MAX_MS) this.#tries = 0
    this.#later()
  }

  #later(): void {
    this.#state = 'away'
    this.#again = this.#options.clock.after(reconnectPause(++this.#tries), () => void this.#tryAgain())
  }

  async #tryAgain(): Promise<void> {
    try {
      await this.#connect()
    } catch (thrown) {
      if (this.#isClosed()) return
      this.#trouble = asSignalboxError(thrown).message
      return this.#later()
    }
    this.#listener?.resubscribed()
  }
}
