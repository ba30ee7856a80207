/**
 * The health actor: the circuit breaker of every destination, judged for the whole instance. Workers report what
 * happened to their dials; the verdict is told to all workers at each change.
 *
 * A failure while connecting counts by itself. A failure after connecting is put down to the client that it happened
 * to, and trips the breaker only once the streak spans `host_down_min_clients` addresses. Down for `host_down_cooldown`,
 * then one probe at a time in the whole instance; a success clears everything (resilience: a destination's health).
 */
import type { Behaviour } from '../actor/actor.ts'
import type { Message, Question, Reply } from '../actor/message.ts'
import type { Clock } from '../clock.ts'
import type { ServerConfig } from '../config/config.ts'
import { impossible } from '../errors.ts'
import { addressKey } from '../listener/address.ts'

/** From a worker: what became of a dial. Successes are told only while a streak of failures is known. */
export interface Outcome extends Message {
  readonly type: 'outcome'
  readonly destination: string
  readonly client: string
  readonly result: 'ok' | 'connecting' | 'after'
  readonly error: string
}
/** From a worker: may I try the destination that is down? */
export interface Probe extends Question<boolean> {
  readonly type: 'probe'
  readonly destination: string
}
/** From an operator. False: unknown destination. */
export interface Reset extends Question<boolean> {
  readonly type: 'reset'
  readonly destination: string
}
export interface Snapshot extends Question<readonly DestinationHealth[]> {
  readonly type: 'snapshot'
}
export type HealthMessage = Outcome | Probe | Reset | Snapshot

export interface DestinationHealth {
  readonly destination: string
  readonly consecutiveFailures: number
  readonly failureSources: number
  readonly hostLevelFailure: boolean
  readonly down: boolean
  /** Wall-clock milliseconds; undefined while up. */
  readonly downUntil: number | undefined
}

/** What workers need to know of a destination. */
export interface Verdict {
  readonly destination: string
  readonly state: 'healthy' | 'failing' | 'down'
  /** Clock time (of this host's monotonic clock) from which a probe may be asked for. */
  readonly probeFrom: number
}

interface Breaker {
  failures: number
  readonly clients: Set<string>
  hostLevel: boolean
  /** Clock time until which it is down; undefined while up. */
  downUntil: number | undefined
  /** Clock time since when. */
  downSince: number
  /** When the probe under way was let through. */
  probing: number | undefined
}

export interface HealthOptions {
  readonly server: ServerConfig
  readonly destinations: readonly string[]
  readonly clock: Clock
  readonly random: () => number
  /** Tells every worker. */
  readonly publish: (verdict: Verdict) => void
  /** A destination went down or came up again. `seconds`: the cooldown, or how long it was down. */
  readonly changed: (change: HealthChange) => void
}

export type HealthChange =
  | { readonly down: true; readonly destination: string; readonly failures: number; readonly sources: number; readonly seconds: number; readonly error: string }
  | { readonly down: false; readonly destination: string; readonly seconds: number }

/** A streak remembers so many client addresses at least, and as many as it takes: more would only prove the same. */
const CLIENTS = 64

export class Health implements Behaviour<HealthMessage> {
  readonly #options: HealthOptions
  #breakers = new Map<string, Breaker>()
  #server: ServerConfig

  constructor(options: HealthOptions) {
    this.#options = options
    this.#server = options.server
    for (const name of options.destinations) this.#breakers.set(name, closed())
  }

  /** A reload: the state of destinations that are there and did not change is kept. */
  reconfigure(server: ServerConfig, destinations: readonly string[], changed: ReadonlySet<string>): void {
    this.#server = server
    const before = this.#breakers
    this.#breakers = new Map(destinations.map((name) => [name, (changed.has(name) ? undefined : before.get(name)) ?? closed()]))
    // Of one that comes back the workers may still think as they did when it went.
    for (const name of destinations) if (changed.has(name) || !before.has(name)) this.#publish(name)
  }

