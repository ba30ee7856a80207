/**
 * One client connection on an http listener: the accept stage as for mail, then HTTP/1.1 or HTTP/2, whichever TLS has
 * agreed on, and its requests one by one (HTTP/1.1: in their order, the next one begins when the answer before it is out) or
 * side by side (HTTP/2). It is a session of nobody; while it has no request it can be ended without asking.
 */
import { performServerHandshake } from 'node:http2'
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Timer } from '../../clock.ts'
import type { ListenerConfig } from '../../config/config.ts'
import { asSignalboxError, SignalboxError } from '../../errors.ts'
import { HTTP_KEEPALIVE_MARGIN_MS, HTTP2_HEAD_ROOM, HTTP2_SESSION_MIB, HTTP2_SESSION_WINDOW, HTTP2_STREAM_WINDOW, HTTP2_STREAMS, HTTP_PIPELINED } from '../../limits.ts'
import { lastAnswer, type AnswerStatus } from '../../protocol/http/answer.ts'
import type { Rule } from '../../protocol/http/routes.ts'
import { announced, counted, encrypted, hasSteps, inTime, speaksForOthers, tlsVersion } from '../accept.ts'
import { lastWords } from '../last-words.ts'
import type { Occupant } from '../preauth-memory.ts'
import type { AcceptedConnection, Reported, SessionEnd } from '../services.ts'
import type { EndedBy, SessionHandle } from '../sessions.ts'
import type { ClientSide } from './client-side.ts'
import { Exchange } from './exchange.ts'
import { Http1Client, UpgradeClient } from './http1-client.ts'
import { Http2Client } from './http2-client.ts'
import { Pools } from './pool.ts'
import type { HttpServices } from './services.ts'
import { webSocket, type Upgraded } from './web-socket.ts'

export interface HttpConnectionOptions {
  readonly listener: ListenerConfig
  readonly services: HttpServices
  readonly rules: (path: string) => Rule | undefined
  readonly shared: Pools
  /** Gives a socket to the listener's HTTP/1.1 server, which calls `requested` and `upgrading` for it. */
  readonly serveHttp1: (socket: Socket) => void
  /** No connection is kept any longer than its requests. */
  readonly draining: () => boolean
}

export class HttpConnection implements SessionHandle, Reported {
  readonly protocol = 'http'
  seat = -1
  readonly account = undefined
  readonly bridgedTo = undefined
  readonly routedTo = undefined
  readonly bytes = { bytesIn: 0, bytesOut: 0 }
  readonly since: number
  readonly #options: HttpConnectionOptions
  readonly #began: number
  readonly #cancel = new AbortController()
  readonly #own: Pools
  #connection: AcceptedConnection
  #occupant: Occupant | undefined
  #http2: ServerHttp2Session | undefined
  #exchanges = 0
  #requests = 0
  /** HTTP/1.1: those that wait for the one before them. */
  #waiting: (() => void)[] = []
  /** HTTP/1.1: one more came, which is not taken, and neither is what comes behind it. */
  #overfull = false
  /** HTTP/1.1: the one under way. */
  #current: Exchange | undefined
  /** No further request is taken: the last answer said so, or what came was no request. */
  #over = false
  #patience: Timer | undefined
  #end: { reason: SessionEnd; error: SignalboxError | undefined } | undefined

  constructor(connection: AcceptedConnection, options: HttpConnectionOptions) {
    const { clock } = options.services
    this.#connection = connection
    this.#options = options
    this.#began = clock.now()
    this.since = Math.round(clock.wall())
    this.#own = new Pools(options.services)
  }

  get connection(): AcceptedConnection {
    return this.#connection
  }

