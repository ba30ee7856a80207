/**
 * An http listener in a worker: Node's own HTTP/1.1 server, which never listens but is handed sockets behind the accept
 * stage, and the connections that it serves. Parsing is strict throughout; what the parser refuses is answered here and
 * the connection closed.
 */
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ListenerConfig } from '../../config/config.ts'
import { SignalboxError } from '../../errors.ts'
import type { AnswerStatus } from '../../protocol/http/answer.ts'
import { asksForWebSocket } from '../../protocol/http/messages.ts'
import { readHead } from '../../protocol/http/head.ts'
import { compileRoutes } from '../../protocol/http/routes.ts'
import type { AcceptedConnection } from '../services.ts'
import { HttpConnection } from './connection.ts'
import { rawHead } from './http1-client.ts'
import { Pools } from './pool.ts'
import type { HttpServices } from './services.ts'

export class HttpService {
  readonly #listener: ListenerConfig
  readonly #services: HttpServices
  readonly #rules: ReturnType<typeof compileRoutes>
  readonly #shared: Pools
  readonly #server: Server
  readonly #connections = new WeakMap<Duplex, HttpConnection>()
  readonly #open = new Set<HttpConnection>()
  #draining = false

  /** @throws Error for a route whose pattern RE2 doesn't take */
  constructor(listener: ListenerConfig, services: HttpServices) {
    this.#listener = listener
    this.#services = services
    this.#rules = compileRoutes(services.http.routes, services.usernameClaim)
    this.#shared = new Pools(services)
    this.#server = this.#http1()
  }

  /** Serves a connection of which nothing was read yet. Resolves when it is closed, never rejects. */
  serve(connection: AcceptedConnection): Promise<void> {
    const served = new HttpConnection(connection, {
      listener: this.#listener,
      services: this.#services,
      rules: this.#rules,
      shared: this.#shared,
      serveHttp1: (socket) => {
        this.#connections.set(socket, served)
        this.#server.emit('connection', socket)
      },
      draining: () => this.#draining,
    })
    this.#open.add(served)
    return served.run().finally(() => this.#open.delete(served))
  }

  /** Another one takes its place: connections end with the request that they are at, or with their next. Nobody is turned away. */
  retire(): void {
    this.#draining = true
    for (const connection of this.#open) connection.retire()
  }

  /** From now on connections end with their requests, and those without one at once. */
  drain(): void {
    this.#draining = true
    for (const connection of this.#open) connection.end('shutdown')
  }

  #http1(): Server {
    const { maxHeadSize, keepaliveTimeout } = this.#services.http
    const server = createServer({
      insecureHTTPParser: false,
      maxHeaderSize: maxHeadSize,
      // What clients are told; the deadlines themselves are ours, on the clock: see HttpConnection and Exchange.
      keepAliveTimeout: keepaliveTimeout,
      keepAliveTimeoutBuffer: NEVER_MS,
      headersTimeout: 0,
      requestTimeout: 0,
      // Judged with the rest of the head, and answered as the rest is.
      requireHostHeader: false,
      shouldUpgradeCallback: (request) => {
        const head = readHead(rawHead(request))
        return !('status' in head) && asksForWebSocket(head) && this.#connections.get(request.socket)?.busy === false
      },
    })
    // A head is bounded in bytes; fields above a count would be left out silently.
    server.maxHeadersCount = 0
    server.on('request', (request, response) => this.#of(request.socket).requested(request, response))
    server.on('checkContinue', (request, response) => this.#of(request.socket).requested(request, response))
    // One that is none of ours is the backend's to judge.
    server.on('checkExpectation', (request, response) => this.#of(request.socket).requested(request, response))
    server.on('upgrade', (request, socket, behind) => {
      if (!(socket instanceof Socket)) throw new SignalboxError('INTERNAL', 'a request for an upgrade has no body')
      this.#of(socket).upgrading(request, socket, behind)
    })
    server.on('connect', (request) => this.#of(request.socket).refuse(405))
    server.on('clientError', (error, socket) => {
      if (this.#refused.has(socket)) return
      this.#refused.add(socket)
      const status = statusOf(error)
      if (status === undefined) socket.destroy()
      else this.#of(socket).refuse(status)
    })
    return server
  }

  /** What still comes on a connection that was refused is refused again by the parser: once is enough. */
  readonly #refused = new WeakSet<Duplex>()

  #of(socket: Duplex): HttpConnection {
    const connection = this.#connections.get(socket)
    if (connection === undefined) throw new SignalboxError('INTERNAL', 'a request on a connection that nobody serves')
    return connection
  }
}

/** For a timer of Node's that would be in ours' way. */
const NEVER_MS = 2 ** 30

/** Undefined: the client is gone. */
function statusOf({ code }: Error & { code?: string }): AnswerStatus | undefined {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return 431
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return 413
    // The end of the connection in the middle of a body: nobody is left to be told.
    case 'HPE_INVALID_EOF_STATE':
      return undefined
    default:
      return code?.startsWith('HPE_') === true ? 400 : undefined
  }
}
