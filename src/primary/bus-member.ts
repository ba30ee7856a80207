/**
 * This instance as a member of the bus: its epoch and sequence, its heartbeat, its peers and what they have acknowledged.
 * Part of the fleet actor, which alone calls it. It is on the bus only while it hears its own heartbeat; whatever may have
 * been missed (a gap, a new epoch, a peer gone without a bye, a frame that can't be read, a subscription made anew) is told
 * as a doubt, and ends nothing.
 *
 * A frame says who sent it, not when: whoever listens can send it again. Numbers already heard are ignored; for the rest a
 * peer must have answered a question of ours, drawn at random, in its epoch (`proven`) before its kicks and holds are
 * obeyed. The same question settles who is meant when a sender's clock was set back, and who was here first when two
 * instances have one name. What anybody says to invalidate is obeyed at once: it costs lookups, never correctness.
 *
 * Over 400 lines because sending, receiving and the state between them are one thing; tables that stand by themselves are
 * in peers.ts, pulse.ts and acknowledgements.ts.
 */
import { randomInt } from 'node:crypto'
import { decodeBusFrame, encodeBusFrame } from '../bus/frame.ts'
import type { BusFrame, BusHeader } from '../bus/frame.ts'
import { readPayload } from '../bus/payload.ts'
import type { ActiveHold, BusPayload, Hello, InstanceFacts, Welcome } from '../bus/payload.ts'
import type { BusTransport } from '../bus/transport.ts'
import type { Clock, Timer } from '../clock.ts'
import type { ClusterConfig } from '../config/config.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { BUS_PATIENCE, BUS_PEERS, BUS_WELCOMES, IDENTIFIERS_PER_FRAME } from '../limits.ts'
import { Acknowledgements } from './acknowledgements.ts'
import type { PeerOutcome } from './acknowledgements.ts'
import { Peers } from './peers.ts'
import type { Continuity, Peer } from './peers.ts'
import { Pulse } from './pulse.ts'

export type { PeerOutcome } from './acknowledgements.ts'

/** A change that every instance must obey and acknowledge. */
export type Change = Extract<BusPayload, { kind: 'invalidate' | 'invalidate-all' | 'kick' | 'hold' | 'release' }>

type Stats = Readonly<Record<string, number | string>>

export interface BusMemberOptions {
  readonly cluster: ClusterConfig
  readonly clock: Clock
  readonly transport: BusTransport
  /** Milliseconds since 1970 at the start of this process. */
  readonly epoch: number
  /** A bus that can't be reached at the start is no reason to fail: it is `down` until it can. */
  readonly allowUnavailable?: boolean
  readonly facts: () => InstanceFacts
  readonly destinations: () => readonly string[]
  readonly holds: () => readonly ActiveHold[]
  readonly stats: () => Promise<Stats>
  /** Obeys a peer's change in this instance; resolves with a kick's count when every worker has, rejects when one hasn't. */
  readonly obey: (change: Change) => Promise<number>
  /** Everything cached is doubtful. Called once per turn of the event loop at most. */
  readonly doubt: (reason: string) => void
  readonly told: BusReport
  /** The table of peers; one of its own unless a test brings another. */
  readonly peers?: Peers
}

export interface BusReport {
  up(seconds: number): void
  down(reason: string): void
  /** A peer has introduced itself, is back, or has started anew. */
  joined(peer: string): void
  left(peer: string): void
  lost(peer: string): void
  differs(peer: string): void
  /** Somebody else uses our name; once per epoch of theirs. */
  twin(): void
  failed(what: string, error: SignalboxError): void
}

export interface BusCounters {
  gaps: number
  /** Frames that could not be read, or that nobody may send so. */
  invalid: number
  /** Frames heard before, of epochs that are over, or answers to no question of ours. */
  repeated: number
  received: number
  sent: number
  doubts: number
}

/** Joining: nothing is cached yet, so that nothing can be doubtful. */
type Phase = 'new' | 'joining' | 'joined' | 'closed'

const QUESTIONS = 2 ** 48 - 1

const WHY: Readonly<Record<Exclude<Continuity, 'next' | 'repeated'>, (instance: string) => string>> = {
  gap: (instance) => `frames of peer ${instance} were missed`,
  restarted: (instance) => `peer ${instance} has started anew`,
  stranger: (instance) => `peer ${instance} was there without our knowing`,
  older: (instance) => `peer ${instance} sends under an older epoch`,
  untracked: (instance) => `there are too many peers to follow ${instance}`,
}

