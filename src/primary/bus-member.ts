/**
 * This instance as a member of the bus: its epoch and sequence, its heartbeat, its peers and what they have acknowledged.
 * Part of the fleet actor, which alone calls it. It is on the bus only while it hears its own heartbeat; whatever may have
 * been missed (a gap, a new epoch, a peer gone without a bye, a frame that can't be read, a subscription made anew) is told
 * as a doubt, and ends nothing.
 */
import { decodeBusFrame, encodeBusFrame } from '../bus/frame.ts'
import type { BusFrame, BusHeader } from '../bus/frame.ts'
import { readPayload } from '../bus/payload.ts'
import type { ActiveHold, BusPayload, InstanceFacts } from '../bus/payload.ts'
import type { BusTransport } from '../bus/transport.ts'
import type { Clock, Timer } from '../clock.ts'
import type { ClusterConfig } from '../config/config.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { Peers } from './peers.ts'
import type { Peer } from './peers.ts'

/** A change that every instance must obey and acknowledge. */
export type Change = Extract<BusPayload, { kind: 'invalidate' | 'invalidate-all' | 'kick' | 'hold' | 'release' }>

/** What a peer made of a change. */
export interface PeerOutcome {
  readonly instance: string
  readonly acknowledged: boolean
  /** Sessions that a kick ended there. */
  readonly count: number
}

export interface BusMemberOptions {
  readonly cluster: ClusterConfig
  readonly clock: Clock
  readonly transport: BusTransport
  /** Milliseconds since 1970 at the start of this process: larger than every epoch before it under this name. */
  readonly epoch: number
  readonly facts: () => InstanceFacts
  readonly destinations: () => readonly string[]
  readonly holds: () => readonly ActiveHold[]
  readonly stats: () => Promise<Readonly<Record<string, number | string>>>
  /** Obeys a peer's change in this instance; resolves with a kick's count when every worker has, rejects when one hasn't. */
  readonly obey: (change: Change) => Promise<number>
  /** Everything cached is doubtful. */
  readonly doubt: (reason: string) => void
  readonly told: BusReport
}

export interface BusReport {
  up(seconds: number): void
  down(reason: string): void
  joined(peer: string): void
  left(peer: string): void
  lost(peer: string): void
  differs(peer: string): void
  /** Somebody else uses our name. */
  twin(): void
  failed(what: string, error: SignalboxError): void
}

interface Waiting {
  readonly awaited: Set<string>
  readonly outcomes: PeerOutcome[]
  readonly done: () => void
}

export interface BusCounters {
  gaps: number
  invalid: number
  repeated: number
  received: number
  sent: number
  doubts: number
}

/** Heartbeats of silence that take an instance off the list, and us off the bus. */
const PATIENCE = 3

export class BusMember {
  readonly #options: BusMemberOptions
  readonly #peers = new Peers()
  readonly #waiting = new Map<number, Waiting>()
  readonly #questions = new Map<number, (stats: Readonly<Record<string, number | string>>) => void>()
  readonly #frames: string
  #sequence = 0
  #question = 0
  #state: 'joining' | 'up' | 'down' = 'joining'
  #heardSelf = Number.NEGATIVE_INFINITY
  #downSince = 0
  #beating: Timer | undefined
  #welcomed = new Map<string, readonly ActiveHold[]>()
  #onWelcome: (() => void) | undefined
  #twin = false
  readonly counters: BusCounters = { gaps: 0, invalid: 0, repeated: 0, received: 0, sent: 0, doubts: 0 }

  constructor(options: BusMemberOptions) {
    this.#options = options
    this.#frames = `${options.cluster.channel}:frames`
  }

  get state(): 'up' | 'down' {
    return this.#state === 'up' ? 'up' : 'down'
  }

  get sequence(): number {
    return this.#sequence
  }

  peers(): readonly Peer[] {
    return this.#peers.all()
  }

  /** Peers that live and lack the destination. */
  lacking(destination: string): readonly string[] {
    return this.#peers
      .live()
      .filter(({ destinations }) => destinations !== undefined && !destinations.has(destination))
      .map(({ instance }) => instance)
  }

