/**
 * The bridge: two sockets, bytes unread in both directions, with back-pressure and half-close, until both sides have
 * ended or either fails. It owns the sockets from here on; at its end both are closed. Node's own idle time-outs (one
 * list per duration, no timer per session) end a session without a byte in either direction.
 *
 * Every byte read from one side is written to the other, and a socket's time-out is refreshed by reads and writes, so
 * one time-out on the client's socket watches both directions. When one socket has closed in good order, the other one
 * is left to send what is still written to it, and gets the time-out.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { unpooled } from '../inlet.ts'
import { KEEPALIVE_IDLE_MS, KEEPALIVE_INTERVAL_MS, KEEPALIVE_PROBES } from '../limits.ts'
import { flow, hasEnded, own } from '../wire.ts'
import type { WireOwner } from '../wire.ts'

export type BridgeEnd = 'client' | 'backend' | 'client-error' | 'backend-error' | 'idle' | 'ended'

export interface BridgeResult {
  /** Who ended it: the side that sent its FIN or failed first, `idle`, or `ended` when `end` was called. */
  readonly reason: BridgeEnd
  /** Bytes from the client to the backend and back, counted from the hand-over. */
  readonly bytesIn: number
  readonly bytesOut: number
}

export interface BridgeOptions {
  readonly client: Socket
  readonly backend: Socket
  /** server.bridge_idle, milliseconds. */
  readonly idle: number
  /** Called once, when both sockets are closed. */
  readonly done: (result: BridgeResult) => void
  /** Counts what all bridges of a kind carry. */
  readonly meter?: Meter
}

/** Bytes from clients to backends, and back. */
export interface Meter {
  bytesIn: number
  bytesOut: number
}

export interface Bridge {
  /** Ends it at once (kick, drain): nothing is injected. Idempotent. */
  end(): void
  /** It has lasted: dead peers are to be noticed from now on. */
  keepAlive(): void
  /** Carried so far. */
  readonly bytesIn: number
  readonly bytesOut: number
}

export function bridge(options: BridgeOptions): Bridge {
  return new Standing(options)
}

type Side = 'client' | 'backend'

class Standing implements Bridge {
  readonly #options: BridgeOptions
  readonly #inward: Half
  readonly #outward: Half
  #reason: BridgeEnd | undefined
  #open = 2

  constructor(options: BridgeOptions) {
    this.#options = options
    const { client, backend, idle, meter } = options
    this.#inward = new Half('client', client, backend, this, meter)
    this.#outward = new Half('backend', backend, client, this, meter)
    client.setTimeout(idle)
    this.#inward.begin()
    this.#outward.begin()
  }

  get bytesIn(): number {
    return this.#inward.bytes
  }

  get bytesOut(): number {
    return this.#outward.bytes
  }

  end(): void {
    this.because('ended')
    this.#destroy()
  }

  keepAlive(): void {
    for (const socket of [this.#options.client, this.#options.backend]) {
      if (!socket.destroyed) socket.setKeepAlive(true, KEEPALIVE_IDLE_MS, KEEPALIVE_INTERVAL_MS, KEEPALIVE_PROBES)
    }
  }

  // ---- for the halves ----

  because(why: BridgeEnd): void {
    this.#reason ??= why
  }

  failed(side: Side): void {
    this.because(`${side}-error`)
    this.#destroy()
  }

  closed(side: Side): void {
    const { client, backend, idle, done } = this.#options
    this.#open--
    if (this.#open === 0) return done({ reason: this.#reason ?? 'ended', bytesIn: this.bytesIn, bytesOut: this.bytesOut })
    const [socket, other, from, towards] = side === 'client' ? [client, backend, this.#inward, this.#outward] : [backend, client, this.#outward, this.#inward]
    // A side that is through in good order has said all it had to say; the other may still be on its way to take it.
    if (from.ended && (socket.writableFinished || towards.through)) other.setTimeout(idle)
    else this.#destroy()
  }

  idled(): void {
    this.because('idle')
    this.#destroy()
  }

  /** Whether the side has told its end: that its socket has read it is not enough while it is held. */
  hasTold(side: Side): boolean {
    return (side === 'client' ? this.#inward : this.#outward).ended
  }

  /** What was held back because `side` was too slow may go on. */
  drained(side: Side): void {
    const half = side === 'client' ? this.#outward : this.#inward
    half.goOn()
  }

  #destroy(): void {
    this.#options.client.destroy()
    this.#options.backend.destroy()
  }
}

/** One direction: data with back-pressure, then the half-close. Listens to the socket that the data comes from. */
class Half implements WireOwner {
  /** Carried so far. */
  bytes = 0
  readonly #side: Side
  readonly #from: Socket
  readonly #to: Socket
  readonly #bridge: Standing
  readonly #meter: Meter | undefined
  /** The other side is slower, for the moment. */
  #waits = false
  /** Its end was heard. */
  ended = false
  /** The socket that the data goes to was told all and closed. */
  through = false

  constructor(side: Side, from: Socket, to: Socket, bridge: Standing, meter: Meter | undefined) {
    this.#side = side
    this.#from = from
    this.#to = to
    this.#bridge = bridge
    this.#meter = meter
    own(from, this)
  }

  begin(): void {
    if (hasEnded(this.#from)) this.onEnd()
    else flow(this.#from)
  }

  goOn(): void {
    if (!this.#waits) return
    this.#waits = false
    this.#from.resume()
  }

  onData(chunk: Buffer): void {
    const { length } = chunk
    this.bytes += length
    if (this.#meter !== undefined) {
      if (this.#side === 'client') this.#meter.bytesIn += length
      else this.#meter.bytesOut += length
    }
    // What has to wait behind others is kept in memory of its own.
    if (this.#to.write(this.#to.writableLength > 0 ? unpooled(chunk) : chunk)) return
    this.#waits = true
    this.#from.pause()
  }

  /** What the system has taken at once is needed no longer; for what it has not, the socket that it came from waits. */
  onLent(chunk: Buffer): boolean {
    this.onData(chunk)
    return this.#waits || this.#to.writableLength === 0
  }

  onDrain(): void {
    this.#bridge.drained(this.#side)
  }

  onTimeout(): void {
    this.#bridge.idled()
  }

  /** The half-close is passed on. Where the other half is over as well, closing says the same and costs a system call less. */
  onEnd(): void {
    this.ended = true
    this.#bridge.because(this.#side)
    const to = this.#to
    if (this.#bridge.hasTold(this.#side === 'client' ? 'backend' : 'client') && to.writableLength === 0 && !(to instanceof TLSSocket)) {
      this.through = true
      to.destroy()
    } else to.end()
  }

  onError(): void {
    this.#bridge.failed(this.#side)
  }

  onClose(): void {
    this.#bridge.closed(this.#side)
  }
}