export class BusMember {
  readonly #options: BusMemberOptions
  readonly #peers: Peers
  readonly #pulse: Pulse
  readonly #acknowledgements = new Acknowledgements()
  readonly #patience: number
  readonly #frames: string
  readonly #self: string
  readonly counters: BusCounters = { gaps: 0, invalid: 0, repeated: 0, received: 0, sent: 0, doubts: 0 }
  #phase: Phase = 'new'
  #sequence = 0
  #up = false
  #downSince = 0
  #beating: Timer | undefined
  #lastBeat = 0
  /** The last beat came too late for a judgement over others. */
  #stalled = false
  #doubted = false
  #saidHello = false
  #closing: Promise<void> | undefined

  /** Statistics asked of peers. */
  readonly #questions = new Map<number, { readonly instance: string; readonly settle: (stats: Stats | undefined) => void }>()
  /** Peers that wait for ours, with their question. */
  readonly #askers = new Map<string, number>()
  /** The question of our last hello to all, when it was put, and who has answered. */
  #greeting = { question: -1, at: Number.NEGATIVE_INFINITY, answered: new Set<string>() }
  /** Questions put to one peer. */
  readonly #asked = new Map<string, { readonly question: number; readonly at: number }>()
  /** The question to whoever has our name. */
  #probe = -1
  #twin = false
  #twinEpoch = -1
  #welcomes = 0
  readonly #welcomed = new Map<string, readonly ActiveHold[]>()
  #progress: () => void = () => {}

  constructor(options: BusMemberOptions) {
    const { cluster } = options
    this.#options = options
    this.#peers = options.peers ?? new Peers()
    this.#patience = BUS_PATIENCE * cluster.heartbeat
    this.#pulse = new Pulse(this.#patience)
    this.#frames = `${cluster.channel}:frames`
    this.#self = this.#to(cluster.instance)
  }