  receive(message: HealthMessage, reply: Reply): void {
    switch (message.type) {
      case 'outcome':
        return this.#outcome(message)
      case 'probe':
        return reply.to(message, this.#probe(message.destination))
      case 'reset':
        return reply.to(message, this.#reset(message.destination))
      case 'snapshot':
        return reply.to(message, this.#snapshot())
      default:
        impossible(message)
    }
  }

  /** A breaker's state is soft: begin anew with all destinations up. */
  crashed(): void {
    for (const name of this.#breakers.keys()) {
      this.#breakers.set(name, closed())
      this.#publish(name)
    }
  }

  /** The verdicts as they stand, for a worker that has just started. */
  verdicts(): Verdict[] {
    return [...this.#breakers.keys()].map((name) => this.#verdict(name))
  }

  #outcome({ destination, client, result, error }: Outcome): void {
    const breaker = this.#breakers.get(destination)
    if (breaker === undefined) return
    if (result === 'ok') {
      if (breaker.failures > 0 || breaker.downUntil !== undefined) this.#clear(destination, breaker)
      return
    }
    const first = breaker.failures === 0
    breaker.failures++
    breaker.probing = undefined
    // As addresses are counted everywhere: one client has a whole IPv6 /64 to call from.
    const remembered = Math.max(CLIENTS, this.#server.hostDownMinClients)
    if (breaker.clients.size < remembered) breaker.clients.add(addressKey(client))
    breaker.hostLevel ||= result === 'connecting'
    if (this.#trips(breaker)) this.#trip(destination, breaker, error)
    else if (first) this.#publish(destination)
  }

  #trips(breaker: Breaker): boolean {
    const { hostDownThreshold, hostDownMinClients } = this.#server
    if (hostDownThreshold === 0 || breaker.failures < hostDownThreshold) return false
    return breaker.hostLevel || breaker.clients.size >= hostDownMinClients
  }

  #trip(destination: string, breaker: Breaker, error: string): void {
    const { clock, random, changed } = this.#options
    const server = this.#server
    const wasDown = breaker.downUntil !== undefined
    // Up to a tenth more, so that the instances of a fleet don't probe in step.
    breaker.downUntil = clock.now() + server.hostDownCooldown * (1 + random() / 10)
    this.#publish(destination)
    if (wasDown) return
    breaker.downSince = clock.now()
    changed({
      down: true,
      destination,
      failures: breaker.failures,
      sources: breaker.clients.size,
      seconds: server.hostDownCooldown / 1000,
      error,
    })
  }

  #clear(destination: string, breaker: Breaker): void {
    const { changed, clock } = this.#options
    this.#breakers.set(destination, closed())
    this.#publish(destination)
    if (breaker.downUntil === undefined) return
    changed({ down: false, destination, seconds: Math.round((clock.now() - breaker.downSince) / 1000) })
  }

  /** One probe at a time; one that never reported is given up after the longest a dial and replay may take. */
  #probe(destination: string): boolean {
    const breaker = this.#breakers.get(destination)
    if (breaker === undefined) return false
    if (breaker.downUntil === undefined) return true
    const now = this.#options.clock.now()
    if (now < breaker.downUntil) return false
    if (breaker.probing !== undefined && now - breaker.probing < this.#server.backendTimeout * 2 + 1_000) return false
    breaker.probing = now
    return true
  }

  #reset(destination: string): boolean {
    const breaker = this.#breakers.get(destination)
    if (breaker === undefined) return false
    this.#clear(destination, breaker)
    return true
  }

  #snapshot(): readonly DestinationHealth[] {
    const { clock } = this.#options
    return [...this.#breakers].map(([destination, breaker]) => ({
      destination,
      consecutiveFailures: breaker.failures,
      failureSources: breaker.clients.size,
      hostLevelFailure: breaker.hostLevel,
      down: breaker.downUntil !== undefined,
      downUntil: breaker.downUntil === undefined ? undefined : clock.wall() + (breaker.downUntil - clock.now()),
    }))
  }

  #publish(destination: string): void {
    this.#options.publish(this.#verdict(destination))
  }

  #verdict(destination: string): Verdict {
    const breaker = this.#breakers.get(destination) ?? closed()
    if (breaker.downUntil !== undefined) return { destination, state: 'down', probeFrom: breaker.downUntil }
    return { destination, state: breaker.failures > 0 ? 'failing' : 'healthy', probeFrom: 0 }
  }
}

function closed(): Breaker {
  return { failures: 0, clients: new Set(), hostLevel: false, downUntil: undefined, downSince: 0, probing: undefined }
}
