/**
 * One try to have a request answered: a connection from the pool or a new one, the last look whether the request may still go
 * there, then head and body on their way, until the backend's answer begins. Whatever was sent a backend may have acted
 * upon, so `again` is said only where nothing went out, or where the request changes nothing, has no body, and met a
 * kept connection in its closing.
 */
import { request as httpRequest } from 'node:http'
import type { Agent, ClientRequest, IncomingMessage, RequestOptions } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { SignalboxError } from '../../errors.ts'
import { members, pairs, passingTrailers } from '../../protocol/http/fields.ts'
import { agreesToWebSocket, requestFields, responseFields } from '../../protocol/http/messages.ts'
import { announcement } from '../announcement.ts'
import { mayNotGo, type Target } from './admission.ts'
import type { PendingRequest } from './pending-request.ts'
import { Caller, type CallerOption } from './pool.ts'

export type BackendAnswer =
  | { readonly kind: 'response'; readonly response: IncomingMessage }
  /** It has agreed to speak another protocol; `early`: what it has sent behind its head. */
  | { readonly kind: 'upgrade'; readonly response: IncomingMessage; readonly socket: Duplex; readonly early: Buffer }
  /** Nothing of the request has happened: its account was moved meanwhile, or a kept connection was at its end. */
  | { readonly kind: 'again'; readonly why: 'moved' | 'stale' }

export interface BackendRequestOptions {
  readonly pending: PendingRequest
  readonly target: Target
  /** Its connections. */
  readonly agent: Agent
  readonly upgrade: boolean
  /** Its first byte goes out now. */
  readonly leaves: () => void
}

/** What changes nothing however often it is done (RFC 9110 §9.2.1, RFC 4918, RFC 3253). */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'PROPFIND', 'REPORT', 'SEARCH'])

export class BackendRequest {
  readonly #options: BackendRequestOptions
  readonly #request: ClientRequest
  #sent = false
  #response: IncomingMessage | undefined
  #settle: { readonly resolve: (answer: BackendAnswer) => void; readonly reject: (error: Error) => void } | undefined

  constructor(options: BackendRequestOptions) {
    this.#options = options
    this.#request = httpRequest(this.#requestOptions())
    this.#request.maxHeadersCount = 0
    this.#request.on('error', (error) => this.#failed(error))
  }

  /** The backend may have seen something of it. */
  get sent(): boolean {
    return this.#sent
  }

