/**
 * One request, from its head to the last byte of its answer; `run` and `#serve` read as the list of its stages: head, rule,
 * forwarding (account, route, backend), reply. It is a session of its account from the moment that is known: a kick ends it in every stage.
 *
 * Until the request is on its way to a backend every failure is answered politely (4xx, 5xx), and nothing has happened;
 * afterwards a kick breaks the connection off, because nobody can say what the backend has done.
 */
import type { IncomingMessage } from 'node:http'
import type { Clock, Timer } from '../../clock.ts'
import { Halt } from '../../destination/halt.ts'
import { asSignalboxError, SignalboxError } from '../../errors.ts'
import { HTTP_LINGER_MS } from '../../limits.ts'
import { count } from '../../observe/durations.ts'
import { statusOf, type AnswerStatus } from '../../protocol/http/answer.ts'
import { has } from '../../protocol/http/fields.ts'
import { readHead } from '../../protocol/http/head.ts'
import type { Rule } from '../../protocol/http/routes.ts'
import type { LoginFacts, Reported } from '../services.ts'
import type { EndedBy, SessionHandle } from '../sessions.ts'
import { mayNotGo, type Target } from './admission.ts'
import type { ClientSide } from './client-side.ts'
import { Forwarding } from './forwarding.ts'
import type { PendingRequest } from './pending-request.ts'
import type { Pools } from './pool.ts'
import { Reply } from './reply.ts'
import { RequestBody } from './request-body.ts'
import type { HttpServices, RequestOrigin } from './services.ts'
import { Traffic } from './traffic.ts'
import type { Bridge, Upgraded } from './web-socket.ts'

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

export class Exchange implements SessionHandle, Reported {
  readonly protocol = 'http'
  seat = -1
  readonly since: number
  readonly #options: ExchangeOptions
  readonly #clock: Clock
  readonly #began: number
  readonly #halt = new Halt()
  readonly #traffic: Traffic
  readonly #reply: Reply
  /** For those who take a signal; most requests meet none. */
  #controller: AbortController | undefined
  #body: RequestBody
  #pending: PendingRequest | undefined
  #forwarding: Forwarding | undefined
  #bridge: Bridge | undefined
  #failure: SignalboxError | undefined

  constructor(options: ExchangeOptions) {
    this.#options = options
    this.#clock = options.services.clock
    this.#began = this.#clock.now()
    this.since = Math.round(this.#clock.wall())
    this.#body = new RequestBody(options.client)
    this.#traffic = new Traffic(this.#clock, () => this.#silent())
    this.#reply = new Reply(options)
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
    return this.#halt.reason !== undefined
  }

  get account(): string | undefined {
    return this.#forwarding?.account
  }

  get bridgedTo(): string | undefined {
    return this.#forwarding?.sent === true ? this.routedTo : undefined
  }

  get routedTo(): string | undefined {
    return this.#forwarding?.target?.destination.name
  }

  get client(): string {
    return this.#options.origin.connection.clientAddress
  }

  get bytes(): { readonly bytesIn: number; readonly bytesOut: number } {
    return this.#bridge ?? this.#traffic
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
      const pending = this.#readHead()
      const rule = pending === undefined ? undefined : this.#ruleOf(pending)
      if (pending !== undefined && rule !== undefined) await this.#serve(this.#forward(rule, pending), pending)
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
    this.#reply.switched()
    this.#traffic.left()
    this.#bridge = bridge
  }

  #abort(error: SignalboxError): void {
    this.#halt.now(error)
    this.#controller?.abort(error)
    this.#forwarding?.destroy(error)
  }

  // ---- its stages ----

  #readHead(): PendingRequest | undefined {
    const { client, origin, services } = this.#options
    const head = readHead(client.raw, client.ended, services.http.maxHeadSize)
    if ('status' in head) {
      this.#reply.refuse(head.status, undefined, true)
      return undefined
    }
    if (head.body.kind === 'none') this.#body.nothing()
    const [body, traffic, halt] = [this.#body, this.#traffic, this.#halt]
    this.#pending = { client, head, body, traffic, origin, services, halt, signal: () => this.#signal(), continued: false }
    return this.#pending
  }

