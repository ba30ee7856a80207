/**
 * The pair of connections that tells what others change on one Redis server: a subscriber to `__redis__:invalidate`,
 * and a tracker with CLIENT TRACKING ON REDIRECT <subscriber> BCAST PREFIX <prefix> (Redis, "Client-side caching",
 * "Two connections mode"). Tracking dies without a word when the subscriber is gone or comes back under another id, so
 * the two live and die together: whatever happens to one ends both, and `lost` says so. At each heartbeat a PING goes
 * over one and CLIENT TRACKINGINFO over the other; silence beyond a deadline ends the pair too.
 *
 * It is made once and never repairs itself: watch.ts makes the next one.
 */
import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import type { Clock, Timer } from '../../clock.ts'
import { SignalboxError } from '../../errors.ts'
import { REDIS_HANDSHAKE_MS, REDIS_PUSH, WATCH_SILENCE } from '../../limits.ts'
import { within } from '../deadline.ts'
import { isReplyError, plainWords, replyCode } from './failure.ts'

const CHANNEL = '__redis__:invalidate'

/** Keys of one message as they are on the wire; "all": the database was flushed. */
export type Invalidated = readonly Buffer[] | 'all'

export interface WatchPairOptions {
  /** Makes a client that is not connected yet, RESP2, and stays lost when it is lost. Both calls must reach the same server. */
  readonly connect: (name: string) => Redis
  readonly prefix: string
  readonly clock: Clock
  /** Milliseconds between heartbeats. */
  readonly heartbeat: number
  readonly invalidated: (keys: Invalidated) => void
  /** Called once at most, after `open` has resolved. */
  readonly lost: (reason: string) => void
}

/** The server is there and says no: permissions, an old version, a managed service. */
export class TrackingRefused extends Error {
  override readonly name = 'TrackingRefused'
}

export class WatchPair {
  readonly #options: WatchPairOptions
  readonly #subscriber: Redis
  readonly #tracker: Redis
  readonly #name = `signalbox-watch-${randomBytes(8).toString('hex')}`
  #id = ''
  #probe: 'TRACKINGINFO' | 'GETREDIR' = 'TRACKINGINFO'
  #heartbeat: Timer | undefined
  #beating = false
  #opened = false
  #ended: string | undefined
  /** Bytes since the last message or heartbeat, on both. */
  #unread = 0