  get profile() {
    return { listener: this.#options.listener }
  }

  get client(): string {
    return this.#connection.clientAddress
  }

  get idleBeforeLogin(): boolean {
    return true
  }

  get requests(): number {
    return this.#requests
  }

  /** A request is under way. */
  get busy(): boolean {
    return this.#exchanges > 0
  }

  /** Resolves when the connection is closed, never rejects. */
  async run(): Promise<void> {
    const { services } = this.#options
    services.sessions.open(this)
    this.#occupant = services.preauth.enter(this)
    try {
      await this.#accept()
      await this.#serve()
    } catch (thrown) {
      this.#end ??= { reason: 'error', error: asSignalboxError(thrown) }
    }
    this.#close()
  }

  /** Ends it if it has no request: those end by themselves. */
  end(why: EndedBy): void {
    if (this.busy) return
    this.#end ??= { reason: why, error: undefined }
    this.#cancel.abort(new SignalboxError('DRAINING', why))
    if (this.#http2 === undefined) this.#connection.socket.destroySoon()
    else this.#http2.close()
  }

  /**
   * It takes no further requests, and says so where that can be said without losing one: in HTTP/2 at once (GOAWAY names the
   * last stream that is served), in HTTP/1.1 with the next answer.
   */
  retire(): void {
    this.#http2?.close()
  }

  crowdOut(): void {
    const error = new SignalboxError('CLIENT_CROWDED_OUT', 'connections without a login hold more than limits.max_preauth_memory')
    this.#end ??= { reason: 'error', error }
    this.#cancel.abort(error)
    this.#connection.socket.destroy()
  }

  // ---- accept ----

  async #accept(): Promise<void> {
    const { listener, services } = this.#options
    const { clock, tls, countAddress: count } = services
    if (hasSteps(listener)) {
      const options = { listener, clock, cancel: this.#cancel }
      const peer = this.#connection.clientAddress
      await inTime(options, async () => {
        this.#connection = await announced(this.#connection, options)
        if (speaksForOthers(listener, peer)) await counted(this.#connection, { ...options, count, tooBusy: Buffer.alloc(0) })
        this.#connection = await encrypted(this.#connection, { ...options, tls })
      })
    }
    if (!this.#cancel.signal.aborted) return
    this.#connection.socket.destroy()
    throw asSignalboxError(this.#cancel.signal.reason)
  }

  #serve(): Promise<void> {
    const { listener, serveHttp1 } = this.#options
    const { socket } = this.#connection
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    if (socket.destroyed) return Promise.resolve()
    socket.on('error', unheard)
    socket.once('close', () => resolve())
    this.#wait(Math.max(0, listener.preauthTimeout - (this.#options.services.clock.now() - this.#began)))
    if (socket instanceof TLSSocket && socket.alpnProtocol === 'h2') this.#serveHttp2(socket)
    else {
      serveHttp1(socket)
      socket.resume()
    }
    return closed
  }

  #serveHttp2(socket: Socket): void {
    const { maxHeadSize } = this.#options.services.http
    // Node resets what is larger than it was told; what is not gets our 431. A field counts 32 at least.
    const maxHeaderListSize = maxHeadSize + HTTP2_HEAD_ROOM
    const session = performServerHandshake(socket, {
      maxSessionMemory: HTTP2_SESSION_MIB,
      maxHeaderListPairs: maxHeaderListSize / 32,
      maxSendHeaderBlockLength: maxHeaderListSize,
      // A backend may say such a field twice, and its answer is passed on as it is.
      strictSingleValueFields: false,
      settings: { maxConcurrentStreams: HTTP2_STREAMS, maxHeaderListSize, initialWindowSize: HTTP2_STREAM_WINDOW, enablePush: false },
    })
    this.#http2 = session
    session.on('error', unheard)
    session.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, rawHeaders: string[]) => {
      this.#begin(new Http2Client(stream, headers, rawHeaders, stream.endAfterHeaders || (flags & END_STREAM) !== 0))
    })
    session.on('close', () => socket.destroy())
    // Half open it is of no use: nobody will open a stream or a window on it again.
    socket.once('end', () => session.destroy())
    // A TLSSocket without a tls.Server never says that its handshake is done, and the session would wait for it.
    if (session.connecting) socket.emit('secureConnect')
    session.setLocalWindowSize(HTTP2_SESSION_WINDOW)
  }

  // ---- requests ----

  /** From the HTTP/1.1 server. */
  requested(request: IncomingMessage, response: ServerResponse): void {
    if (this.#over || this.#overfull) return
    if (this.#waiting.length >= HTTP_PIPELINED) {
      this.#overfull = true
      return
    }
    const client = new Http1Client(request, response)
    if (this.#exchanges === 0) this.#begin(client)
    else this.#waiting.push(() => this.#begin(client))
  }

  /** From the HTTP/1.1 server: it has given the socket up. */
  upgrading(request: IncomingMessage, socket: Socket, behind: Buffer): void {
    const client = new UpgradeClient(request, socket)
    this.#begin(client, (backend) => webSocket(backend, client, behind, this.#options.services))
  }

  #begin(client: ClientSide, upgrade?: (backend: Upgraded) => Promise<void>): void {
    const { services, rules, shared, listener, draining } = this.#options
    this.#patience?.cancel()
    if (this.#exchanges++ === 0) services.sessions.close(this)
    const number = ++this.#requests
    if (number === 1) services.counters.stage('http', 'preauth', services.clock.now() - this.#began)
    const { socket } = this.#connection
    const exchange = new Exchange({
      client,
      id: `${this.#connection.id}.${number}`,
      origin: { connection: this.#connection, listener, secure: listener.tls === 'implicit', clientTls: tlsVersion(socket) },
      services,
      rules,
      pools: { shared, own: this.#own },
      last: () => draining() || number >= services.http.maxKeepaliveRequests || (this.#overfull && this.#waiting.length === 0),
      answered: () => this.#occupant?.leave(),
      closing: () => {
        if (this.#http2 === undefined) this.#stop()
      },
      upgrade,
    })
    if (this.#http2 !== undefined && (draining() || number >= services.http.maxKeepaliveRequests)) this.#http2.close()
    this.#current = exchange
    void exchange.run().then(() => this.#done())
  }

  #done(): void {
    const { services, draining } = this.#options
    if (--this.#exchanges > 0) return
    // A connection that is closed already waits for nothing more.
    if (this.#connection.socket.destroyed) return
    if (this.#end === undefined) services.sessions.open(this)
    const next = this.#waiting.shift()
    if (next !== undefined && !this.#over) return next()
    if (draining()) return this.end('shutdown')
    this.#wait(services.http.keepaliveTimeout + HTTP_KEEPALIVE_MARGIN_MS)
  }

  /** The next request must be there within `ms`. */
  #wait(ms: number): void {
    const { clock } = this.#options.services
    const { socket } = this.#connection
    const heard = socket.bytesRead
    this.#patience?.cancel()
    this.#patience = clock.after(ms, () => {
      // What has begun to come in time may take as long as the first one.
      if (this.#requests > 0 && this.#http2 === undefined && socket.bytesRead > heard) this.#patience = clock.after(this.#options.listener.preauthTimeout, () => this.#late(true))
      else this.#late(this.#requests === 0 && socket.bytesRead > 0)
    })
  }

  /** @param begun part of a head is there */
  #late(begun: boolean): void {
    const idle = this.#requests > 0 && !begun
    this.#end ??= { reason: idle ? 'idle' : 'error', error: idle ? undefined : new SignalboxError('CLIENT_TIMEOUT', 'no request came in time') }
    if (this.#http2 !== undefined) this.#http2.close()
    else if (begun) this.refuse(408)
    else this.#connection.socket.destroy()
  }

  /** The parser gave up: says so where that can't be taken for the answer to another request, and closes. */
  refuse(status: AnswerStatus): void {
    const { socket } = this.#connection
    const alone = this.#waiting.length === 0
    this.#stop()
    if (socket.destroyed || !socket.writable) socket.destroy()
    else if (!this.busy) lastWords(socket, lastAnswer(status), this.#options.services.clock)
    else if (alone && this.#current?.readsBody === true) this.#current.refuse(status)
    else socket.destroy()
  }

  #stop(): void {
    this.#over = true
    this.#waiting = []
  }

  #close(): void {
    const { services } = this.#options
    const { reason, error } = this.#end ?? { reason: 'client' as const, error: undefined }
    this.#patience?.cancel()
    this.#own.destroy()
    this.#occupant?.leave()
    services.sessions.close(this)
    services.report.closed(this, { reason, error, bytesIn: 0, bytesOut: 0, seconds: (services.clock.now() - this.#began) / 1000, login: undefined })
  }
}

/** RFC 9113 §6.2. */
const END_STREAM = 0x1

function unheard(): void {}