  #ruleOf(pending: PendingRequest): Rule | undefined {
    const rule = this.#options.rules(pending.head.path)
    if (rule === undefined) this.#reply.refuse(404, pending)
    return rule
  }

  #forward(rule: Rule, pending: PendingRequest): Forwarding {
    const { pools, services, upgrade } = this.#options
    const joined = (): void => services.sessionsRef.tell({ type: 'join', session: this })
    this.#forwarding = new Forwarding({ rule, pending, pools, upgrade: upgrade !== undefined, joined })
    return this.#forwarding
  }

  async #serve(forwarding: Forwarding, pending: PendingRequest): Promise<void> {
    const { upgrade } = this.#options
    const { answer, target, took } = await forwarding.answer()
    this.#heard(answer.response, target, took)
    if (answer.kind === 'response') {
      if (this.#isRefusal(answer.response, pending)) await this.#refused()
      return this.#reply.relay(pending, answer.response)
    }
    this.#traffic.unwatch()
    const { response, socket, early } = answer
    const refusal = mayNotGo(target, pending)
    if (refusal === undefined && upgrade !== undefined) {
      return upgrade({ exchange: this, response, socket, early, destination: target.destination, facts: this.#facts() })
    }
    socket.destroy()
    throw refusal instanceof SignalboxError ? refusal : new SignalboxError('ROUTE_VOID', 'the account was moved')
  }

  /** The backend has answered: that is what its health is about, whatever the answer. */
  #heard({ statusCode: status = 0 }: IncomingMessage, { destination: { name } }: Target, took: number): void {
    const { answered, services } = this.#options
    services.outcome(name, this.client, { ok: true })
    services.counters.stage('http', 'first-byte', took)
    if (status === 401) return
    answered()
    if (status === 101) return
    const leg = services.counters.leg('http', name)
    leg.accepted++
    count(leg.took, took)
  }

  /** Credentials that the backend didn't take. */
  #isRefusal({ statusCode }: IncomingMessage, { head }: PendingRequest): boolean {
    return statusCode === 401 && has(head.fields, 'authorization')
  }

  /** Whoever guesses passwords is slowed down here as with mail. */
  async #refused(): Promise<void> {
    const { penalty, report } = this.#options.services
    report.refused(this, this.#facts())
    await this.#halt.until(penalty(this.client).then((ms) => this.#clock.sleep(ms)))
  }

  #signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.#halt.reason !== undefined) this.#controller.abort(this.#halt.reason)
    return this.#controller.signal
  }

  #silent(): void {
    const { client, services } = this.#options
    if (!client.answered && this.#body.starved) return this.#abort(new SignalboxError('CLIENT_TIMEOUT', 'the body did not come in time'))
    const error = new SignalboxError('BACKEND_TIMEOUT', 'the backend was silent for too long')
    const destination = this.routedTo
    if (!client.answered && destination !== undefined) services.outcome(destination, this.client, { ok: false, phase: 'after', error })
    this.#abort(error)
  }

  // ---- the end ----

  #failed(error: SignalboxError): void {
    const { client, services } = this.#options
    this.#failure = error
    const ended = error.code === 'KICKED' || error.code === 'DRAINING'
    // What clients do wrong is told with the request: a stranger's mistakes would fill the log at `warn`.
    if (error.side !== 'client' && !ended && !client.answered) services.report.unavailable(this, this.#facts(), error)
    this.#forwarding?.destroy(error)
    if (client.answered || error.code === 'CLIENT_CLOSED' || (ended && this.#forwarding?.sent === true)) client.abort()
    else this.#reply.refuse(statusOf(error), this.#pending, error.side === 'client')
  }

  /** The response is out; what the client still sends of its body is dropped, for a while, so that it gets to read it. */
  async #lingered(): Promise<void> {
    const { client } = this.#options
    this.#traffic.unwatch()
    if (this.#reply.status === 101 || this.#body.complete) {
      if (this.#reply.status !== 101) this.#body.drop(() => {})
      await client.over
      return
    }
    // The backend has answered before it had all, and gets no more; otherwise its connection is another request's by now.
    this.#forwarding?.destroy()
    const { promise: through, resolve } = Promise.withResolvers<void>()
    this.#body.drop(resolve)
    // The body of a connection that was given up neither ends nor closes.
    const unwatch = client.whenClosed(resolve)
    const patience: Timer = this.#clock.after(HTTP_LINGER_MS, () => {
      client.abort()
      resolve()
    })
    if ((await client.over) === 'answered' && !this.#body.complete) await through
    unwatch()
    patience.cancel()
  }

  #close(): void {
    const { services, origin, id } = this.#options
    const { bytesIn, bytesOut } = this.bytes
    const { status } = this.#reply
    const took = this.#clock.now() - this.#began
    this.#traffic.unwatch()
    this.#traffic.left()
    if (this.#bridge === undefined) services.counters.stage('http', 'exchange', took)
    services.counters.response(this.routedTo ?? '', status)
    services.requested({
      session: id,
      listener: origin.listener.name,
      client: this.client,
      account: this.account,
      destination: this.routedTo,
      method: this.#pending?.head.method ?? '',
      status,
      code: this.#failure?.code,
      bytesIn,
      bytesOut,
      seconds: took / 1000,
    })
    services.sessions.close(this)
    if (this.account !== undefined) services.sessionsRef.tell({ type: 'leave', session: this })
  }

  #facts(): LoginFacts {
    return {
      account: this.account,
      destination: this.routedTo,
      mechanism: undefined,
      secure: this.#options.origin.secure,
      attempt: 1,
      took: this.#clock.now() - this.#began,
      route: this.#forwarding?.target?.route,
    }
  }
}