  /**
   * Subscribes, says hello, and resolves with the holds in force once every peer has answered or a heartbeat is over.
   * Rejects with BUS_REFUSED (the server says no, or another live instance has our name) or BUS_DOWN.
   */
  async join(): Promise<readonly ActiveHold[]> {
    const { cluster, clock, transport } = this.#options
    await transport.open([this.#frames, this.#to(cluster.instance)], {
      frame: (channel, bytes) => this.#receive(channel, bytes),
      resubscribed: () => this.#resubscribed(),
    })
    this.#beating = clock.every(cluster.heartbeat, () => this.#beat())
    await this.#hello()
    const others = ((await transport.subscribers(this.#frames, cluster.heartbeat)) ?? Number.POSITIVE_INFINITY) - 1
    await new Promise<void>((resolve) => {
      const timer = clock.after(others > 0 ? cluster.heartbeat : 0, resolve, { keepAlive: true })
      this.#onWelcome = () => {
        if (this.#welcomed.size < others && !this.#twin) return
        timer.cancel()
        resolve()
      }
      this.#onWelcome()
    })
    this.#onWelcome = undefined
    if (this.#twin) {
      await this.close()
      throw new SignalboxError('BUS_REFUSED', `another live instance is named "${cluster.instance}": give this one a cluster.instance of its own`)
    }
    return [...this.#welcomed.values()].flat()
  }

  /** Publishes a change and waits for acknowledgements, at most ack_timeout. Never rejects. */
  async publish(change: Change): Promise<readonly PeerOutcome[]> {
    const { clock, cluster } = this.#options
    const now = clock.now()
    const missed = this.#peers.missed(now, Math.max(PATIENCE * cluster.heartbeat, cluster.busDownTtl))
    const awaited = new Set(this.#peers.live().map(({ instance }) => instance))
    const outcomes: PeerOutcome[] = []
    const sequence = this.#sequence + 1
    await new Promise<void>((resolve) => {
      const timer = clock.after(cluster.ackTimeout, () => finish(), { keepAlive: true })
      const finish = () => {
        timer.cancel()
        this.#waiting.delete(sequence)
        resolve()
      }
      this.#waiting.set(sequence, { awaited, outcomes, done: finish })
      this.#send(change, cluster.ackTimeout).then(
        () => {
          if (awaited.size === 0) finish()
        },
        (error: unknown) => {
          this.#options.told.failed(change.kind, asSignalboxError(error, 'BUS_DOWN'))
          finish()
        },
      )
    })
    const missing = [...awaited, ...missed.map(({ instance }) => instance)]
    return [...outcomes, ...missing.map((instance) => ({ instance, acknowledged: false, count: 0 }))]
  }

  /** The statistics of a peer, or undefined when it doesn't answer within `deadline` milliseconds. */
  ask(instance: string, deadline: number): Promise<Readonly<Record<string, number | string>> | undefined> {
    const question = ++this.#question
    return new Promise((resolve) => {
      const settle = (stats: Readonly<Record<string, number | string>> | undefined) => {
        timer.cancel()
        this.#questions.delete(question)
        resolve(stats)
      }
      const timer = this.#options.clock.after(deadline, () => settle(undefined), { keepAlive: true })
      this.#questions.set(question, settle)
      this.#sendTo(instance, { kind: 'query', question, what: 'stats' })
    })
  }

  /** An operator forgets a lost peer. False: not known, or live. */
  forget(instance: string): boolean {
    return this.#peers.get(instance)?.lostAt !== undefined && this.#peers.remove(instance)
  }

  /** Says bye and leaves. Idempotent. */
  async close(): Promise<void> {
    if (this.#beating === undefined) return
    this.#beating.cancel()
    this.#beating = undefined
    // A bye that doesn't get through makes us a lost peer, which is what we are then.
    await this.#send({ kind: 'bye' }, this.#options.cluster.heartbeat).catch(() => {})
    await this.#options.transport.close()
  }

  // ---- what is sent ----

  async #hello(): Promise<void> {
    await this.#send({ kind: 'hello', facts: this.#options.facts(), destinations: this.#options.destinations() }, this.#options.cluster.ackTimeout)
  }

  #beat(): void {
    const { clock, cluster, told } = this.#options
    const now = clock.now()
    const patience = PATIENCE * cluster.heartbeat
    if (this.#state === 'up' && now - this.#heardSelf > patience) {
      this.#state = 'down'
      this.#downSince = now
      told.down('its own heartbeat has not come back')
    }
    for (const { instance } of this.#peers.silent(now, patience)) {
      told.lost(instance)
      this.#doubt(`peer ${instance} is gone without a bye`)
    }
    // Silence is how a failure is noticed: there is nothing else to do about it.
    this.#send({ kind: 'heartbeat', facts: this.#options.facts() }, cluster.heartbeat).catch(() => {})
  }

  #send(payload: BusPayload, deadline: number): Promise<void> {
    const { cluster, epoch, transport } = this.#options
    const { kind, ...fields } = payload
    const sequence = ++this.#sequence
    this.counters.sent++
    const bytes = encodeBusFrame({ kind, instance: cluster.instance, epoch, sequence, payload: fields }, this.#frames, cluster.secret)
    return transport.publish(this.#frames, bytes, deadline)
  }

  #sendTo(instance: string, payload: BusPayload): void {
    const { cluster, epoch, transport, told } = this.#options
    const { kind, ...fields } = payload
    const channel = this.#to(instance)
    this.counters.sent++
    const bytes = encodeBusFrame({ kind, instance: cluster.instance, epoch, sequence: 0, payload: fields }, channel, cluster.secret)
    transport.publish(channel, bytes, cluster.ackTimeout).catch((error: unknown) => told.failed(kind, asSignalboxError(error, 'BUS_DOWN')))
  }

  #to(instance: string): string {
    return `${this.#options.cluster.channel}:to:${instance}`
  }

  // ---- what is received ----

  #receive(channel: string, bytes: Buffer): void {
    this.counters.received++
    let frame: BusFrame
    try {
      frame = decodeBusFrame(bytes, channel, this.#options.cluster.secret)
    } catch (thrown) {
      this.counters.invalid++
      return this.#doubt(asSignalboxError(thrown).message)
    }
    if (frame.header.instance === this.#options.cluster.instance) return this.#own(frame.header)
    if (channel === this.#frames) this.#forAll(frame)
    else this.#forUs(frame)
  }

  #own(header: BusHeader): void {
    const { clock, cluster, epoch, facts, told } = this.#options
    if (header.epoch !== epoch) {
      if (this.#state === 'joining') {
        this.#twin = true
        this.#onWelcome?.()
        return
      }
      // The newcomer is the one to give way; it hears this at once.
      if (header.kind === 'hello') this.#send({ kind: 'heartbeat', facts: facts() }, cluster.heartbeat).catch(() => {})
      return told.twin()
    }
    // Only what everybody hears shows that everybody is heard.
    if (header.sequence === 0) return
    this.#heardSelf = clock.now()
    if (this.#state === 'up') return
    const back = this.#state === 'down'
    this.#state = 'up'
    if (!back) return
    told.up((clock.now() - this.#downSince) / 1000)
    this.#hello().catch((error: unknown) => told.failed('hello', asSignalboxError(error, 'BUS_DOWN')))
  }

  #forAll({ header, body }: BusFrame): void {
    const { clock, told } = this.#options
    const { peer, continuity, newEpoch, returned } = this.#peers.follow(header, clock.now())
    if (continuity === 'repeated') {
      this.counters.repeated++
      return
    }
    if (continuity === 'gap') {
      this.counters.gaps++
      this.#doubt(newEpoch ? `peer ${peer.instance} has started anew` : `frames of peer ${peer.instance} were missed`)
    }
    if (returned || newEpoch) told.joined(peer.instance)
    const payload = this.#read(header, body)
    if (payload === undefined) return
    switch (payload.kind) {
      case 'hello':
        this.#introduce(peer, payload.facts, payload.destinations)
        return this.#welcome(peer.instance)
      case 'heartbeat':
        return this.#heartbeat(peer, payload.facts)
      case 'bye':
        this.#peers.remove(peer.instance)
        for (const waiting of this.#waiting.values()) this.#noLongerAwaited(waiting, peer.instance)
        return told.left(peer.instance)
      case 'invalidate':
      case 'invalidate-all':
      case 'kick':
      case 'hold':
      case 'release':
        return this.#obey(payload, header)
      case 'welcome':
      case 'query':
      case 'answer':
      case 'acknowledge':
        this.counters.invalid++
        return this.#doubt(`a frame of kind ${payload.kind} was sent to all`)
    }
  }

  #forUs({ header, body }: BusFrame): void {
    const { clock } = this.#options
    const payload = this.#read(header, body)
    if (payload === undefined) return
    switch (payload.kind) {
      case 'welcome': {
        const peer = this.#peers.introduced(header, payload.sequence, clock.now())
        this.#introduce(peer, payload.facts, payload.destinations)
        this.#welcomed.set(header.instance, payload.holds)
        this.#onWelcome?.()
        return
      }
      case 'hello':
        // A peer that heard our heartbeat before it knew us.
        return this.#welcome(header.instance)
      case 'acknowledge':
        return this.#acknowledged(header, payload)
      case 'query':
        return this.#answer(header.instance, payload.question)
      case 'answer':
        return this.#questions.get(payload.question)?.(payload.stats)
      default:
        this.counters.invalid++
        this.#doubt(`a frame of kind ${payload.kind} was sent to one`)
    }
  }

  #read(header: BusHeader, body: BusFrame['body']): BusPayload | undefined {
    try {
      if (!body.ok) throw body.error
      if (header.kind === undefined) throw new SignalboxError('FRAME_INVALID', 'a bus frame has an unknown kind')
      return readPayload(header.kind, body.payload)
    } catch (thrown) {
      this.counters.invalid++
      this.#doubt(asSignalboxError(thrown).message)
      return undefined
    }
  }

  #introduce(peer: Peer, facts: InstanceFacts, destinations: readonly string[]): void {
    const { told } = this.#options
    const first = peer.facts === undefined
    peer.facts = facts
    peer.destinations = new Set(destinations)
    if (first) {
      told.joined(peer.instance)
      if (facts.digest !== this.#options.facts().digest) told.differs(peer.instance)
    }
  }

  #heartbeat(peer: Peer, facts: InstanceFacts): void {
    const changed = peer.facts?.digest !== facts.digest
    // What is not known of it, or has changed since, is asked for.
    if (changed || peer.destinations === undefined) {
      this.#sendTo(peer.instance, { kind: 'hello', facts: this.#options.facts(), destinations: this.#options.destinations() })
    }
    if (peer.facts !== undefined) peer.facts = facts
  }

  #welcome(instance: string): void {
    const { facts, destinations, holds } = this.#options
    this.#sendTo(instance, {
      kind: 'welcome',
      facts: facts(),
      destinations: destinations(),
      holds: holds(),
      sequence: this.#sequence,
    })
  }

