/**
 * An HTTP server on loopback that records what it was sent: every request in full, and the bytes of every connection. It
 * says its name in each answer; a test may answer otherwise.
 */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'

export interface Recorded {
  readonly method: string
  readonly url: string
  readonly fields: readonly string[]
  readonly body: Buffer
  readonly trailers: readonly string[]
  /** The number of its connection, from 0. */
  readonly connection: number
}

export type Answering = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void

export class HttpBackend implements AsyncDisposable {
  readonly name: string
  readonly server: Server
  readonly requests: Recorded[] = []
  /** URLs of requests whose answer could not be finished. */
  readonly broken: string[] = []
  /** Connections that were opened. */
  connections = 0
  readonly #sockets = new Set<Socket>()

  private constructor(name: string, answering: Answering | undefined, key: { readonly key: string; readonly cert: string } | undefined) {
    this.name = name
    const numbers = new WeakMap<Socket, number>()
    const listener = (request: IncomingMessage, response: ServerResponse): void => {
      const chunks: Buffer[] = []
      request.on('error', () => {})
      response.on('close', () => {
        if (!response.writableFinished) this.broken.push(request.url ?? '')
      })
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const body = Buffer.concat(chunks)
        const { method = '', url = '', rawHeaders: fields, rawTrailers: trailers } = request
        this.requests.push({ method, url, fields, body, trailers, connection: numbers.get(request.socket) ?? -1 })
        if (answering !== undefined) return answering(request, response, body)
        response.setHeader('X-Backend', name)
        response.end(`${name} ${method} ${url} ${body.length}\n`)
      })
    }
    this.server = key === undefined ? createServer({ keepAliveTimeout: 60_000 }, listener) : createSecureServer({ ...key, keepAliveTimeout: 60_000 }, listener)
    this.server.on('connection', (socket: Socket) => this.#sockets.add(socket))
    this.server.on(key === undefined ? 'connection' : 'secureConnection', (socket: Socket) => numbers.set(socket, this.connections++))
  }

  static async start(name: string, options: { readonly answering?: Answering; readonly certificate?: { readonly key: string; readonly cert: string } } = {}): Promise<HttpBackend> {
    const backend = new HttpBackend(name, options.answering, options.certificate)
    await new Promise<void>((resolve) => backend.server.listen(0, '127.0.0.1', resolve))
    return backend
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  /** The last request. */
  get last(): Recorded {
    const last = this.requests.at(-1)
    if (last === undefined) throw new Error(`${this.name} got no request`)
    return last
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }
}
