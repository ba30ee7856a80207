/**
 * The connections of the management API: how many there may be, in all and per address, and which of them are idle when
 * the server drains. node:http counts a connection that never sent a request as busy and one in its TLS handshake not at
 * all, so both would hold up a drain; here a connection is busy only between a request's head and its answer's end.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Server } from 'node:https'
import type { Socket } from 'node:net'
import { ADMIN_CONNECTIONS, ADMIN_CONNECTIONS_PER_ADDRESS } from '../limits.ts'
import { addressKey } from './address-key.ts'

export class Sockets {
  /** TCP connections; after the handshake the same connection is known by its encrypted socket too. */
  readonly #raw = new Set<Socket>()
  readonly #secured = new Map<Socket, { requests: number }>()
  readonly #perAddress = new Map<string, number>()
  #draining = false

  /** Watches `server` from now on. */
  watch(server: Server): void {
    server.maxConnections = ADMIN_CONNECTIONS
    server.on('connection', (socket: Socket) => this.#connected(socket))
    server.on('secureConnection', (socket: Socket) => {
      this.#secured.set(socket, { requests: 0 })
      socket.once('close', () => this.#secured.delete(socket))
      if (this.#draining) socket.destroy()
    })
  }

  /** A request began on its connection. */
  begin(request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#secured.get(request.socket)
    if (connection === undefined) return
    connection.requests++
    response.once('close', () => {
      connection.requests--
      if (this.#draining && connection.requests === 0) request.socket.end()
    })
  }

  /** Closes what is idle now, and the rest as it becomes idle. */
  drain(): void {
    this.#draining = true
    const busy = new Set<string>()
    for (const [socket, { requests }] of this.#secured) {
      if (requests > 0) busy.add(peer(socket))
      else socket.destroy()
    }
    // The encrypted socket gives no way to its TCP connection; both know the same peer.
    for (const socket of this.#raw) if (!busy.has(peer(socket))) socket.destroy()
  }

  destroy(): void {
    this.#draining = true
    for (const socket of this.#secured.keys()) socket.destroy()
    for (const socket of this.#raw) socket.destroy()
  }

  /** Connections open at the moment. */
  get size(): number {
    return this.#raw.size
  }

  #connected(socket: Socket): void {
    const key = addressKey(socket.remoteAddress)
    const count = this.#perAddress.get(key) ?? 0
    if (this.#draining || count >= ADMIN_CONNECTIONS_PER_ADDRESS) {
      socket.destroy()
      return
    }
    this.#perAddress.set(key, count + 1)
    this.#raw.add(socket)
    socket.once('close', () => {
      this.#raw.delete(socket)
      const left = (this.#perAddress.get(key) ?? 1) - 1
      if (left === 0) this.#perAddress.delete(key)
      else this.#perAddress.set(key, left)
    })
  }
}

function peer(socket: Socket): string {
  return `${socket.remoteAddress}|${socket.remotePort}`
}