  #obey(change: Change, { instance, epoch, sequence }: BusHeader): void {
    const { obey, told } = this.#options
    obey(change).then(
      (count) => this.#sendTo(instance, { kind: 'acknowledge', epoch, sequence, count }),
      // No acknowledgement is the answer.
      (error: unknown) => told.failed(change.kind, asSignalboxError(error)),
    )
  }

  #acknowledged(header: BusHeader, { epoch, sequence, count }: Extract<BusPayload, { kind: 'acknowledge' }>): void {
    if (epoch !== this.#options.epoch) return
    const peer = this.#peers.get(header.instance)
    if (peer !== undefined && sequence > peer.acknowledged) peer.acknowledged = sequence
    const waiting = this.#waiting.get(sequence)
    if (waiting === undefined || !waiting.awaited.has(header.instance)) return
    waiting.outcomes.push({ instance: header.instance, acknowledged: true, count })
    this.#noLongerAwaited(waiting, header.instance)
  }

  #noLongerAwaited(waiting: Waiting, instance: string): void {
    if (waiting.awaited.delete(instance) && waiting.awaited.size === 0) waiting.done()
  }

  #answer(instance: string, question: number): void {
    const { stats, told } = this.#options
    stats().then(
      (answered) => this.#sendTo(instance, { kind: 'answer', question, stats: answered }),
      (error: unknown) => told.failed('query', asSignalboxError(error)),
    )
  }

  #resubscribed(): void {
    this.#doubt('the subscription to the bus was made anew')
    if (this.#state !== 'joining') this.#hello().catch((error: unknown) => this.#options.told.failed('hello', asSignalboxError(error, 'BUS_DOWN')))
  }

  #doubt(reason: string): void {
    this.counters.doubts++
    this.#options.doubt(reason)
  }
}

