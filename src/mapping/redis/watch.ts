/**
 * Sees what others change in Redis, at once: one pair of connections (watch-pair.ts) on the server, or on every primary
 * of a cluster. Keys become identifiers and go out as invalidations. What may have been missed goes out as doubt: when a
 * pair is lost, because nothing is heard from then on, and when the next one is up, because nothing was heard until
 * then. A server that refuses to track keys is said once and asked again rarely; caches then live by their TTL.
 */
import type { Redis } from 'ioredis'
import type { Clock, Timer } from '../../clock.ts'
import { RECONNECT_MAX_MS, RELOAD_DIFFERENCES, WATCH_REFUSED_MS } from '../../limits.ts'
import { watchLost, watchUnavailable, watchUp } from '../../observe/events.ts'
import { reconnectPause } from '../backoff.ts'
import type { SourceLog } from '../notice.ts'
import type { Changed } from '../source.ts'
import { plainWords } from './failure.ts'
import { TrackingRefused, WatchPair, type Invalidated } from './watch-pair.ts'

/** `on`: everything is heard. `unavailable`: refused, or lost for the moment. */
export type WatchState = 'off' | 'on' | 'unavailable'

/** A server to watch; `connect` as watch-pair.ts wants it. */
export interface WatchedServer {
  /** Stays the same for the same server. */
  readonly id: string
  readonly connect: (name: string) => Redis
}

export interface RedisWatchOptions {
  /** All servers that hold keys, at this moment; asked again at each heartbeat. */
  readonly servers: () => readonly WatchedServer[]
  readonly prefix: string
  readonly clock: Clock
  readonly log: SourceLog
  /** Milliseconds. */
  readonly heartbeat: number
  readonly onChange: (change: Changed | { readonly doubt: true; readonly reason: string }) => void
}

interface Watched {
  readonly server: WatchedServer
  pair: WatchPair | undefined
  up: boolean
  /** Whether it was ever up: only then does making it again mean that something was missed. */
  wasUp: boolean
  tries: number
  again: Timer | undefined
}

export class RedisWatch {
  readonly #options: RedisWatchOptions
  readonly #prefix: Buffer
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  readonly #watched = new Map<string, Watched>()
  #refusalSaid = false
  #started = false
  #closed = false
  #census: Timer | undefined

  constructor(options: RedisWatchOptions) {
    this.#options = options
    this.#prefix = Buffer.from(options.prefix)
  }

  get state(): WatchState {
    if (this.#closed) return 'off'
    if (this.#watched.size === 0) return 'unavailable'
    for (const watched of this.#watched.values()) if (!watched.up) return 'unavailable'
    return 'on'
  }

  /** Resolves after the first try at every server, whatever came of it; goes on by itself. */
  async open(): Promise<void> {
    const tries = this.#options.servers().map((server) => this.#add(server))
    await Promise.all(tries)
    this.#started = true
    this.#census = this.#options.clock.every(this.#options.heartbeat, () => this.#count())
  }

  close(): void {
    this.#closed = true
    this.#census?.cancel()
    for (const watched of this.#watched.values()) this.#drop(watched)
    this.#watched.clear()
  }

  /** In a cluster primaries come and go. */
  #count(): void {
    const servers = this.#options.servers()
    // While a cluster is away it knows of none; its pairs notice by themselves.
    if (servers.length === 0) return
    const present = new Set(servers.map((server) => server.id))
    for (const [id, watched] of this.#watched) {
      if (present.has(id)) continue
      this.#watched.delete(id)
      this.#drop(watched)
      this.#doubt('a server has left the cluster')
    }
    for (const server of servers) if (!this.#watched.has(server.id)) void this.#add(server)
  }

  #add(server: WatchedServer): Promise<void> {
    const watched: Watched = { server, pair: undefined, up: false, wasUp: false, tries: 0, again: undefined }
    this.#watched.set(server.id, watched)
    return this.#try(watched)
  }

  async #try(watched: Watched): Promise<void> {
    const { prefix, clock, heartbeat } = this.#options
    const pair = new WatchPair({
      connect: watched.server.connect,
      prefix,
      clock,
      heartbeat,
      invalidated: (keys) => this.#invalidated(keys),
      lost: (reason) => this.#lost(watched, reason),
    })
    watched.pair = pair
    try {
      await pair.open()
    } catch (error) {
      if (error instanceof TrackingRefused) this.#refused(error)
      return this.#later(watched, error instanceof TrackingRefused ? WATCH_REFUSED_MS : RECONNECT_MAX_MS)
    }
    if (this.#closed || this.#watched.get(watched.server.id) !== watched) return pair.close()
    // What changed before the very first pair was up nobody has cached yet.
    const missed = watched.wasUp || this.#started || watched.tries > 0
    watched.up = true
    watched.wasUp = true
    watched.tries = 0
    if (missed) {
      watchUp(this.#options.log)
      this.#doubt('the watch was made anew')
    }
  }

  #lost(watched: Watched, reason: string): void {
    watched.up = false
    watchLost(this.#options.log, { reason })
    this.#doubt(`the watch was lost: ${reason}`)
    this.#later(watched, RECONNECT_MAX_MS)
  }

  #later(watched: Watched, longest: number): void {
    if (this.#closed || this.#watched.get(watched.server.id) !== watched) return
    watched.again = this.#options.clock.after(reconnectPause(++watched.tries, longest), () => void this.#try(watched))
  }

  #refused(error: TrackingRefused): void {
    if (this.#refusalSaid) return
    this.#refusalSaid = true
    watchUnavailable(this.#options.log, { reason: plainWords(error) })
  }

  #drop(watched: Watched): void {
    watched.again?.cancel()
    watched.up = false
    watched.pair?.close()
  }

  #invalidated(keys: Invalidated): void {
    if (keys === 'all') return this.#options.onChange({ all: true })
    const identifiers: string[] = []
    for (const key of keys) {
      const identifier = this.#identifier(key)
      if (identifier !== undefined) identifiers.push(identifier)
    }
    if (identifiers.length === 0) return
    this.#options.onChange(identifiers.length > RELOAD_DIFFERENCES ? { all: true } : { all: false, identifiers })
  }

  /** Undefined: no key that a lookup could ask for. */
  #identifier(key: Buffer): string | undefined {
    const { length } = this.#prefix
    if (key.length <= length || key.compare(this.#prefix, 0, length, 0, length) !== 0) return undefined
    try {
      return this.#decoder.decode(key.subarray(length))
    } catch {
      return undefined
    }
  }

  #doubt(reason: string): void {
    this.#options.onChange({ doubt: true, reason })
  }
}
