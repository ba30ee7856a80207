/**
 * The acceptor actor: the listening sockets of `distribution = "primary"` and every connection until a worker has taken
 * it. It keeps its own descriptor of a connection that is on its way, so that a worker's death or standstill costs no
 * connection: it is handed to another worker, or closed, within limits.HANDOVER_DEADLINE_MS.
 *
 * Why not node:cluster's round robin: a connection that it has given to a worker that dies hangs for ever. Here the
 * worker says `taken` before its first byte goes out, and refuses what was sent to it too long ago; so no connection is
 * ever served twice. For the same reason a connection is never sent again to a worker that has let it lie, and nothing is
 * taken from a worker right after this process itself has stood still: the answer may be waiting to be read. Few are sent
 * to a worker at a time (WINDOW), so that "when it was sent" is not "when it was queued".
 */
import type { Socket } from 'node:net'
import type { Behaviour } from '../actor/actor.ts'
import type { Reply } from '../actor/message.ts'
import type { Clock, Timer } from '../clock.ts'
import type { ConnectionEnvelope } from '../cluster/channel.ts'
import type { ListenerConfig } from '../config/config.ts'
import { impossible } from '../errors.ts'
import type { SignalboxError } from '../errors.ts'
import { DESCRIPTORS_MS, HANDOVER_DEADLINE_MS } from '../limits.ts'
import { plainAddress } from '../listener/address.ts'
import { Descriptors, workerCapacity } from '../listener/descriptors.ts'
import type { DescriptorsOptions } from '../listener/descriptors.ts'
import type { NumberedListener } from '../listener/numbered.ts'
import { isTrusted } from '../listener/trusted.ts'
import { Doors } from './doors.ts'
import type { DoorChange } from './doors.ts'
import type { AcceptorMessage } from './handover-messages.ts'
import type { Admission, Limits } from './limits.ts'

/** A worker as the acceptor reaches it. */
export interface Station {
  readonly worker: number
  /** Sends the connection; `failed` is called when the channel could not take it. */
  readonly send: (envelope: ConnectionEnvelope, socket: Socket, failed: () => void) => void
}

interface StationState {
  readonly station: Station
  /** On their way now. */
  readonly sent: Set<number>
  /** It let a connection lie: used only when there is no other. */
  suspect: boolean
}

interface Waiting {
  readonly id: number
  readonly listener: NumberedListener
  /** Let go of when it is settled: what has been in a map for a moment may be in its former tables for long (session/roster.ts). */
  socket: Socket | undefined
  readonly address: string
  readonly port: number
  /** Clock time of accepting. */
  readonly accepted: number
  /** Clock time of sending, while it is on its way. */
  at: number
  worker: number | undefined
  /** Workers that let it lie: each may still hold a copy. */
  readonly lay: number[]
  /** Workers that declined it; they are asked again at the next look over, where nobody else would have it. */
  readonly declined: number[]
}

export interface AcceptorOptions {
  /** Those to begin with. */
  readonly listeners: readonly NumberedListener[]
  readonly clock: Clock
  readonly limits: Limits
  /** The protocol's "too busy" line; empty where none exists or TLS comes first. */
  readonly tooBusy: (listener: NumberedListener) => Buffer
  readonly refused: (listener: ListenerConfig, address: string, why: Admission | 'unanswered' | 'descriptors') => void
  /** Absent: without a limit. */
  readonly descriptors?: DescriptorsOptions
  /** The system could not accept a connection (descriptors, memory); the listener goes on. */
  readonly acceptFailed?: (listener: ListenerConfig, error: Error) => void
}

/** The worker of a connection that has none. */
const NOBODY = 0
/** Connections on their way to one worker at a time. */
const WINDOW = 16
/** How often what is on its way is looked over. */
const SWEEP_MS = 100
/** A connection that found no worker at all (none up yet) is closed after this long. */
const UNANSWERED_MS = 5_000

