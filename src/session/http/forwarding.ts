/**
 * From a request whose head is read to the beginning of its backend's answer: account, route, admission, backend, and as many
 * tries as are safe. What it has come to know is there to be seen while it goes on, for the operator's list and for the log.
 */
import { SignalboxError } from '../../errors.ts'
import type { Rule } from '../../protocol/http/routes.ts'
import { accountOf, admitted, knownTarget, lookedUp, type Target } from './admission.ts'
import { BackendRequest, type BackendAnswer } from './backend-request.ts'
import type { PendingRequest } from './pending-request.ts'
import type { BackendAgent, Pools } from './pool.ts'

export interface ForwardingOptions {
  readonly pending: PendingRequest
  readonly rule: Rule
  /** The pools of all clients, and of this one's connection. */
  readonly pools: { readonly shared: Pools; readonly own: Pools }
  /** The client asks for a WebSocket. */
  readonly upgrade: boolean
  /** The account is known. */
  readonly joined: () => void
}

export interface Forwarded {
  readonly answer: Exclude<BackendAnswer, { kind: 'again' }>
  readonly target: Target
  /** From the request's leave, or the dial for it, to the answer's head, milliseconds. */
  readonly took: number
}

/** How often a request looks for its route or a connection anew. */
const TRIES = 4

export class Forwarding {
  readonly #options: ForwardingOptions
  #account: string | undefined
  #target: Target | undefined
  #backend: BackendRequest | undefined

  constructor(options: ForwardingOptions) {
    this.#options = options
  }

  get account(): string | undefined {
    return this.#account
  }

  /** Undefined: not known, or not any more. */
  get target(): Target | undefined {
    return this.#target
  }

  /** A backend may have seen something of it. */
  get sent(): boolean {
    return this.#backend?.sent === true
  }

  /** Breaks the backend's part off at any moment. Idempotent. */
  destroy(error?: Error): void {
    this.#backend?.destroy(error)
  }

  /** Rejects with why there is no answer, or with why the request was ended. */
  async answer(): Promise<Forwarded> {
    const { joined, pending, rule } = this.#options
    const { services, traffic } = pending
    this.#account = await accountOf(rule, pending)
    if (this.#account !== undefined) joined()
    let overtaken: 'moved' | 'stale' = 'moved'
    for (let tries = 0; tries < TRIES; tries++) {
      const target = await this.#targetOf(rule)
      await admitted(target, pending)
      const began = services.clock.now()
      const agent = this.#agentOf(target)
      const answer = await this.#ask(target, agent)
      if (answer.kind !== 'again') return { answer, target, took: services.clock.now() - began }
      overtaken = answer.why
      traffic.unwatch()
      traffic.left()
      this.#backend = undefined
      // Where one kept connection was at its end, the others may be as well.
      if (overtaken === 'stale') agent.discardIdle()
    }
    if (overtaken === 'stale') throw new SignalboxError('BACKEND_CLOSED', 'the backend closes every connection that is kept')
    throw new SignalboxError('ROUTE_VOID', 'the account was moved while its request was on its way')
  }

  async #targetOf(rule: Rule): Promise<Target> {
    const { pending } = this.#options
    const { clock, counters } = pending.services
    const began = clock.now()
    this.#target = undefined
    this.#target = knownTarget(rule, this.#account, pending) ?? (await lookedUp(this.#account ?? '', pending))
    counters.stage('http', 'resolve', clock.now() - began)
    return this.#target
  }

  #agentOf({ destination, leg }: Target): BackendAgent {
    const { own, shared } = this.#options.pools
    return (leg.forwarding === 'proxy' ? own : shared).of(destination, leg)
  }

  #ask(target: Target, agent: BackendAgent): Promise<BackendAnswer> {
    const { pending, upgrade } = this.#options
    const { services, traffic } = pending
    const leaves = (): void => {
      traffic.at(services.counters.leg('http', target.destination.name))
      traffic.watch(services.http.relayIdle)
    }
    this.#backend = new BackendRequest({ pending, target, agent, upgrade, leaves })
    return this.#backend.answer()
  }
}
