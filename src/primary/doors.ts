/**
 * The listening sockets of the primary, by address. A reload changes which listener an address belongs to, which
 * addresses are listened on, or both: new sockets are bound before old ones are closed, and one that stays is never
 * closed, since that would reset whoever waits in its queue. What comes in on a new socket before the change is decided
 * waits for the decision.
 *
 * An address that overlaps with one that is still open (a port on all addresses, and on one of them) can't be bound while
 * the other is: the reload is refused then.
 */
import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import type { ListenerConfig, SocketAddress } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import { addressText } from '../listener/address.ts'
import type { NumberedListener } from '../listener/numbered.ts'

export interface DoorsOptions {
  readonly accept: (socket: Socket, listener: NumberedListener) => void
  /** The system could not accept a connection. */
  readonly failed: (listener: ListenerConfig, error: Error) => void
}

/** A change that is ready. Exactly one of the two is called. */
export interface DoorChange {
  /** From now on connections are accepted for the new listeners, and sockets that nobody wants are closed. */
  commit(): void
  /** Closes what was bound for it. */
  abort(): void
}

interface Door {
  readonly server: Server
  listener: NumberedListener
  /** Came in before the change was decided; undefined: it was. */
  waiting: Socket[] | undefined
}

interface Wanted {
  readonly key: string
  readonly address: SocketAddress
  readonly listener: NumberedListener
}

/** Connections that wait for a decision on one socket; it is a matter of milliseconds. */
const WAITING = 4096

export class Doors {
  readonly #options: DoorsOptions
  readonly #doors = new Map<string, Door>()
  #closed = false

  constructor(options: DoorsOptions) {
    this.#options = options
  }

  get addresses(): readonly { readonly listener: string; readonly host: string; readonly port: number }[] {
    return [...this.#doors.values()].flatMap(({ server, listener }) => {
      const address = server.address()
      return typeof address === 'object' && address !== null
        ? [{ listener: listener.listener.name, host: address.address, port: address.port }]
        : []
    })
  }

  /** Rejects with LISTEN_FAILED; nothing has changed then. */
  async prepare(listeners: readonly NumberedListener[]): Promise<DoorChange> {
    const wanted = listeners.flatMap((listener) => listener.listener.bind.map((address) => ({ key: keyOf(listener, address), address, listener })))
    const missing = wanted.filter(({ key }) => !this.#doors.has(key))
    const opened = new Map<string, Door>()
    const outcomes = await Promise.allSettled(missing.map((one) => this.#open(one, opened)))
    const abort = (): void => {
      for (const door of opened.values()) shut(door)
    }
    const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []))
    if (failures.length > 0) {
      abort()
      throw together(failures)
    }
    return { abort, commit: () => this.#commit(wanted, opened) }
  }

  /** Accepts no more. Idempotent. */
  close(): void {
    this.#closed = true
    for (const door of this.#doors.values()) door.server.close()
  }

  #commit(wanted: readonly Wanted[], opened: ReadonlyMap<string, Door>): void {
    if (this.#closed) {
      for (const door of opened.values()) shut(door)
      return
    }
    const keys = new Set(wanted.map(({ key }) => key))
    for (const [key, door] of this.#doors) {
      if (keys.has(key)) continue
      door.server.close()
      this.#doors.delete(key)
    }
    for (const { key, listener } of wanted) {
      const door = opened.get(key) ?? this.#doors.get(key)
      if (door === undefined) continue
      door.listener = listener
      this.#doors.set(key, door)
    }
    for (const door of opened.values()) {
      const { waiting = [], listener } = door
      door.waiting = undefined
      for (const socket of waiting) this.#options.accept(socket, listener)
    }
  }

  #open({ key, address, listener }: Wanted, opened: Map<string, Door>): Promise<void> {
    const { host, port, family, text } = address
    return new Promise((resolve, reject) => {
      const server = createServer({ pauseOnConnect: true, allowHalfOpen: true })
      const door: Door = { server, listener, waiting: [] }
      opened.set(key, door)
      server.on('connection', (socket) => {
        if (door.waiting === undefined) this.#options.accept(socket, door.listener)
        else if (door.waiting.length < WAITING) door.waiting.push(socket)
        else socket.destroy()
      })
      server.on('error', (error) => {
        if (server.listening) return this.#options.failed(door.listener.listener, error)
        // Root was given up since the start, most likely.
        const forbidden = 'code' in error && error.code === 'EACCES' ? ' (for that a restart, or CAP_NET_BIND_SERVICE, is needed)' : ''
        const message = `listener "${listener.listener.name}" cannot listen on ${text}: ${error.message}${forbidden}`
        reject(new SignalboxError('LISTEN_FAILED', message, { cause: error }))
      })
      server.listen({ host, port, ipv6Only: family === 6, backlog: 4096, exclusive: true }, resolve)
    })
  }
}

/** Addresses that differ in their spelling only are one. Ports that the kernel chooses are a listener's own. */
function keyOf({ listener }: NumberedListener, { host, port, text }: SocketAddress): string {
  return port === 0 ? `${listener.name} ${listener.bind.findIndex((address) => address.text === text)} ${text}` : `${addressText(host)} ${port}`
}

function shut({ server, waiting }: Door): void {
  server.close()
  for (const socket of waiting ?? []) socket.destroy()
}

/** Of several failures one error that names them all. */
function together(failures: readonly unknown[]): unknown {
  const [first, ...others] = failures
  if (others.length === 0) return first
  const message = failures.map((failure) => (failure instanceof Error ? failure.message : String(failure))).join('; ')
  return new SignalboxError('LISTEN_FAILED', message, { cause: new AggregateError(failures) })
}
