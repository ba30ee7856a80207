/**
 * One life of the two connections that the bus needs of Redis: a subscriber and a publisher to the same server. They
 * live and die together, so that what is published is published where it is listened for, whatever a failover does. Both
 * are asked for a sign of life at each heartbeat, since a subscriber that has nothing to hear would never notice a dead
 * network. It is made once and never repairs itself: redis.ts makes the next one.
 */
import type { Redis } from 'ioredis'
import type { Clock, Timer } from '../clock.ts'
import { SignalboxError } from '../errors.ts'
import { BUS_BACKLOG, BUS_PATIENCE, FRAME, REDIS_HANDSHAKE_MS, REDIS_REPLY } from '../limits.ts'
import { plainWords, replyCode } from '../mapping/redis/failure.ts'
import { ReplyGuard } from '../mapping/redis/reply-guard.ts'

/** What a message is wrapped in: three lengths, "message", the channel's name. */
const WRAPPING = 4_096

/** Codes of replies that say that we may not, rather than not now. */
const REFUSALS = new Set(['NOAUTH', 'NOPERM', 'WRONGPASS'])

export interface RedisPairOptions {
  /** Makes a client that is not connected yet, RESP2, and stays lost when it is lost. Both calls must reach the same server. */
  readonly connect: (name: string) => Redis
  readonly clock: Clock
  /** Milliseconds between signs of life. */
  readonly heartbeat: number
  readonly message: (channel: string, bytes: Buffer) => void
  /** Called once at most, after `open` has resolved. */
  readonly lost: (reason: string) => void
}

/** BUS_REFUSED or BUS_DOWN, in the server's words: errors of the client library carry commands with their arguments. */
export function busFailure(thrown: unknown, doing: string): SignalboxError {
  if (thrown instanceof SignalboxError) return thrown
  const code = REFUSALS.has(replyCode(thrown)) ? 'BUS_REFUSED' : 'BUS_DOWN'
  return new SignalboxError(code, `bus: ${doing}: ${plainWords(thrown)}`)
}

export class RedisPair {
  readonly #options: RedisPairOptions
  readonly #subscriber: Redis
  readonly #publisher: Redis
  /** Why connecting failed, before it is told by a closed connection. */
  #refusal: unknown
  #heartbeat: Timer | undefined
  #beating = false
  #opened = false
  #ended: string | undefined
  #backlog = 0

  constructor(options: RedisPairOptions) {
    this.#options = options
    this.#subscriber = options.connect('signalbox-bus-subscriber')
    this.#publisher = options.connect('signalbox-bus-publisher')
    this.#watchOver(this.#subscriber, FRAME + WRAPPING)
    this.#watchOver(this.#publisher, REDIS_REPLY)
  }

  /** Resolves when the channels are subscribed to. Rejects with BUS_REFUSED or BUS_DOWN; the pair is then closed. */
  async open(channels: readonly string[]): Promise<void> {
    const { clock, heartbeat } = this.#options
    try {
      await this.#within(REDIS_HANDSHAKE_MS, this.#setUp(channels))
      if (this.#ended !== undefined) throw new Error(this.#ended)
    } catch (thrown) {
      const reason = this.#ended
      this.close()
      const cause = this.#refusal ?? thrown
      throw busFailure(replyCode(cause) === '' && reason !== undefined ? new Error(reason) : cause, 'subscribing')
    }
    this.#opened = true
    this.#heartbeat = clock.every(heartbeat, () => void this.#beat())
  }

  /** Rejects with BUS_DOWN or BUS_REFUSED. */
  async publish(channel: string, bytes: Buffer, deadline: number): Promise<void> {
    if (this.#publisher.status !== 'ready') throw new SignalboxError('BUS_DOWN', `bus: ${this.#ended ?? 'not connected'}`)
    if (this.#backlog + bytes.length > BUS_BACKLOG) {
      throw new SignalboxError('BUS_DOWN', `bus: the server has not taken ${this.#backlog} bytes that were sent to it`)
    }
    this.#backlog += bytes.length
    const sent = this.#publisher.publish(channel, bytes).finally(() => (this.#backlog -= bytes.length))
    try {
      await this.#within(deadline, sent)
    } catch (thrown) {
      throw busFailure(thrown, 'publishing')
    }
  }

  /** Undefined: the server doesn't say. */
  async subscribers(channel: string, deadline: number): Promise<number | undefined> {
    try {
      const answer: unknown = await this.#within(deadline, this.#publisher.call('PUBSUB', 'NUMSUB', channel))
      const count = Array.isArray(answer) ? Number(answer[1]) : Number.NaN
      return Number.isSafeInteger(count) ? count : undefined
    } catch {
      // Not permitted, or gone in this moment: then it can't be told.
      return undefined
    }
  }

  /** Idempotent; `lost` is not called any more. */
  close(): void {
    this.#opened = false
    this.#end('closed')
  }

  async #setUp(channels: readonly string[]): Promise<void> {
    await Promise.all([this.#subscriber.connect(), this.#publisher.connect()])
    this.#subscriber.on('messageBuffer', (channel: Buffer, message: Buffer) => {
      if (this.#ended === undefined) this.#options.message(channel.toString(), message)
    })
    await this.#subscriber.subscribe(...channels)
  }

  #watchOver(client: Redis, limit: number): void {
    let error = 'the connection was closed'
    client.on('error', (thrown: unknown) => {
      error = plainWords(thrown)
      if (replyCode(thrown) !== '') this.#refusal ??= thrown
    })
    client.on('close', () => this.#end(error))
    client.on('end', () => this.#end(error))
    client.on('connect', () => {
      const guard = new ReplyGuard(limit)
      const { stream } = client
      stream.on('data', (bytes: Buffer) => {
        if (!guard.accept(bytes)) stream.destroy(new Error(`a message exceeds ${limit} bytes`))
      })
    })
  }

  async #beat(): Promise<void> {
    // One at a time: the deadline is longer than the pause between two.
    if (this.#beating || !this.#opened) return
    this.#beating = true
    try {
      await this.#within(this.#options.heartbeat * BUS_PATIENCE, Promise.all([this.#subscriber.ping(), this.#publisher.ping()]))
    } catch (thrown) {
      // A server that may be listened to but not pinged has answered.
      if (replyCode(thrown) === '') this.#end(plainWords(thrown))
    } finally {
      this.#beating = false
    }
  }

  #within<T>(ms: number, work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const late = (): void => reject(new SignalboxError('BUS_DOWN', `bus: no answer within ${ms} ms`))
      const timer = this.#options.clock.after(ms, late, { keepAlive: true })
      work.then(resolve, reject).finally(() => timer.cancel())
    })
  }

  #end(reason: string): void {
    if (this.#ended !== undefined) return
    this.#ended = reason
    this.#heartbeat?.cancel()
    for (const client of [this.#subscriber, this.#publisher]) {
      client.disconnect()
      // At once: a server that doesn't answer would be waited for. Typed as always there; before the first connection it isn't.
      const { stream }: { stream?: Redis['stream'] } = client
      stream?.destroy()
    }
    if (this.#opened) {
      this.#opened = false
      this.#options.lost(reason)
    }
  }
}
