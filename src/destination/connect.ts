/**
 * TCP to a destination. Several addresses are tried with a head start of CONNECT_STAGGER_MS each, the first connection
 * wins (RFC 8305, "Happy Eyeballs"). Node's own autoSelectFamily is not used: it gives an address up when the next
 * one's turn comes, so that two slow addresses both fail, and it can't bind to a local address per family.
 *
 * Sockets come without Nagle's algorithm and half-open: a backend that has said all may still listen.
 */
import { connect, type Socket, type TcpNetConnectOpts } from 'node:net'
import type { Clock, Timer } from '../clock.ts'
import { SignalboxError } from '../errors.ts'
import { CONNECT_STAGGER_MS, KEEPALIVE_IDLE_MS, KEEPALIVE_INTERVAL_MS, KEEPALIVE_PROBES } from '../limits.ts'
import type { Address } from './dns.ts'
import type { Halt } from './halt.ts'
import { connectThrough } from '../inlet.ts'
import { disown, own } from '../wire.ts'
import type { WireOwner } from '../wire.ts'

export interface ConnectTarget {
  /** In the order to try them; at least one. */
  readonly addresses: readonly Address[]
  readonly port: number
  /** TCP keepalive from the beginning (four system calls); absent: whoever keeps the socket for long sees to it. */
  readonly keepAlive?: boolean
  /** Its bytes are for an owner (wire.ts) to the end, never for TLS or a client of HTTP: they are read the cheaper way (src/inlet.ts). */
  readonly owned?: boolean
  /** The local address to connect from, for a family; undefined: the system's choice. */
  readonly localAddress: (family: 4 | 6) => string | undefined
}

/**
 * Connects to the first address that answers. The socket is held (wire.ts) and has no owner. Rejects with BACKEND_CONNECT
 * (its cause: the system's errors), or the reason of `halt`.
 */
export function connectTcp(target: ConnectTarget, clock: Clock, halt: Halt): Promise<Socket> {
  return halt.step((resolve, reject) => {
    const race = new Race(target, clock, resolve, reject)
    race.next()
    return () => race.stop()
  })
}

class Race {
  readonly #target: ConnectTarget
  readonly #clock: Clock
  readonly #won: (socket: Socket) => void
  readonly #lost: (error: SignalboxError) => void
  #running: Runner[] = []
  readonly #errors: Error[] = []
  #tried = 0
  #headStart: Timer | undefined

  constructor(target: ConnectTarget, clock: Clock, won: (socket: Socket) => void, lost: (error: SignalboxError) => void) {
    this.#target = target
    this.#clock = clock
    this.#won = won
    this.#lost = lost
  }

  /** Starts the next address beside those that are still trying. */
  next(): void {
    this.#headStart?.cancel()
    this.#headStart = undefined
    const address = this.#target.addresses[this.#tried++]
    if (address === undefined) return
    this.#running.push(new Runner(this, open(address, this.#target)))
    if (this.#tried < this.#target.addresses.length) {
      this.#headStart = this.#clock.after(CONNECT_STAGGER_MS, () => this.next())
    }
  }

  /** Gives up all attempts. */
  stop(): void {
    this.#headStart?.cancel()
    const running = this.#running
    this.#running = []
    for (const { socket } of running) socket.destroy()
  }

  // ---- for the runners ----

  arrived(runner: Runner): void {
    if (!this.#leaves(runner)) return
    this.stop()
    disown(runner.socket)
    this.#won(runner.socket)
  }

  fell(runner: Runner, error: Error): void {
    if (!this.#leaves(runner)) return
    this.#errors.push(error)
    if (this.#tried < this.#target.addresses.length) {
      this.next()
    } else if (this.#running.length === 0) {
      this.#lost(connectError(this.#errors))
    }
  }

  #leaves(runner: Runner): boolean {
    const at = this.#running.indexOf(runner)
    if (at >= 0) this.#running.splice(at, 1)
    return at >= 0
  }
}

/** One address that is being tried. */
class Runner implements WireOwner {
  readonly #race: Race
  readonly socket: Socket

  constructor(race: Race, socket: Socket) {
    this.#race = race
    this.socket = socket
    own(socket, this)
  }

  onConnect(): void {
    this.#race.arrived(this)
  }

  onError(error: Error): void {
    this.#race.fell(this, error)
  }

  onData(): void {}
  onEnd(): void {}
  onClose(): void {}
}

function open({ address, family }: Address, { port, keepAlive, owned, localAddress }: ConnectTarget): Socket {
  const options: TcpNetConnectOpts = {
    host: address,
    port,
    family,
    noDelay: true,
    allowHalfOpen: true,
    autoSelectFamily: false,
  }
  const local = localAddress(family)
  if (local !== undefined) options.localAddress = local
  if (owned === true) return connectThrough(options)
  const socket = connect(options)
  if (keepAlive === true) socket.once('connect', () => socket.setKeepAlive(true, KEEPALIVE_IDLE_MS, KEEPALIVE_INTERVAL_MS, KEEPALIVE_PROBES))
  socket.pause()
  return socket
}

function connectError(errors: readonly Error[]): SignalboxError {
  const last = errors.at(-1)
  const cause = errors.length > 1 ? new AggregateError(errors, 'no address could be reached') : last
  return new SignalboxError('BACKEND_CONNECT', last?.message ?? 'no address could be reached', { cause })
}
