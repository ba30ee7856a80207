/**
 * One request, from its head to the last byte of its answer; `run` reads as the list of its stages: head, rule, account,
 * route, backend, relay. It is a session of its account from the moment that is known: a kick ends it in every stage.
 *
 * Until the request is on its way to a backend every failure is answered politely (4xx, 5xx), and nothing has happened;
 * afterwards a kick breaks the connection off, because nobody can say what the backend has done. A request is
 * repeated only where it has no body, asks for nothing to be changed, and met a kept connection in its closing.
 */
import { request as httpRequest, STATUS_CODES } from 'node:http'
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../../clock.ts'
import type { DestinationConfig, LegConfig } from '../../config/config.ts'
import { asSignalboxError, SignalboxError } from '../../errors.ts'
import { HOLD_MS, HTTP_LINGER_MS } from '../../limits.ts'
import { count } from '../../observe/durations.ts'
import { answer, statusOf, type AnswerStatus } from '../../protocol/http/answer.ts'
import { members, passingTrailers, valuesOf } from '../../protocol/http/fields.ts'
import { readHead, type RequestHead } from '../../protocol/http/head.ts'
import { requestFields, responseFields } from '../../protocol/http/messages.ts'
import type { Rule } from '../../protocol/http/routes.ts'
import type { OpenRoute } from '../../resolver/route.ts'
import { announcement } from '../announcement.ts'
import type { LoginFacts, Reported } from '../services.ts'
import type { EndedBy, SessionHandle } from '../sessions.ts'
import type { ClientSide } from './client-side.ts'
import { Caller, type CallerOption, type Pools } from './pool.ts'
import { RequestBody } from './request-body.ts'
import type { HttpServices, RequestOrigin } from './services.ts'

export interface ExchangeOptions {
  readonly client: ClientSide
  readonly id: string
  readonly origin: RequestOrigin
  readonly services: HttpServices
  readonly rules: (path: string) => Rule | undefined
  /** The pools of all clients, and of this one's connection. */
  readonly pools: { readonly shared: Pools; readonly own: Pools }
  /** The connection ends behind this response. */
  readonly last: () => boolean
  /** The backend has answered. */
  readonly answered: () => void
  /** The client was told that this answer is the last one. */
  readonly closing: () => void
  /** The client asks for a WebSocket: who takes over when the backend agrees. */
  readonly upgrade?: ((backend: Upgraded) => Promise<void>) | undefined
}

/** A backend that has agreed to speak another protocol. */
export interface Upgraded {
  readonly exchange: Exchange
  readonly response: IncomingMessage
  readonly socket: Duplex
  /** What it has sent behind its head. */
  readonly early: Buffer
  readonly destination: DestinationConfig
  readonly facts: LoginFacts
}

/** A WebSocket that stands. */
export interface Bridge {
  end(why: EndedBy): void
  readonly bytesIn: number
  readonly bytesOut: number
}

/** Where a request goes. */
interface Target {
  readonly destination: DestinationConfig
  readonly leg: LegConfig
  /** Undefined: the rule names the destination. */
  readonly route: OpenRoute | undefined
}

/** What changes nothing however often it is done (RFC 9110 §9.2.1, RFC 4918, RFC 3253). */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'PROPFIND', 'REPORT', 'SEARCH'])
/** How often a request looks for its route anew because it was overtaken. */
const ROUTE_TRIES = 4

export class Exchange implements SessionHandle, Reported {
  readonly protocol = 'http'
  readonly since: number
  readonly #options: ExchangeOptions
  readonly #clock: Clock
  readonly #began: number
  readonly #cancel = new AbortController()
  readonly #bytes = { bytesIn: 0, bytesOut: 0 }
  #body: RequestBody
  #head: RequestHead | undefined
  #account: string | undefined
  #destination: DestinationConfig | undefined
  #bridgedTo: string | undefined
  #route: OpenRoute | undefined
  #request: ClientRequest | undefined
  #status: number | undefined
  #continued = false
  /** The backend may have seen something of it. */
  #sent = false
  #active = 0
  #idle: Timer | undefined
  #bridge: Bridge | undefined
  #counted = false

