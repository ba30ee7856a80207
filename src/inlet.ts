/**
 * Where the bytes of connections that we opened are read into. Left to itself, Node takes 64 KB for every read and leaves them to
 * the collector, which is most of what a large transfer costs beyond its system calls. Here all connections of a
 * process are read into one room, and what came is copied out of it; a connection that fills the room has one of its
 * own from then on, whose bytes are lent to the socket's owner instead of copied, until a read no longer fills it.
 *
 * A paused socket is not read, so a room is never written to between a pause and the resume. A socket that is only held
 * (wire.ts) is read on, or its breaking would go unseen: what comes waits here for the next owner, as it would in a stream's buffer.
 * Not for sockets that are given to TLS or to an HTTP client: both read in their own way.
 */
import { connect } from 'node:net'
import type { Socket, TcpNetConnectOpts } from 'node:net'
import { BRIDGE_BUFFER, READ_ROOM, SPARE_ROOMS } from './limits.ts'
import { deliver, deliverEnd, lend, readBy } from './wire.ts'
import type { Reading } from './wire.ts'

let common: Buffer | undefined
const spare: Buffer[] = []
const NOTHING = Buffer.alloc(0)

/** A connection that is being opened, held, to be wired: its owner's `onLent` hears of whole rooms, `onData` of all else. */
export function connectThrough(options: TcpNetConnectOpts): Socket {
  const inlet = new Inlet()
  const buffer = (): Buffer => inlet.room
  const callback = (length: number): boolean => inlet.take(length)
  const socket = connect({ ...options, onread: { buffer, callback } })
  inlet.socket = socket
  readBy(socket, inlet)
  return socket
}

class Inlet implements Reading {
  socket: Socket | undefined
  #own: Buffer | undefined
  #holds = true
  /** What came meanwhile. */
  #held: Buffer[] | undefined
  #size = 0
  #ended = false
  #flows = false

  /** What the next read goes into. */
  get room(): Buffer {
    common ??= fresh()
    return this.#own ?? common
  }

  /** So many bytes have been read into the room. Always true: whoever hears them pauses the socket himself. */
  take(length: number): boolean {
    const { socket, room } = this
    if (socket === undefined) return true
    if (this.#holds) this.#keep(socket, copied(room, length, Buffer.allocUnsafeSlow(length)))
    else if (this.#own !== undefined) this.#lend(socket, this.#own, length)
    else if (length === room.length) this.#lend(socket, copied(room, length, roomy()), length)
    else deliver(socket, copied(room, length))
    return true
  }

  // ---- Reading ----

  hold(): void {
    this.#holds = true
    this.#flows = false
  }

  flow(): void {
    const { socket } = this
    if (!this.#holds || (this.#held === undefined && !this.#ended)) {
      this.#holds = false
      if (socket?.isPaused() === true) socket.resume()
      return
    }
    if (this.#flows) return
    // Not from within the call that asks for it: its owner may not be ready yet.
    this.#flows = true
    process.nextTick(() => this.#release())
  }

  takeEnd(): boolean {
    if (this.#holds) this.#ended = true
    return !this.#holds
  }

  get keepsEnd(): boolean {
    return this.#ended
  }

  #keep(socket: Socket, chunk: Buffer): void {
    if (this.#held === undefined) this.#held = [chunk]
    else this.#held.push(chunk)
    this.#size += chunk.length
    if (this.#size >= BRIDGE_BUFFER) socket.pause()
  }

  #release(): void {
    const { socket } = this
    if (!this.#flows || socket === undefined) return
    this.#flows = false
    this.#holds = false
    const held = this.#held ?? []
    this.#held = undefined
    this.#size = 0
    // First, so that an owner to whom it becomes too much has the last word.
    if (socket.isPaused()) socket.resume()
    while (held.length > 0 && !this.#holds && !socket.destroyed) deliver(socket, held.shift() ?? NOTHING)
    // Who hears a piece may hold the next.
    if (this.#holds) for (const chunk of held) this.#keep(socket, chunk)
    else if (this.#ended && !socket.destroyed) {
      this.#ended = false
      deliverEnd(socket)
    }
  }

  #lend(socket: Socket, room: Buffer, length: number): void {
    const full = length === room.length
    const done = lend(socket, full ? room : room.subarray(0, length))
    if (full) {
      this.#own = done ? room : roomy()
    } else {
      this.#own = undefined
      // A paused socket's owner may need it for as long as the other side takes.
      if (done && !socket.isPaused() && spare.length < SPARE_ROOMS) spare.push(room)
    }
  }
}

/** The same bytes, to be kept for a while: in Node's pool a few of them would keep 64 KB each. */
export function unpooled(chunk: Buffer): Buffer {
  return chunk.buffer.byteLength === chunk.length ? chunk : copied(chunk, chunk.length, Buffer.allocUnsafeSlow(chunk.length))
}

function fresh(): Buffer {
  return Buffer.allocUnsafeSlow(READ_ROOM)
}

function roomy(): Buffer {
  return spare.pop() ?? fresh()
}

function copied(room: Buffer, length: number, into: Buffer = Buffer.allocUnsafe(length)): Buffer {
  room.copy(into, 0, 0, length)
  return into
}
