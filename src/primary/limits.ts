/**
 * The limits actor: what is counted for the whole instance. It owns the live connections by listener and by client
 * address, the penalties of addresses whose logins fail, and the places that accounts and destinations have
 * (places.ts). IPv6 addresses count as their /64.
 *
 * `admit` is synchronous for the primary's acceptor, which must decide before a worker is bothered; everything else
 * comes as a message. A worker that dies takes its counts with it.
 */
import { LRUCache } from 'lru-cache'
import type { Behaviour } from '../actor/actor.ts'
import type { Message, Question, Reply } from '../actor/message.ts'
import type { Clock } from '../clock.ts'
import type { DestinationConfig, LimitsConfig, ListenerConfig } from '../config/config.ts'
import { impossible } from '../errors.ts'
import type { SignalboxError } from '../errors.ts'
import { addressKey } from '../listener/address.ts'
import type { Place } from '../session/place.ts'
import { Places } from './places.ts'
import type { Holder } from './places.ts'

/** From a worker that accepts by itself (`distribution = "kernel"`): connections that began. */
export interface Opened extends Message {
  readonly type: 'opened'
  readonly worker: number
  readonly connections: readonly { readonly id: number; readonly listener: string; readonly address: string }[]
}
/** From a worker: connections that ended. */
export interface Ended extends Message {
  readonly type: 'ended'
  readonly ids: readonly number[]
}
/**
 * A connection that was counted for nobody, since its PROXY header was still to come, is one of this address. Answered whether
 * the address may have one more.
 */
export interface Announced extends Question<boolean> {
  readonly type: 'announced'
  readonly id: number
  readonly address: string
}
/** A login from this address was turned down. Answered with the milliseconds to wait before it is told so. */
export interface Failed extends Question<number> {
  readonly type: 'failed'
  readonly address: string
}
export interface WorkerGone extends Message {
  readonly type: 'worker-gone'
  readonly worker: number
}
/** A session wants one of the places that an account or a destination has. Answered whether it got one. */
export interface Take extends Question<boolean> {
  readonly type: 'take'
  readonly place: Place
  readonly holder: Holder
}
export interface GiveBack extends Message {
  readonly type: 'give-back'
  readonly place: Place
  readonly session: string
}
export type LimitsMessage = Opened | Ended | Announced | Failed | WorkerGone | Take | GiveBack

export type Admission = 'admitted' | 'listener-full' | 'address-full'

interface Connection {
  readonly listener: string
  /** As it is counted; empty: it isn't, or not yet. */
  address: string
  worker: number
}

/** How often the delay may double. */
const DOUBLINGS = 3
/** A failure is forgotten after this long without another. */
const PENALTY_MEMORY_MS = 300_000
const PENALTY_ADDRESSES = 50_000

export class Limits implements Behaviour<LimitsMessage> {
  #limits: LimitsConfig
  readonly #max = new Map<string, number>()
  readonly #connections = new Map<number, Connection>()
  readonly #byListener = new Map<string, number>()
  readonly #byAddress = new Map<string, number>()
  readonly #byWorker = new Map<number, number>()
  readonly #failures: LRUCache<string, number>
  readonly #places = new Places()
  /** max_connections by destination. */
  readonly #maxTowards = new Map<string, number>()