  constructor(options: ExchangeOptions) {
    this.#options = options
    this.#clock = options.services.clock
    this.#began = this.#clock.now()
    this.since = Math.round(this.#clock.wall())
    this.#body = new RequestBody(options.client.body, options.client.ended)
  }

  get connection() {
    const { id, origin } = this.#options
    return { id, clientAddress: origin.connection.clientAddress }
  }

  get profile() {
    return this.#options.origin
  }

  /** Somebody has ended it, or the client is gone. */
  get ended(): boolean {
    return this.#cancel.signal.aborted
  }

  get account(): string | undefined {
    return this.#account
  }

  get bridgedTo(): string | undefined {
    return this.#bridgedTo
  }

  get routedTo(): string | undefined {
    return this.#destination?.name
  }

  get client(): string {
    return this.connection.clientAddress
  }

  get bytes(): { readonly bytesIn: number; readonly bytesOut: number } {
    return this.#bridge ?? this.#bytes
  }

  get idleBeforeLogin(): boolean {
    return false
  }

  /** Resolves when the request is over, never rejects. */
  async run(): Promise<void> {
    const { client, services } = this.#options
    services.sessions.open(this)
    void client.over.then((how) => {
      if (how === 'gone') this.#abort(new SignalboxError('CLIENT_CLOSED', 'the client went away'))
    })
    try {
      const rule = this.#readHead()
      if (rule !== undefined) await this.#serve(rule)
    } catch (thrown) {
      this.#failed(asSignalboxError(thrown))
    }
    await this.#lingered()
    this.#close()
  }

  end(why: EndedBy): void {
    if (this.#bridge !== undefined) return this.#bridge.end(why)
    this.#abort(new SignalboxError(why === 'shutdown' ? 'DRAINING' : 'KICKED', why))
  }

  /** Its body is still to come. */
  get readsBody(): boolean {
    return !this.#body.complete
  }

  /** Its body is malformed. */
  refuse(status: AnswerStatus): void {
    this.#abort(new SignalboxError(status === 413 ? 'CLIENT_BUFFER' : 'CLIENT_PROTOCOL', 'the body is malformed'))
  }

  /** A WebSocket stands, and is counted as a session by who reports it; this is what ends it from now on. */
  bridged(bridge: Bridge): void {
    this.#status = 101
    this.#uncount()
    this.#bridge = bridge
  }

  #abort(error: SignalboxError): void {
    if (this.#cancel.signal.aborted) return
    this.#cancel.abort(error)
    this.#request?.destroy(error)
  }

  // ---- head, rule ----

  #readHead(): Rule | undefined {
    const { client, rules } = this.#options
    const head = readHead(client.raw, client.ended)
    if ('status' in head) {
      this.#answer(head.status, true)
      return undefined
    }
    this.#head = head
    if (head.body.kind === 'none') this.#body = new RequestBody(client.body, true)
    const rule = rules(head.path)
    if (rule === undefined) this.#answer(404)
    return rule
  }

  async #serve(rule: Rule): Promise<void> {
    const head = this.#head
    if (head === undefined) throw new SignalboxError('INTERNAL', 'a request without a head')
    const name = rule.kind === 'account' ? await this.#name(rule, head) : undefined
    if (name !== undefined) this.#join(name)
    for (let tries = 1; ; tries++) {
      const target = await this.#target(rule)
      this.#destination = target.destination
      await this.#admitted(target.destination)
      const outcome = await this.#send(head, target)
      if (outcome === 'over') return
      this.#request = undefined
      this.#throwIfEnded()
      if (tries === ROUTE_TRIES) throw new SignalboxError('ROUTE_VOID', 'the account was moved while its request was on its way')
    }
  }

  // ---- account, route ----