export class Acceptor implements Behaviour<AcceptorMessage> {
  readonly #options: AcceptorOptions
  readonly #doors: Doors
  readonly #stations = new Map<number, StationState>()
  readonly #onTheirWay = new Map<number, Waiting>()
  readonly #draining = new Set<number>()
  readonly #descriptors: Descriptors
  /** Connections that one worker's descriptors suffice for. */
  readonly #capacity: number
  /** Clock time of the last look at the descriptors. */
  #measured = Number.NEGATIVE_INFINITY
  #queue: Waiting[] = []
  #sweep: Timer | undefined
  /** Clock time of the last look over, and whether that one was put off because this process had stood still. */
  #lookedOver = 0
  #putOff = false
  #count = 1
  #closed = false

  constructor(options: AcceptorOptions) {
    this.#options = options
    this.#descriptors = new Descriptors(options.descriptors ?? { limit: Number.POSITIVE_INFINITY, open: () => 0 })
    this.#capacity = workerCapacity(this.#descriptors.limit)
    this.#doors = new Doors({
      accept: (socket, listener) => this.#accept(socket, listener),
      failed: (listener, error) => options.acceptFailed?.(listener, error),
    })
  }

  receive(message: AcceptorMessage, _reply: Reply): void {
    switch (message.type) {
      case 'taken':
        for (const id of message.ids) this.#taken(id, message.worker)
        return this.#drainQueue()
      case 'declined':
        for (const id of message.ids) this.#declined(id, message.worker)
        return this.#drainQueue()
      default:
        impossible(message)
    }
  }

  /** Connections on their way can't be told apart from lost ones any more: end the process. */
  crashed(error: SignalboxError): void {
    throw error
  }

  /** Opens every listening socket or none. Rejects with LISTEN_FAILED naming listener and address. */
  async listen(): Promise<void> {
    const change = await this.prepare(this.#options.listeners)
    change.commit()
  }

  /**
   * Makes ready to listen for those listeners instead: binds the sockets that are missing, where connections wait until
   * the change is decided. Sockets whose address is still wanted stay open, whoever they belong to then, so that nobody who
   * waits in their queue is lost. Rejects with LISTEN_FAILED naming listener and address; nothing has changed then.
   */
  prepare(listeners: readonly NumberedListener[]): Promise<DoorChange> {
    return this.#doors.prepare(listeners)
  }

  /** Where it listens, for the log; the ports that the kernel chose where 0 was asked for. */
  get addresses(): readonly { readonly listener: string; readonly host: string; readonly port: number }[] {
    return this.#doors.addresses
  }

  /** A worker is ready for connections. */
  join(station: Station): void {
    this.#stations.set(station.worker, { station, sent: new Set(), suspect: false })
    this.#drainQueue()
  }

  /** A worker gets no more connections (it drains); what is on its way is settled by it. */
  leave(worker: number): void {
    const state = this.#stations.get(worker)
    if (state !== undefined) state.suspect = true
    this.#draining.add(worker)
  }

  /** A worker is gone: what was on its way to it goes to another. */
  gone(worker: number): void {
    const state = this.#stations.get(worker)
    this.#stations.delete(worker)
    this.#draining.delete(worker)
    if (state === undefined) return
    // Each goes to the front of the queue: the oldest last, so that it is the first again.
    for (const id of [...state.sent].reverse()) {
      const waiting = this.#onTheirWay.get(id)
      if (waiting !== undefined) this.#requeue(waiting)
    }
    this.#drainQueue()
  }

  /**
   * Accepts no more. What is waiting for a worker is closed; what is on its way is taken by its worker, or closed within
   * limits.HANDOVER_DEADLINE_MS. Idempotent.
   */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#onTheirWay.size === 0) this.#watchNoMore()
    this.#doors.close()
    for (const waiting of this.#queue) this.#giveUp(waiting)
    this.#queue = []
  }

  #accept(socket: Socket, numbered: NumberedListener): void {
    const { listener } = numbered
    const { remoteAddress, remotePort } = socket
    if (remoteAddress === undefined || remotePort === undefined) {
      // Reset before it could be looked at.
      socket.destroy()
      return
    }
    const { limits, clock, refused, tooBusy } = this.#options
    const address = plainAddress(remoteAddress)
    // Who may speak for others is counted for whom it speaks, by the worker that hears it.
    const known = listener.proxyProtocol !== 'off' && isTrusted(listener, address) ? undefined : address
    this.#descriptors.took()
    socket.on('close', this.#closedOne)
    this.#measure(clock.now())
    const admission = this.#short ? 'descriptors' : limits.admit(listener.name, known)
    if (admission !== 'admitted') {
      refused(listener, address, admission)
      turnAway(socket, tooBusy(numbered))
      return
    }
    const id = this.#count++
    limits.register(id, listener.name, known, NOBODY)
    socket.on('error', unheard)
    this.#queue.push({
      id,
      listener: numbered,
      socket,
      address,
      port: remotePort,
      accepted: clock.now(),
      at: 0,
      worker: undefined,
      lay: [],
      declined: [],
    })
    this.#watch()
    this.#drainQueue()
  }

  /** Now and then, while connections come. */
  #measure(now: number): void {
    if (now - this.#measured < DESCRIPTORS_MS) return
    this.#measured = now
    this.#descriptors.measure()
  }

  /** While something is on its way or waits: an idle process is not woken up for nothing. */
  #watch(): void {
    if (this.#sweep !== undefined) return
    this.#lookedOver = this.#options.clock.now()
    this.#sweep = this.#options.clock.every(SWEEP_MS, () => this.#lookOver())
  }

  #watchNoMore(): void {
    this.#sweep?.cancel()
    this.#sweep = undefined
    this.#putOff = false
  }

  /** Whether a descriptor for one more connection would be missing, here or in every worker. */
  get #short(): boolean {
    if (this.#descriptors.short) return true
    for (const { station } of this.#stations.values()) if (this.#hasDescriptors(station.worker)) return false
    // Before the first worker is up there is nobody who could be short of them.
    return this.#stations.size > 0
  }

  #hasDescriptors(worker: number): boolean {
    return this.#options.limits.ofWorker(worker) < this.#capacity
  }

  #drainQueue(): void {
    // Those that none of the workers with room may have don't stand in the way of the others.
    const passed: Waiting[] = []
    while (this.#hasRoom) {
      const waiting = this.#queue.shift()
      if (waiting === undefined) break
      const state = this.#choose(waiting)
      if (state === undefined) passed.push(waiting)
      else this.#send(waiting, state)
    }
    if (passed.length > 0) this.#queue = [...passed, ...this.#queue]
  }

  get #hasRoom(): boolean {
    for (const { station, sent, suspect } of this.#stations.values()) {
      const { worker } = station
      if (sent.size < (suspect ? 1 : WINDOW) && !this.#draining.has(worker) && this.#hasDescriptors(worker)) return true
    }
    return false
  }

  /** The worker with the fewest sessions that has room on its way; a suspect one only when there is no other. */
  #choose({ lay, declined }: Waiting): StationState | undefined {
    const { limits } = this.#options
    const sessions = (state: StationState) => limits.ofWorker(state.station.worker)
    let best: StationState | undefined
    for (const state of this.#stations.values()) {
      const { worker } = state.station
      if (state.sent.size >= WINDOW || this.#draining.has(worker) || !this.#hasDescriptors(worker)) continue
      if (lay.includes(worker) || declined.includes(worker)) continue
      if (best === undefined || Number(state.suspect) < Number(best.suspect)) best = state
      else if (state.suspect === best.suspect && sessions(state) < sessions(best)) best = state
    }
    // A suspect worker is tried with one connection at a time.
    return best?.suspect === true && best.sent.size > 0 ? undefined : best
  }

  #send(waiting: Waiting, state: StationState): void {
    const { id, listener, address, port, socket } = waiting
    const { station } = state
    if (socket === undefined) return
    waiting.at = this.#options.clock.now()
    waiting.worker = station.worker
    state.sent.add(id)
    this.#onTheirWay.set(id, waiting)
    this.#options.limits.assign(id, station.worker)
    station.send({ t: 'connection', id, listener: listener.number, at: waiting.at, address, port }, socket, () => {
      this.#declined(id, station.worker)
      this.#drainQueue()
    })
  }

  #taken(id: number, worker: number): void {
    const waiting = this.#settle(id, worker)
    const state = this.#stations.get(worker)
    if (state !== undefined && !this.#draining.has(worker)) state.suspect = false
    // Closes this process's descriptor; the worker has its own.
    waiting?.socket?.destroy()
    if (waiting !== undefined) waiting.socket = undefined
  }

  #declined(id: number, worker: number): void {
    const waiting = this.#settle(id, worker)
    if (waiting === undefined) return
    waiting.declined.push(worker)
    this.#again(waiting)
  }

  #settle(id: number, worker: number): Waiting | undefined {
    this.#stations.get(worker)?.sent.delete(id)
    const waiting = this.#onTheirWay.get(id)
    // It was given to somebody else meanwhile.
    if (waiting === undefined || waiting.worker !== worker) return undefined
    this.#onTheirWay.delete(id)
    return waiting
  }

  #requeue(waiting: Waiting): void {
    this.#onTheirWay.delete(waiting.id)
    this.#again(waiting)
  }

  #again(waiting: Waiting): void {
    waiting.worker = undefined
    this.#options.limits.assign(waiting.id, NOBODY)
    if (this.#closed || this.#options.clock.now() - waiting.accepted > UNANSWERED_MS) return this.#giveUp(waiting)
    this.#queue.unshift(waiting)
  }

  #lookOver(): void {
    const now = this.#options.clock.now()
    const stoodStill = now - this.#lookedOver > 2 * SWEEP_MS
    this.#lookedOver = now
    this.#putOff = stoodStill && !this.#putOff
    if (this.#putOff) return
    for (const waiting of this.#onTheirWay.values()) {
      // In the order of sending: the rest is younger.
      if (now - waiting.at < HANDOVER_DEADLINE_MS) break
      const state = waiting.worker === undefined ? undefined : this.#stations.get(waiting.worker)
      if (state !== undefined) {
        state.suspect = true
        state.sent.delete(waiting.id)
        waiting.lay.push(state.station.worker)
      }
      // With a worker that stands still and no other, the client is better off trying again.
      if (this.#isWanted(waiting)) this.#requeue(waiting)
      else {
        this.#onTheirWay.delete(waiting.id)
        this.#giveUp(waiting)
      }
    }
    this.#queue = this.#queue.filter((waiting) => {
      waiting.declined.length = 0
      if (now - waiting.accepted <= UNANSWERED_MS) return true
      this.#giveUp(waiting)
      return false
    })
    this.#drainQueue()
    if (this.#onTheirWay.size === 0 && this.#queue.length === 0) this.#watchNoMore()
  }

  /** Whether there is a worker to give it to. */
  #isWanted({ lay }: Waiting): boolean {
    return [...this.#stations.values()].some(({ station, suspect }) => !suspect && !lay.includes(station.worker))
  }

  #giveUp(waiting: Waiting): void {
    this.#options.refused(waiting.listener.listener, waiting.address, 'unanswered')
    this.#options.limits.release(waiting.id)
    // The FIN reaches the client even while a worker that stands still holds a descriptor of it.
    if (waiting.socket !== undefined) turnAway(waiting.socket, this.#options.tooBusy(waiting.listener))
    waiting.socket = undefined
  }

  readonly #closedOne = (): void => this.#descriptors.gave()
}

/** A client that resets while it waits is noticed by the worker, or by nobody. */
function unheard(): void {}

/** Says the last words, if any, and closes. */
function turnAway(socket: Socket, words: Buffer): void {
  socket.on('error', () => socket.destroy())
  if (words.length > 0) socket.write(words)
  socket.destroySoon()
}