  /** `up`: our own heartbeat has come back in time. */
  get state(): 'up' | 'down' {
    return this.#up && this.#pulse.beats(this.#options.clock.now()) ? 'up' : 'down'
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
   * Subscribes, looks whether its name is free, says hello, and resolves with the holds in force once every peer has
   * answered or three heartbeats are over. Rejects with BUS_REFUSED (the server says no, or another live instance has our
   * name), BUS_DOWN, or DRAINING when it was closed meanwhile. Nothing may be cached before it has resolved.
   */
  async join(): Promise<readonly ActiveHold[]> {
    const { allowUnavailable = false, clock, cluster, transport, told } = this.#options
    if (this.#phase !== 'new') throw new SignalboxError('INTERNAL', 'the bus is joined once')
    this.#phase = 'joining'
    try {
      const listener = { frame: (channel: string, bytes: Buffer) => this.#receive(channel, bytes), resubscribed: () => this.#resubscribed() }
      const subscribed = await transport.open([this.#frames, this.#self], listener, allowUnavailable)
      this.#refuseIfClosed()
      if (subscribed) await this.#introduceOurselves(allowUnavailable)
      this.#refuseIfClosed()
    } catch (error) {
      const closed = this.#closing !== undefined
      await this.close()
      throw closed ? new SignalboxError('DRAINING', 'the bus was left while it was being joined') : error
    }
    this.#phase = 'joined'
    this.#beating ??= this.#startBeating()
    if (!this.#up) {
      this.#downSince = clock.now()
      told.down(transport.trouble() ?? 'its own heartbeat has not come back')
    }
    if (cluster.heartbeat > 0 && this.#welcomed.size > 0) return [...this.#welcomed.values()].flat()
    return []
  }

  /** Publishes a change and waits for acknowledgements, at most ack_timeout. Names every peer that has not confirmed. Never rejects. */
  async publish(change: Change): Promise<readonly PeerOutcome[]> {
    const { clock, cluster, told } = this.#options
    const lost = this.#peers.missed(clock.now(), Math.max(this.#patience, cluster.busDownTtl))
    const awaited = this.#peers.live().map(({ instance }) => instance)
    const sequence = this.#sequence + 1
    const settled = this.#acknowledgements.expect(sequence, awaited)
    const timer = clock.after(cluster.ackTimeout, () => this.#acknowledgements.settle(sequence), { keepAlive: true })
    this.#send(change, cluster.ackTimeout).then(
      () => {
        if (!this.#acknowledgements.pending(sequence)) this.#acknowledgements.settle(sequence)
      },
      (error: unknown) => {
        told.failed(change.kind, asSignalboxError(error, 'BUS_DOWN'))
        this.#acknowledgements.settle(sequence)
      },
    )
    const outcomes = await settled
    timer.cancel()
    return [...outcomes, ...lost.map(({ instance }) => ({ instance, acknowledged: false, count: 0 }))]
  }

  /** The statistics of a peer, or undefined when it doesn't answer within `deadline` milliseconds. */
  ask(instance: string, deadline: number): Promise<Stats | undefined> {
    if (this.#phase === 'closed') return Promise.resolve(undefined)
    const question = randomInt(QUESTIONS)
    return new Promise((resolve) => {
      const settle = (stats: Stats | undefined): void => {
        timer.cancel()
        this.#questions.delete(question)
        resolve(stats)
      }
      const timer = this.#options.clock.after(deadline, () => settle(undefined), { keepAlive: true })
      this.#questions.set(question, { instance, settle })
      this.#sendTo(instance, { kind: 'query', question, what: 'stats' })
    })
  }

  /** An operator forgets a lost peer. False: not known, or live. */
  forget(instance: string): boolean {
    return this.#peers.get(instance)?.lostAt !== undefined && this.#peers.forget(instance)
  }

  /** Says bye and leaves; what was still waited for is settled as not confirmed. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#leave()
    return this.#closing
  }

  async #leave(): Promise<void> {
    const { cluster, transport } = this.#options
    this.#beating?.cancel()
    // Nobody is told that one leaves who never came: under the same name another may live.
    const bye = this.#saidHello ? this.#send({ kind: 'bye' }, cluster.heartbeat) : Promise.resolve()
    this.#phase = 'closed'
    this.#progress()
    this.#acknowledgements.settleAll()
    for (const { settle } of this.#questions.values()) settle(undefined)
    // A bye that doesn't get through makes us a lost peer, which is what we are then.
    await bye.catch(() => {})
    await transport.close()
  }

  // ---- joining ----

  async #introduceOurselves(allowUnavailable: boolean): Promise<void> {
    const { cluster, transport } = this.#options
    if ((await this.#othersOn(this.#self)) > 0) {
      this.#probe = randomInt(QUESTIONS)
      this.#sendTo(cluster.instance, this.#helloWith(this.#probe))
      await this.#until(() => this.#twin, this.#patience)
      if (this.#twin) {
        throw new SignalboxError('BUS_REFUSED', `another live instance is named "${cluster.instance}": give this one a cluster.instance of its own`)
      }
    }
    this.#refuseIfClosed()
    this.#beating = this.#startBeating()
    try {
      await this.#hello()
    } catch (error) {
      if (allowUnavailable && asSignalboxError(error).code === 'BUS_DOWN') return
      throw error
    }
    const others = await this.#othersOn(this.#frames)
    const patience = Number.isFinite(others) ? this.#patience : cluster.heartbeat
    await this.#until(() => this.#up && this.#welcomed.size >= others, patience)
    // One that had our name before us and was slow to say so.
    if (this.#twin) throw new SignalboxError('BUS_REFUSED', `another live instance is named "${cluster.instance}"`)
    void transport
  }

  /** Subscribers besides ourselves; infinitely many where that can't be told. */
  async #othersOn(channel: string): Promise<number> {
    const subscribers = await this.#options.transport.subscribers(channel, this.#options.cluster.heartbeat)
    return subscribers === undefined ? Number.POSITIVE_INFINITY : Math.max(0, subscribers - 1)
  }

  /** Resolves when the condition holds, `ms` milliseconds are over, or the bus is left. */
  #until(condition: () => boolean, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel()
        this.#progress = () => {}
        resolve()
      }
      const timer = this.#options.clock.after(ms, done, { keepAlive: true })
      this.#progress = () => {
        if (condition() || this.#phase === 'closed') done()
      }
      this.#progress()
    })
  }

  #refuseIfClosed(): void {
    if (this.#phase === 'closed') throw new SignalboxError('DRAINING', 'the bus was left while it was being joined')
  }
}