  constructor(
    limits: LimitsConfig,
    listeners: readonly ListenerConfig[],
    clock: Clock,
    destinations: readonly DestinationConfig[] = [],
  ) {
    this.#limits = limits
    this.reconfigure(limits, listeners, destinations)
    this.#failures = new LRUCache({
      max: PENALTY_ADDRESSES,
      ttl: PENALTY_MEMORY_MS,
      // Anything else sets timers of its own.
      ttlResolution: 0,
      perf: { now: () => clock.now() + 1 },
    })
  }

  /** A reload: what comes from now on is measured by these. What was not counted before isn't counted afterwards. */
  reconfigure(limits: LimitsConfig, listeners: readonly ListenerConfig[], destinations: readonly DestinationConfig[]): void {
    this.#limits = limits
    this.#max.clear()
    this.#maxTowards.clear()
    for (const { name, maxConnections } of destinations) this.#maxTowards.set(name, maxConnections)
    for (const listener of listeners) this.#max.set(listener.name, listener.maxConnections)
  }

  receive(message: LimitsMessage, reply: Reply): void {
    switch (message.type) {
      case 'opened':
        for (const { id, listener, address } of message.connections) this.register(id, listener, address, message.worker)
        return
      case 'ended':
        for (const id of message.ids) this.release(id)
        return
      case 'announced':
        return reply.to(message, this.#announced(message))
      case 'failed':
        return reply.to(message, this.#failed(message.address))
      case 'worker-gone':
        for (const [id, connection] of this.#connections) if (connection.worker === message.worker) this.release(id)
        return this.#places.workerGone(message.worker)
      case 'take':
        return reply.to(message, this.#places.take(message.place, message.holder, this.#roomOf(message.place)))
      case 'give-back':
        return this.#places.giveBack(message.place, message.session)
      default:
        impossible(message)
    }
  }

  /** Counts that are wrong would shut honest clients out: end the process rather than guess. */
  crashed(error: SignalboxError): void {
    throw error
  }

  /**
   * Whether one more connection may come in. Doesn't count it yet.
   *
   * @param address undefined: it is announced later
   */
  admit(listener: string, address: string | undefined): Admission {
    if ((this.#byListener.get(listener) ?? 0) >= (this.#max.get(listener) ?? 0)) return 'listener-full'
    if (address === undefined || this.#limits.maxConnectionsPerIp === 0) return 'admitted'
    return this.#hasRoom(addressKey(address)) ? 'admitted' : 'address-full'
  }

  register(id: number, listener: string, address: string | undefined, worker: number): void {
    const key = this.#limits.maxConnectionsPerIp > 0 && address !== undefined ? addressKey(address) : ''
    this.#connections.set(id, { listener, address: key, worker })
    add(this.#byListener, listener, 1)
    add(this.#byWorker, worker, 1)
    if (key !== '') add(this.#byAddress, key, 1)
  }

  /** The connection went to another worker than it was registered with. */
  assign(id: number, worker: number): void {
    const connection = this.#connections.get(id)
    if (connection === undefined) return
    add(this.#byWorker, connection.worker, -1)
    add(this.#byWorker, worker, 1)
    connection.worker = worker
  }

  release(id: number): void {
    const connection = this.#connections.get(id)
    if (connection === undefined) return
    this.#connections.delete(id)
    add(this.#byListener, connection.listener, -1)
    add(this.#byWorker, connection.worker, -1)
    if (connection.address !== '') add(this.#byAddress, connection.address, -1)
  }

  /** Live connections in all. */
  get connections(): number {
    return this.#connections.size
  }

  /** Live connections of one worker. */
  ofWorker(worker: number): number {
    return this.#byWorker.get(worker) ?? 0
  }

  #roomOf({ of, name }: Place): number {
    const max = of === 'account' ? this.#limits.maxSessionsPerAccount : (this.#maxTowards.get(name) ?? 0)
    return max === 0 ? Number.POSITIVE_INFINITY : max
  }

  #announced({ id, address }: Announced): boolean {
    const connection = this.#connections.get(id)
    // One that has ended meanwhile, or that is counted already, takes no place.
    if (connection === undefined || connection.address !== '' || this.#limits.maxConnectionsPerIp === 0) return true
    const key = addressKey(address)
    if (!this.#hasRoom(key)) return false
    connection.address = key
    add(this.#byAddress, key, 1)
    return true
  }

  #hasRoom(key: string): boolean {
    const perAddress = this.#limits.maxConnectionsPerIp
    return perAddress === 0 || (this.#byAddress.get(key) ?? 0) < perAddress
  }

  #failed(address: string): number {
    const key = addressKey(address)
    const failures = this.#failures.get(key) ?? 0
    this.#failures.set(key, failures + 1)
    return this.#limits.authFailureDelay * 2 ** Math.min(failures, DOUBLINGS)
  }
}

function add<K>(counts: Map<K, number>, key: K, by: number): void {
  const count = (counts.get(key) ?? 0) + by
  if (count === 0) counts.delete(key)
  else counts.set(key, count)
}
