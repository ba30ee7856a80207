/**
 * How connections come into a worker. Handed out by the primary: a connection that was sent too long ago is declined
 * (the primary has given it to somebody else, or is about to), the others are taken in one batch per turn of the event
 * loop, and the primary is told so before the first byte goes out, so that it never gives a connection away twice.
 *
 * Accepted from shared listening sockets (`distribution = "kernel"`): counted here against this worker's share of
 * `max_connections`, and told to the primary afterwards.
 *
 * What has begun and ended is told in company: a message of its own for each would cost the two processes as much as a
 * tenth of the session. Whoever needs to know at once (a limit for each address) says so.
 */
import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import type { ActorRef } from '../actor/message.ts'
import type { Clock, Timer } from '../clock.ts'
import type { ConnectionEnvelope } from '../cluster/channel.ts'
import type { ListenerConfig } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import { ENDED_MS, HANDOVER_DEADLINE_MS, HANDOVER_FRESH_MS } from '../limits.ts'
import { plainAddress } from '../listener/address.ts'
import type { NumberedListener } from '../listener/numbered.ts'
import type { AcceptorMessage } from '../primary/handover-messages.ts'
import type { LimitsMessage, Opened } from '../primary/limits.ts'

/** A connection that is this worker's. */
export interface Taken {
  readonly id: number
  /** Its number. */
  readonly listener: number
  readonly socket: Socket
  readonly address: string
  readonly port: number
}

export interface IntakeOptions {
  readonly worker: number
  readonly clock: Clock
  readonly acceptor: ActorRef<AcceptorMessage>
  readonly limits: ActorRef<LimitsMessage>
  /** Sends what was told now: the primary must have it before the sessions begin. */
  readonly flush: () => void
  readonly begin: (taken: Taken) => void
  /** The system could not accept a connection on a shared listening socket; the listener goes on. */
  readonly acceptFailed?: (listener: ListenerConfig, error: Error) => void
  /** A connection on a shared listening socket was turned away. */
  readonly refused?: (listener: ListenerConfig, address: string, why: 'listener-full' | 'descriptors') => void
  /** Connections that this worker's descriptors suffice for; absent: without a limit. */
  readonly capacity?: number
  /** Whether the primary must know in the same turn what has ended, since the next of its kind may wait for it. */
  readonly atOnce?: () => boolean
}

/** A shared listening socket. */
interface Place {
  readonly numbered: NumberedListener
  /** This worker's share of its max_connections. */
  readonly max: number
  readonly tooBusy: Buffer
}

/** What was sent so long ago and has only now been told as taken may be somebody else's. */
const TOLD_MS = (HANDOVER_FRESH_MS + HANDOVER_DEADLINE_MS) / 2
/** Worker-made numbers of connections begin here, times the worker's number: apart from the primary's own. */
const OWN_IDS = 2 ** 40

export class Intake {
  readonly #options: IntakeOptions
  #arrived: (Taken & { readonly at: number })[] = []
  #ended: number[] = []
  /** Began on shared sockets and was not told yet. */
  #opened: Opened['connections'][number][] = []
  #scheduled = false
  #telling: Timer | undefined
  #closed = false
  #number = 0
  readonly #servers: Server[] = []
  /** By listener, and all. */
  readonly #open = new Map<number, number>()
  #all = 0

  constructor(options: IntakeOptions) {
    this.#options = options
  }

  /** A handed-out connection arrived; without its socket when the descriptor got lost on the way. */
  take(envelope: ConnectionEnvelope, socket: Socket | undefined): void {
    const { clock, acceptor, worker } = this.#options
    const { id, listener, address, port } = envelope
    if (socket === undefined || this.#closed || clock.now() - envelope.at > HANDOVER_FRESH_MS) {
      // Closes this process's descriptor only; the primary still holds the connection.
      socket?.destroy()
      acceptor.tell({ type: 'declined', worker, ids: [id] })
      return
    }
    socket.allowHalfOpen = true
    this.#arrived.push({ id, listener, socket, address, port, at: envelope.at })
    this.#schedule()
  }