  constructor(options: WatchPairOptions) {
    this.#options = options
    this.#subscriber = options.connect(this.#name)
    this.#tracker = options.connect('signalbox-tracker')
    for (const client of [this.#subscriber, this.#tracker]) {
      let error = 'the connection was closed'
      client.on('error', (thrown: unknown) => (error = plainWords(thrown)))
      client.on('close', () => this.#end(error))
      client.on('end', () => this.#end(error))
      client.on('connect', () => this.#count(client.stream))
    }
  }

  /** Resolves when tracking is on. Rejects with TrackingRefused, or SOURCE_UNAVAILABLE or SOURCE_TIMEOUT; the pair is then closed. */
  async open(): Promise<void> {
    try {
      await within(this.#options.clock, REDIS_HANDSHAKE_MS, 'Redis: watch', this.#setUp())
      if (this.#ended !== undefined) throw new Error(this.#ended)
    } catch (error) {
      const reason = this.#ended
      this.close()
      if (error instanceof TrackingRefused || error instanceof SignalboxError) throw error
      throw new SignalboxError('SOURCE_UNAVAILABLE', `Redis: watch: ${reason ?? plainWords(error)}`)
    }
    this.#opened = true
    this.#heartbeat = this.#options.clock.every(this.#options.heartbeat, () => void this.#beat())
  }

  /** Idempotent; `lost` is not called any more. */
  close(): void {
    this.#opened = false
    this.#end('closed')
  }

  async #setUp(): Promise<void> {
    const { prefix } = this.#options
    await Promise.all([this.#subscriber.connect(), this.#tracker.connect()])
    this.#id = String(await this.#allowed(this.#subscriber.client('ID')))
    // The library declares a Buffer here; of an invalidation it is an array of them, or null.
    const subscriber: { on(event: 'messageBuffer', listener: (channel: Buffer, message: unknown) => void): unknown } = this.#subscriber
    subscriber.on('messageBuffer', (channel, message) => this.#message(channel, message))
    await this.#allowed(this.#subscriber.subscribe(CHANNEL))
    await this.#allowed(this.#tracker.call('CLIENT', 'TRACKING', 'ON', 'REDIRECT', this.#id, 'BCAST', 'PREFIX', prefix))
    await this.#checkSameServer()
    await this.#chooseProbe()
  }

  /** Behind a balancer or in the middle of a failover the two may have reached different servers, with the same id on both. */
  async #checkSameServer(): Promise<void> {
    let list: unknown
    try {
      list = await this.#tracker.call('CLIENT', 'LIST', 'ID', this.#id)
    } catch (error) {
      // Not permitted, or older than 6.2: then nothing can be compared.
      if (isReplyError(error)) return
      throw error
    }
    if (!String(list).includes(`name=${this.#name} `)) throw new Error('the two connections have reached different servers')
  }

  async #chooseProbe(): Promise<void> {
    try {
      this.#checkTracking(await this.#tracker.call('CLIENT', 'TRACKINGINFO'))
    } catch (error) {
      if (!isReplyError(error)) throw error
      // Older than 6.2.
      this.#probe = 'GETREDIR'
      this.#checkTracking(await this.#allowed(this.#tracker.call('CLIENT', 'GETREDIR')))
    }
  }

  /** The library gathers a reply whole before it gives it on: nothing may grow without end. */
  #count(stream: Redis['stream']): void {
    stream.on('data', (bytes: Buffer) => {
      this.#unread += bytes.length
      if (this.#unread > REDIS_PUSH) stream.destroy(new Error(`a message exceeds ${REDIS_PUSH} bytes`))
    })
  }

  async #allowed<T>(command: Promise<T>): Promise<T> {
    try {
      return await command
    } catch (error) {
      const code = replyCode(error)
      // LOADING, MASTERDOWN, NOAUTH …: not now, rather than never.
      if (code === 'NOPERM' || code === 'ERR') throw new TrackingRefused(plainWords(error))
      throw error
    }
  }

  async #beat(): Promise<void> {
    // One at a time: the deadline is longer than the pause between two.
    if (this.#beating || !this.#opened) return
    this.#beating = true
    const { clock, heartbeat } = this.#options
    try {
      const answers = Promise.all([this.#subscriber.ping(), this.#tracker.call('CLIENT', this.#probe)])
      const [, state] = await within(clock, heartbeat * WATCH_SILENCE, 'Redis: watch', answers)
      this.#unread = 0
      this.#checkTracking(state)
    } catch (error) {
      this.#end(plainWords(error))
    } finally {
      this.#beating = false
    }
  }

  /** The answer of CLIENT TRACKINGINFO (flags, redirect, prefixes) or CLIENT GETREDIR (the id). Throws when it isn't what we asked for. */
  #checkTracking(state: unknown): void {
    if (this.#probe === 'GETREDIR') {
      if (String(state) !== this.#id) throw new Error('tracking has ended')
      return
    }
    const fields: readonly unknown[] = Array.isArray(state) ? state : []
    const value = (name: string): unknown => fields[fields.indexOf(name) + 1]
    const flags = value('flags')
    const on = Array.isArray(flags) && flags.includes('on') && flags.includes('bcast') && !flags.includes('broken_redirect')
    if (!on || String(value('redirect')) !== this.#id) throw new Error('tracking has ended')
  }

  #message(channel: Buffer, message: unknown): void {
    this.#unread = 0
    if (this.#ended !== undefined || channel.toString() !== CHANNEL) return
    if (message === null || message === undefined) return this.#options.invalidated('all')
    const keys = Array.isArray(message) ? message : [message]
    const known = keys.filter((key) => Buffer.isBuffer(key))
    // Something that isn't a list of keys: whatever it was about, it was about something.
    this.#options.invalidated(known.length === keys.length ? known : 'all')
  }

  #end(reason: string): void {
    if (this.#ended !== undefined) return
    this.#ended = reason
    this.#heartbeat?.cancel()
    this.#subscriber.disconnect()
    this.#tracker.disconnect()
    if (this.#opened) {
      this.#opened = false
      this.#options.lost(reason)
    }
  }
}
