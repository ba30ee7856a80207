/**
 * The connections of the management API: how many there may be, in all and per address, and which of them are idle when
 * the server drains. node:http counts a connection that never sent a request as busy and one in its TLS handshake not at
 * all, so both would hold up a drain; here a connection is busy only between a request's head and its answer's end.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Server } from 'node:https'
import type { Socket } from 'node:net'
import { ADMIN_CONNECTIONS, ADMIN_CONNECTIONS_PER_ADDRESS } from '../limits.ts'
import { addressKey } from '../listener/address.ts'

/** A request and its answer under way. */
interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

export class Sockets {
  /** TCP connections; after the handshake the same connection is known by its encrypted socket too. */
  readonly #raw = new Set<Socket>()
  readonly #secured = new Map<Socket, Set<Exchange>>()
  readonly #perAddress = new Map<string, number>()
  #draining = false

  /** Watches `server` from now on. */
  watch(server: Server): void {
    server.maxConnections = ADMIN_CONNECTIONS
    server.on('connection', (socket: Socket) => this.#connected(socket))
    server.on('secureConnection', (socket: Socket) => {
      this.#secured.set(socket, new Set())
      socket.once('close', () => this.#secured.delete(socket))
      if (this.#draining) socket.destroy()
    })
  }

  /** A request began on its connection. */
  begin(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request
    const exchanges = this.#secured.get(socket)
    if (exchanges === undefined) return
    const exchange = { request, response }
    exchanges.add(exchange)
    response.once('close', () => {
      exchanges.delete(exchange)
      if (this.#draining && exchanges.size === 0) socket.end()
    })
  }

  /** Whether the handshake of this encrypted socket is done and it is still open. */
  secured(socket: Socket): boolean {
    return this.#secured.has(socket)
  }

  /** Whether an answer sent now would be taken for that to the request which is still coming in, or to none. */
  mayStillAnswer(socket: Socket): boolean {
    const [exchange, second] = this.#secured.get(socket) ?? []
    if (exchange === undefined) return true
    return second === undefined && !exchange.request.complete && !exchange.response.headersSent
  }

  /** Ends a connection whose bytes make no sense any more, once the requests that were read whole are answered. */
  endAfterAnswers(socket: Socket): void {
    const answers = [...(this.#secured.get(socket) ?? [])].filter(({ request }) => request.complete)
    let left = answers.length
    if (left === 0) socket.destroy()
    for (const { response } of answers) {
      response.once('close', () => {
        if (--left === 0) socket.end(() => socket.destroy())
      })
    }
  }

  /** Closes what is idle now, and the rest as it becomes idle. */
  drain(): void {
    this.#draining = true
    const busy = new Set<string>()
    for (const [socket, exchanges] of this.#secured) {
      if (exchanges.size > 0) busy.add(peer(socket))
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