  /** Listens on the shared sockets of the listeners; each may hold `share` of its max_connections. */
  async listen(listeners: readonly NumberedListener[], share: number, tooBusy: (listener: number) => Buffer): Promise<void> {
    await Promise.all(
      listeners.flatMap((numbered) => {
        const { listener } = numbered
        const max = Math.max(1, Math.ceil(listener.maxConnections / share))
        return listener.bind.map(
          ({ host, port, family, text }) =>
            new Promise<void>((resolve, reject) => {
              const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true })
              this.#servers.push(server)
              server.on('connection', (socket) => this.#accepted(socket, { numbered, max, tooBusy: tooBusy(numbered.number) }))
              server.on('error', (error) => {
                if (server.listening) return this.#options.acceptFailed?.(listener, error)
                reject(new SignalboxError('LISTEN_FAILED', `listener "${listener.name}" cannot listen on ${text}: ${error.message}`, { cause: error }))
              })
              server.listen({ host, port, ipv6Only: family === 6, backlog: 4096 }, resolve)
            }),
        )
      }),
    )
  }

  /** Connections were taken whose sessions begin in this turn of the event loop or the next. */
  get pending(): boolean {
    return this.#arrived.length > 0
  }

  /** A session is over. */
  ended(id: number, listener: number): void {
    this.#count(listener, -1)
    this.#ended.push(id)
    this.#tellSoon()
  }

  /** Takes no more: what still comes is declined. */
  close(): void {
    this.#closed = true
    for (const server of this.#servers) server.close()
  }

  /** Tells what has not been told yet. */
  tell(): void {
    this.#telling?.cancel()
    this.#telling = undefined
    const { worker, limits } = this.#options
    const opened = this.#opened
    const ended = new Set(this.#ended)
    this.#opened = []
    this.#ended = []
    // Of what came and went untold nothing need be said.
    const connections = opened.filter(({ id }) => !ended.delete(id))
    if (connections.length > 0) limits.tell({ type: 'opened', worker, connections })
    if (ended.size > 0) limits.tell({ type: 'ended', ids: [...ended] })
  }

  #accepted(socket: Socket, { numbered: { number: listener, listener: config }, max, tooBusy }: Place): void {
    const { remoteAddress, remotePort } = socket
    const full = this.#isFull(listener, max)
    if (full !== undefined) {
      this.#options.refused?.(config, plainAddress(remoteAddress ?? ''), full)
      socket.on('error', () => socket.destroy())
      socket.end(tooBusy)
      socket.destroySoon()
      return
    }
    if (remoteAddress === undefined || remotePort === undefined) {
      // It was reset before it could be looked at.
      socket.destroy()
      return
    }
    const id = this.#options.worker * OWN_IDS + this.#number++
    const address = plainAddress(remoteAddress)
    this.#count(listener, 1)
    this.#opened.push({ id, listener: config.name, address })
    this.#tellSoon()
    this.#options.begin({ id, listener, socket, address, port: remotePort })
  }

  #isFull(listener: number, max: number): 'listener-full' | 'descriptors' | undefined {
    if ((this.#open.get(listener) ?? 0) >= max) return 'listener-full'
    return this.#all >= (this.#options.capacity ?? Number.POSITIVE_INFINITY) ? 'descriptors' : undefined
  }

  #decline(late: readonly Taken[]): void {
    // Closes this process's descriptors only; the primary still holds the connections.
    for (const { socket } of late) socket.destroy()
    const { acceptor, worker } = this.#options
    acceptor.tell({ type: 'declined', worker, ids: late.map(({ id }) => id) })
  }

  #count(listener: number, by: 1 | -1): void {
    this.#all += by
    this.#open.set(listener, (this.#open.get(listener) ?? 0) + by)
  }

  /** Within ENDED_MS, or with what has to be said before. */
  #tellSoon(): void {
    if (this.#options.atOnce?.() === true) this.#schedule()
    else this.#telling ??= this.#options.clock.after(ENDED_MS, () => this.#tellNow())
  }

  #tellNow(): void {
    this.tell()
    this.#options.flush()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#flush())
  }

  #flush(): void {
    this.#scheduled = false
    const { worker, clock, acceptor, flush, begin } = this.#options
    // The turn may have been long, and the primary may have given them to somebody else meanwhile: looked at once more,
    // right before it is told.
    const oldest = clock.now() - HANDOVER_FRESH_MS
    const arrived = this.#arrived.filter(({ at }) => at >= oldest)
    if (arrived.length < this.#arrived.length) this.#decline(this.#arrived.filter(({ at }) => at < oldest))
    this.#arrived = []
    if (arrived.length > 0) {
      acceptor.tell({ type: 'taken', worker, ids: arrived.map(({ id }) => id) })
      for (const { listener } of arrived) this.#count(listener, 1)
    }
    this.tell()
    flush()
    // Once more, now that it has been told: a process may stand still anywhere. Told in time, a connection is ours, and the
    // primary knows; told too late it may be somebody else's by now, whose dialogue ours would fall into: nobody has it then.
    const latest = clock.now() - TOLD_MS
    for (const taken of arrived) {
      if (taken.at >= latest) begin(taken)
      else this.#drop(taken)
    }
  }

  /** Ends it for whoever holds a descriptor of it; the client tries again. */
  #drop({ id, listener, socket }: Taken): void {
    socket.on('error', () => {})
    // A FIN goes out, where closing this process's descriptor alone would change nothing for the others.
    socket.end()
    socket.destroySoon()
    this.ended(id, listener)
  }
}