  /** Rejects with the backend's failure, or with why the request was ended. Called once. */
  answer(): Promise<BackendAnswer> {
    const { pending, upgrade } = this.#options
    return pending.halt.step<BackendAnswer>((resolve, reject) => {
      const request = this.#request
      this.#settle = { resolve, reject }
      request.on('socket', (socket) => this.#connected(socket))
      request.on('continue', () => this.#goOn())
      request.on('information', ({ statusCode, rawHeaders }) => {
        pending.traffic.moved()
        if (statusCode !== 100) pending.client.inform(statusCode, responseFields(rawHeaders, statusCode))
      })
      request.on('response', (response) => {
        this.#heard(response)
        if (this.#mayBeKept(response)) request.shouldKeepAlive = true
        resolve({ kind: 'response', response })
      })
      request.on('upgrade', (response, socket, early) => {
        this.#heard(response)
        if (upgrade && agreesToWebSocket(response.rawHeaders)) return resolve({ kind: 'upgrade', response, socket, early })
        socket.destroy()
        reject(new SignalboxError('BACKEND_PROTOCOL', 'the backend agrees to what nobody has asked for'))
      })
      if (pending.head.body.kind === 'none') request.end()
      return () => request.destroy()
    })
  }

  /** Breaks it off at any moment. Idempotent. */
  destroy(error?: Error): void {
    this.#request.destroy(error)
  }

  #requestOptions() {
    const { agent, pending, target, upgrade } = this.#options
    const { head, origin, services, signal } = pending
    const { destination } = target
    const { connection, listener, secure, clientTls } = origin
    const options: RequestOptions & CallerOption = {
      agent,
      caller: new Caller(() => announcement(connection, services.server.proxyTtl - 1, clientTls), signal),
      method: head.method,
      path: head.target,
      headers: requestFields(head, {
        announce: destination.forwarded ? { address: connection.clientAddress, secure } : undefined,
        trusted: listener.forwarded === 'trust',
        defaultHost: destination.tlsServerName,
        continued: pending.continued,
        upgrade,
      }),
      setHost: false,
      maxHeaderSize: services.http.maxHeadSize,
      insecureHTTPParser: false,
    }
    return options
  }

  #connected(socket: Socket): void {
    const { leaves, pending, target } = this.#options
    const request = this.#request
    if (pending.halt.reason !== undefined) return void request.destroy()
    const refusal = mayNotGo(target, pending)
    if (refusal !== undefined) {
      if (refusal === 'moved') this.#settle?.resolve({ kind: 'again', why: 'moved' })
      else this.#settle?.reject(refusal)
      request.destroy()
      return
    }
    // What lies there answers nothing that was asked.
    if (socket.readableLength > 0) {
      if (request.reusedSocket) this.#settle?.resolve({ kind: 'again', why: 'stale' })
      else this.#settle?.reject(new SignalboxError('BACKEND_PROTOCOL', 'the backend spoke before it was asked'))
      request.destroy()
      return
    }
    if (!request.reusedSocket) socket.resume()
    this.#sent = true
    leaves()
    // Whatever is sent from here on, a backend may have acted upon.
    request.flushHeaders()
    if (pending.head.body.kind !== 'none') this.#sendBody()
  }

  #sendBody(): void {
    const { body, client, traffic } = this.#options.pending
    const request = this.#request
    body.sendTo(request, traffic, () => {
      const trailers = pairs(passingTrailers(client.trailers))
      try {
        if (trailers.length > 0) request.addTrailers(trailers)
      } catch (thrown) {
        request.destroy(new SignalboxError('CLIENT_PROTOCOL', 'a trailer is malformed', { cause: thrown }))
        return
      }
      request.end()
    })
  }

  #goOn(): void {
    const { pending } = this.#options
    pending.traffic.moved()
    if (!pending.continued) pending.client.inform(100, [])
    pending.continued = true
  }

  /**
   * The parser takes an answer to HEAD that tells no length for one that ends with its connection, as it doesn't know the
   * question: it has no body (RFC 9112 §6.3), and its connection serves the next request.
   */
  #mayBeKept({ httpVersion, rawHeaders }: IncomingMessage): boolean {
    return this.#options.pending.head.method === 'HEAD' && httpVersion === '1.1' && !members(rawHeaders, 'connection').includes('close')
  }

  #heard(response: IncomingMessage): void {
    this.#response = response
    this.#options.pending.traffic.moved()
  }

  #failed(error: Error & { code?: string }): void {
    const { pending, target } = this.#options
    // Who reads the answer hears of it there; one that ends with its connection would else pass for whole. One that is
    // complete stays so, whatever came behind it.
    if (this.#response?.complete === false) this.#response.destroy(error)
    if (this.#response !== undefined) return
    if (this.#settle === undefined) return
    if (error instanceof SignalboxError) return this.#settle.reject(error)
    const { reusedSocket } = this.#request
    const malformed = error.code?.startsWith('HPE_') === true
    const { method, body } = pending.head
    if (reusedSocket && !malformed && SAFE.has(method) && body.kind === 'none') return this.#settle.resolve({ kind: 'again', why: 'stale' })
    const failure = new SignalboxError(malformed ? 'BACKEND_PROTOCOL' : 'BACKEND_CLOSED', error.message, { cause: error })
    // A connection that was kept for too long says nothing about the destination.
    if (!reusedSocket && pending.halt.reason === undefined) {
      pending.services.outcome(target.destination.name, pending.origin.connection.clientAddress, { ok: false, phase: 'after', error: failure })
    }
    this.#settle.reject(failure)
  }
}