  /** The identifier in the request. What could be in no mapping is none. */
  async #name({ extractor }: Extract<Rule, { kind: 'account' }>, head: RequestHead): Promise<string | undefined> {
    const { client, services } = this.#options
    let name: string | undefined
    if (extractor.from === 'head') name = extractor.name(head)
    else {
      if (head.expectsContinue) {
        client.inform(100, [])
        this.#continued = true
      }
      const deadline = this.#clock.after(services.http.relayIdle, () => this.#abort(new SignalboxError('CLIENT_TIMEOUT', 'the body did not come in time')))
      const body = await this.#body.ahead(services.http.bodyExtractCap, this.#cancel.signal, (bytes) => (this.#bytes.bytesIn += bytes)).finally(() => deadline.cancel())
      name = extractor.name(body)
    }
    if (name === undefined) return undefined
    try {
      return services.identifier(name)
    } catch (thrown) {
      if (thrown instanceof SignalboxError && thrown.code === 'CLIENT_BAD_IDENTIFIER') return undefined
      throw thrown
    }
  }

  #join(account: string): void {
    this.#account = account
    this.#options.services.sessionsRef.tell({ type: 'join', session: this })
  }

  async #target(rule: Rule): Promise<Target> {
    const { services } = this.#options
    if (rule.kind === 'pinned') return this.#to(services.destinationNamed(rule.destination), undefined)
    if (this.#account === undefined && rule.fallback !== undefined) return this.#to(services.destinationNamed(rule.fallback), undefined)
    const route = await this.#resolve()
    this.#route = route
    return this.#to(services.destination(route.destination), route)
  }

  #to(destination: DestinationConfig | undefined, route: OpenRoute | undefined): Target {
    if (destination === undefined) throw new SignalboxError('ROUTE_UNAVAILABLE', 'the destination is gone')
    const leg = destination.legs.http
    if (leg === undefined) throw new SignalboxError('BACKEND_NO_LEG', `destination "${destination.name}" has no http leg`)
    return { destination, leg, route }
  }

  async #resolve(): Promise<OpenRoute> {
    const { resolver, resolverRef } = this.#options.services
    if (this.#account === undefined) return resolver.defaultRoute()
    const cached = resolver.cached(this.#account)
    if (cached !== undefined) return cached
    this.#destination = undefined
    const route = await resolverRef.ask({ type: 'resolve', identifier: this.#account }, HOLD_MS + 30_000, this.#cancel.signal)
    this.#throwIfEnded()
    if (route.kind === 'unavailable') throw route.error
    return route
  }

  async #admitted({ name }: DestinationConfig): Promise<void> {
    const admitted = await this.#options.services.admit(name)
    this.#throwIfEnded()
    if (!admitted) throw new SignalboxError('BACKEND_DOWN', `destination "${name}" is marked down`)
  }

  // ---- backend, relay ----

  /** `again`: nothing of it has happened, and it may be tried once more with another route or connection. */
  #send(head: RequestHead, target: Target): Promise<'over' | 'again'> {
    const { promise, resolve, reject } = Promise.withResolvers<'over' | 'again'>()
    const { client, upgrade } = this.#options
    const { destination } = target
    const began = this.#clock.now()
    let overtaken = false
    let answered = false
    const request = this.#open(head, target)
    this.#request = request
    request.maxHeadersCount = 0
    request.on('socket', (socket) => {
      const refusal = this.#mayNotGo(target)
      if (refusal !== undefined || this.#cancel.signal.aborted) {
        overtaken = refusal === 'overtaken'
        request.destroy(refusal === 'overtaken' ? undefined : (refusal ?? asSignalboxError(this.#cancel.signal.reason)))
        return
      }
      if (!request.reusedSocket) {
        if (socket.readableLength > 0) {
          request.destroy(new SignalboxError('BACKEND_PROTOCOL', 'the backend spoke before it was asked'))
          return
        }
        socket.resume()
      }
      this.#underWay(destination)
      // Whatever is sent from here on, a backend may have acted upon.
      request.flushHeaders()
      this.#sendBody(request, head)
    })
    request.on('continue', () => {
      this.#active = this.#clock.now()
      if (!this.#continued) client.inform(100, [])
      this.#continued = true
    })
    request.on('information', ({ statusCode, rawHeaders }) => {
      this.#active = this.#clock.now()
      if (statusCode !== 100) client.inform(statusCode, responseFields(rawHeaders))
    })
    request.on('response', (response) => {
      answered = true
      this.#heard(destination, response, began)
      this.#relay(head, response).then(() => resolve('over'), reject)
    })
    if (upgrade !== undefined) {
      request.on('upgrade', (response, socket, early) => {
        answered = true
        this.#idle?.cancel()
        this.#heard(destination, response, began)
        const refusal = this.#mayNotGo(target)
        if (refusal !== undefined) {
          socket.destroy()
          return reject(refusal === 'overtaken' ? new SignalboxError('ROUTE_VOID', 'the account was moved') : refusal)
        }
        upgrade({ exchange: this, response, socket, early, destination, facts: this.#facts() }).then(() => resolve('over'), reject)
      })
    }
    request.on('error', (error) => {
      if (answered) return reject(new SignalboxError('BACKEND_CLOSED', error.message, { cause: error }))
      if (this.#cancel.signal.aborted) return reject(asSignalboxError(this.#cancel.signal.reason))
      if (overtaken) return resolve('again')
      if (request.reusedSocket && SAFE.has(head.method) && head.body.kind === 'none') {
        this.#notUnderWay()
        return resolve('again')
      }
      reject(this.#backendFailure(destination, error, request.reusedSocket))
    })
    if (this.#body.complete && head.body.kind === 'none') request.end()
    return promise
  }

  #open(head: RequestHead, { destination, leg }: Target): ClientRequest {
    const { origin, pools, services, upgrade } = this.#options
    const { connection, listener, secure, clientTls } = origin
    const announced = announcement(connection, services.server.proxyTtl - 1, clientTls)
    const options: RequestOptions & CallerOption = {
      agent: (leg.forwarding === 'proxy' ? pools.own : pools.shared).of(destination, leg),
      caller: new Caller(announced, this.#cancel.signal),
      method: head.method,
      path: head.target,
      headers: requestFields(head, {
        announce: destination.forwarded ? { address: connection.clientAddress, secure } : undefined,
        trusted: listener.forwarded === 'trust',
        defaultHost: destination.tlsServerName,
        continued: this.#continued,
        upgrade: upgrade !== undefined,
      }),
      setHost: false,
      maxHeaderSize: services.http.maxHeadSize,
      insecureHTTPParser: false,
    }
    return httpRequest(options)
  }

  /** The last look before the first byte: the route must still hold, and the destination take requests. */
  #mayNotGo({ destination, route }: Target): 'overtaken' | SignalboxError | undefined {
    const { resolver, sessions } = this.#options.services
    if (route !== undefined && resolver.standing(route) !== 'holds') return 'overtaken'
    if (sessions.mayGoTo(destination.name)) return undefined
    return new SignalboxError('BACKEND_DOWN', `destination "${destination.name}" was taken out`)
  }

  #underWay({ name }: DestinationConfig): void {
    const { services } = this.#options
    this.#sent = true
    this.#bridgedTo = name
    services.counters.leg('http', name).sessions++
    this.#counted = true
    this.#watch(services.http.relayIdle)
  }

  #uncount(): void {
    if (this.#counted) this.#options.services.counters.leg('http', this.#bridgedTo ?? '').sessions--
    this.#counted = false
  }

  #notUnderWay(): void {
    this.#idle?.cancel()
    this.#uncount()
    this.#bridgedTo = undefined
    this.#sent = false
  }

  #sendBody(request: ClientRequest, head: RequestHead): void {
    if (head.body.kind === 'none') return
    const leg = this.#options.services.counters.leg('http', this.#bridgedTo ?? '')
    const moved = (bytes: number): void => {
      this.#bytes.bytesIn += bytes
      leg.bytesIn += bytes
      this.#active = this.#clock.now()
    }
    this.#body.sendTo(request, moved, () => {
      const trailers = passingTrailers(this.#options.client.trailers)
      const pairs: [string, string][] = []
      for (let at = 0; at + 1 < trailers.length; at += 2) pairs.push([trailers[at] ?? '', trailers[at + 1] ?? ''])
      if (pairs.length > 0) request.addTrailers(pairs)
      request.end()
    })
  }

  /** The backend has answered: that is what its health is about, whatever the answer. */
  #heard({ name }: DestinationConfig, { statusCode = 0 }: IncomingMessage, began: number): void {
    const { services, answered } = this.#options
    services.outcome(name, this.client, { ok: true })
    this.#active = this.#clock.now()
    if (statusCode === 401 && this.#hasCredentials()) services.report.refused(this, this.#facts())
    else if (statusCode !== 101) {
      const leg = services.counters.leg('http', name)
      leg.accepted++
      count(leg.took, this.#clock.now() - began)
    }
    if (statusCode !== 401) answered()
  }

  async #relay(head: RequestHead, response: IncomingMessage): Promise<void> {
    const { client, services, last } = this.#options
    const { statusCode: status = 502, statusMessage: message = '' } = response
    response.pause()
    const broken = new Promise<never>((_, reject) => {
      response.on('error', (error) => reject(new SignalboxError('BACKEND_CLOSED', error.message, { cause: error })))
      this.#cancel.signal.addEventListener('abort', () => reject(asSignalboxError(this.#cancel.signal.reason)))
    })
    broken.catch(unheard)
    // Whoever guesses passwords is slowed down here as with mail.
    if (status === 401 && this.#hasCredentials()) await Promise.race([this.#delay(), broken])
    if (members(response.rawHeaders, 'content-type').some((type) => type.startsWith('text/event-stream'))) this.#watch(services.server.bridgeIdle)
    const bodiless = head.method === 'HEAD' || status === 204 || status === 304
    this.#status = status
    // A client that waits for a go-ahead may never send its body: what came next on the connection would be ambiguous.
    const waiting = head.expectsContinue && !this.#continued && !this.#body.complete
    const ending = last() || waiting
    if (ending) this.#options.closing()
    const sink = client.respond({ status, message, fields: responseFields(response.rawHeaders), last: ending, bodiless })
    const leg = services.counters.leg('http', this.#bridgedTo ?? '')
    const ended = new Promise<void>((resolve) => {
      response.on('data', (chunk: Buffer) => {
        this.#bytes.bytesOut += chunk.length
        leg.bytesOut += chunk.length
        this.#active = this.#clock.now()
        if (!bodiless && !sink.write(chunk)) response.pause()
      })
      sink.on('drain', () => {
        this.#active = this.#clock.now()
        response.resume()
      })
      response.on('end', resolve)
    })
    response.resume()
    await Promise.race([ended, broken])
    if (!bodiless || client.raw.version !== '2') client.finish(passingTrailers(response.rawTrailers))
  }

  async #delay(): Promise<void> {
    await this.#clock.sleep(await this.#options.services.penalty(this.client))
  }

  #hasCredentials(): boolean {
    return this.#head !== undefined && valuesOf(this.#head.fields, 'authorization').length > 0
  }

  // ---- silence ----

  /** No byte for `ms` ends it. */
  #watch(ms: number): void {
    this.#idle?.cancel()
    this.#active = this.#clock.now()
    const look = (left: number): void => {
      this.#idle = this.#clock.after(left, () => {
        const rest = this.#active + ms - this.#clock.now()
        if (rest > 0) look(rest)
        else this.#silent()
      })
    }
    look(ms)
  }

  #silent(): void {
    if (!this.#options.client.answered && this.#body.starved) return this.#abort(new SignalboxError('CLIENT_TIMEOUT', 'the body did not come in time'))
    const error = new SignalboxError('BACKEND_TIMEOUT', 'the backend was silent for too long')
    if (!this.#options.client.answered && this.#destination !== undefined) {
      this.#options.services.outcome(this.#destination.name, this.client, { ok: false, phase: 'after', error })
    }
    this.#abort(error)
  }

  // ---- the end ----

  #backendFailure({ name }: DestinationConfig, error: Error & { code?: string }, reused: boolean): SignalboxError {
    if (error instanceof SignalboxError) return error
    const malformed = error.code?.startsWith('HPE_') === true
    const failure = new SignalboxError(malformed ? 'BACKEND_PROTOCOL' : 'BACKEND_CLOSED', error.message, { cause: error })
    // A connection that was kept for too long says nothing about the destination.
    if (!reused) this.#options.services.outcome(name, this.client, { ok: false, phase: 'after', error: failure })
    return failure
  }

  #failed(error: SignalboxError): void {
    const { client, services } = this.#options
    const ended = error.code === 'KICKED' || error.code === 'DRAINING'
    if (error.code !== 'CLIENT_CLOSED' && !ended && !client.answered) services.report.unavailable(this, this.#facts(), error)
    this.#request?.destroy(error)
    if (client.answered || error.code === 'CLIENT_CLOSED' || (ended && this.#sent)) client.abort()
    else this.#answer(statusOf(error), error.side === 'client')
  }

  #answer(status: AnswerStatus, last = false): void {
    const { client } = this.#options
    const { fields, body } = answer(status)
    const bodiless = client.raw.method === 'HEAD'
    this.#status = status
    const waiting = this.#head?.expectsContinue === true && !this.#continued
    const ending = last || waiting || this.#options.last()
    if (ending) this.#options.closing()
    const sink = client.respond({ status, message: STATUS_CODES[status] ?? '', fields, last: ending, bodiless })
    if (!bodiless) sink.write(body)
    if (!bodiless || client.raw.version !== '2') client.finish([])
  }

  /** The response is out; what the client still sends of its body is dropped, for a while, so that it gets to read it. */
  async #lingered(): Promise<void> {
    const { client } = this.#options
    this.#idle?.cancel()
    const { promise: through, resolve } = Promise.withResolvers<void>()
    if (this.#status === 101) resolve()
    else {
      // The backend has answered before it had all, and gets no more; otherwise its connection is another request's by now.
      if (!this.#body.complete) this.#request?.destroy()
      this.#body.drop(resolve)
    }
    let patience: Timer | undefined
    if (!this.#body.complete) patience = this.#clock.after(HTTP_LINGER_MS, () => client.abort())
    const how = await client.over
    if (how === 'answered' && !this.#body.complete) await Promise.race([through, new Promise<void>((done) => client.body.once('close', done))])
    patience?.cancel()
  }

  #close(): void {
    const { services, origin, id } = this.#options
    this.#idle?.cancel()
    const { bytesIn, bytesOut } = this.bytes
    services.requested({
      session: id,
      listener: origin.listener.name,
      client: this.client,
      account: this.#account,
      destination: this.#destination?.name,
      method: this.#head?.method ?? '',
      status: this.#status,
      bytesIn,
      bytesOut,
      seconds: (this.#clock.now() - this.#began) / 1000,
    })
    this.#notUnderWay()
    services.sessions.close(this)
    if (this.#account !== undefined) services.sessionsRef.tell({ type: 'leave', session: this })
  }

  #throwIfEnded(): void {
    if (this.#cancel.signal.aborted) throw asSignalboxError(this.#cancel.signal.reason)
  }

  #facts(): LoginFacts {
    return {
      account: this.#account,
      destination: this.#destination?.name,
      mechanism: undefined,
      secure: this.#options.origin.secure,
      attempt: 1,
      took: this.#clock.now() - this.#began,
      route: this.#route,
    }
  }
}

function unheard(): void {}
