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
 * Over 400 lines because joining, receiving and the state between them are one thing; what stands by itself is in peers.ts,
 * pulse.ts, introductions.ts, acknowledgements.ts, peer-statistics.ts and bus-sender.ts.
 */
import { claimedName, decodeBusFrame } from '../bus/frame.ts'
import type { BusFrame, BusHeader } from '../bus/frame.ts'
import { readPayload } from '../bus/payload.ts'
import type { ActiveHold, BusPayload, GivenState, Hello, InstanceFacts, InstanceSessions, SessionsQuery, Welcome } from '../bus/payload.ts'
import type { BusTransport } from '../bus/transport.ts'
import type { Clock, Timer } from '../clock.ts'
import type { ClusterConfig } from '../config/config.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { BUS_PATIENCE, BUS_STANDING_LOG_MS, BUS_WELCOMES, IDENTIFIERS_PER_FRAME } from '../limits.ts'
import { Seldom } from '../observe/seldom.ts'
import { Acknowledgements } from './acknowledgements.ts'
import type { PeerOutcome } from './acknowledgements.ts'
import { BusSender } from './bus-sender.ts'
import { Introductions } from './introductions.ts'
import { PeerQuestions } from './peer-questions.ts'
import { PeerStatistics } from './peer-statistics.ts'
import type { Stats } from './peer-statistics.ts'
import { Peers } from './peers.ts'
import type { Continuity, Peer } from './peers.ts'
import { Pulse } from './pulse.ts'
import { Strangers } from './strangers.ts'
import type { StrangersStatus } from './strangers.ts'

export type { PeerOutcome } from './acknowledgements.ts'

/** A change that every instance must obey and acknowledge. */
export type Change = Extract<BusPayload, { kind: 'invalidate' | 'invalidate-all' | 'kick' | 'hold' | 'release' | 'state' | 'drain' }>

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
  /** What operators made of the destinations; absent: nothing. */
  readonly states?: () => readonly GivenState[]
  /** A peer that has proven to be there says what it knows of them. */
  readonly adopt?: (states: readonly GivenState[]) => void
  /** The sessions of this instance, for a peer. */
  readonly sessions?: (query: SessionsQuery) => Promise<InstanceSessions>
  /** Obeys a peer's change in this instance; resolves with a kick's count when every worker has, rejects when one hasn't. */
  readonly obey: (change: Change) => Promise<number>
  /**
   * Everything cached is doubtful. Called once per turn of the event loop, or twice when the second reason is worth a line
   * and the first was not. `quiet`: the reason is told otherwise, or is the ordinary course of things.
   */
  readonly doubt: (reason: string, quiet: boolean) => void
  readonly told: BusReport
  /** The table of peers; one of its own unless a test brings another. */
  readonly peers?: Peers
}

export interface BusReport {
  up(seconds: number): void
  down(reason: string): void
  /** A peer that has answered us is there, is back, or has started anew. Of names that have never answered nothing is told. */
  joined(peer: string): void
  left(peer: string): void
  lost(peer: string): void
  differs(peer: string): void
  /** Somebody else uses our name. Seldom; `times`: his frames since. */
  twin(times: number): void
  /** Frames could not be believed. Seldom; `times`: how many since. */
  strangers(status: StrangersStatus, times: number): void
  failed(what: string, error: SignalboxError): void
}

export interface BusCounters {
  gaps: number
  /** Frames that could not be read, or that nobody may send so. */
  invalid: number
  /** Frames with numbers below one heard before, or answers to no question of ours. */
  repeated: number
  received: number
  sent: number
  doubts: number
}

/** Lists of sessions that are made for peers at a time. */
const PEER_LISTS = 16

/** Joining: nothing is cached yet, so that nothing can be doubtful. */
type Phase = 'new' | 'joining' | 'joined' | 'closed'

const WHY: Readonly<Record<Exclude<Continuity, 'next' | 'repeated'> | 'rewound', (instance: string) => string>> = {
  gap: (instance) => `frames of peer ${instance} were missed`,
  restarted: (instance) => `peer ${instance} has started anew`,
  new: (instance) => `peer ${instance} has appeared`,
  unheard: (instance) => `peer ${instance} was there without our knowing`,
  rewound: (instance) => `frames under the name of peer ${instance} were not its own`,
  older: (instance) => `peer ${instance} sends under an older epoch`,
  untracked: (instance) => `there are too many peers to follow ${instance}`,
}

export class BusMember {
  readonly #options: BusMemberOptions
  readonly #peers: Peers
  readonly #pulse: Pulse
  readonly #acknowledgements = new Acknowledgements()
  readonly #introductions: Introductions
  readonly #statistics: PeerStatistics
  readonly #sessions: PeerQuestions<InstanceSessions>
  readonly #sender: BusSender
  readonly #patience: number
  /** Milliseconds for which one that is lost may serve what it has, and is named. */
  readonly #memory: number
  readonly #counters = { gaps: 0, invalid: 0, repeated: 0, received: 0, doubts: 0 }
  #phase: Phase = 'new'
  #up = false
  #downSince = 0
  #beating: Timer | undefined
  #lastBeat = 0
  /** Clock time of a beat that came too late for a judgement over others. */
  #stalledAt: number | undefined
  #doubted: 'no' | 'quietly' | 'loudly' = 'no'
  #saidHello = false
  #closing: Promise<void> | undefined

  /** The question to whoever has our name. */
  #probe = -1
  #twin = false
  readonly #strangers = new Strangers()
  readonly #standing: Seldom
  #welcomes = 0
  /** Lists of sessions that are being made for peers. */
  #answering = 0
  readonly #welcomed = new Map<string, readonly ActiveHold[]>()
  #progress: () => void = () => {}

  constructor(options: BusMemberOptions) {
    const { cluster } = options
    this.#options = options
    this.#peers = options.peers ?? new Peers()
    this.#patience = BUS_PATIENCE * cluster.heartbeat
    this.#memory = Math.max(this.#patience, cluster.busDownTtl)
    this.#pulse = new Pulse(this.#patience)
    this.#introductions = new Introductions(cluster.heartbeat, this.#patience)
    this.#statistics = new PeerStatistics(options.clock, options.stats)
    this.#sessions = new PeerQuestions(options.clock)
    this.#sender = new BusSender(options)
    this.#standing = new Seldom(options.clock, BUS_STANDING_LOG_MS)
  }

  get counters(): BusCounters {
    return { ...this.#counters, sent: this.#sender.sent }
  }

  /** `up`: our own heartbeat has come back in time. */
  get state(): 'up' | 'down' {
    return this.#up && this.#pulse.beats(this.#options.clock.now()) ? 'up' : 'down'
  }

  /** The number of the last frame that went to all. */
  get sequence(): number {
    return this.#sender.sequence
  }

  /** Those whose frames could not be believed; undefined: there were none. */
  get strangers(): StrangersStatus | undefined {
    return this.#strangers.status
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
   * answered or three heartbeats are over. Rejects with BUS_REFUSED (the server says no), BUS_NAME_TAKEN (another live instance has our
   * name), BUS_DOWN, or DRAINING when it was closed meanwhile. Nothing may be cached before it has resolved.
   */
  async join(): Promise<readonly ActiveHold[]> {
    const { allowUnavailable = false, clock, cluster, transport, told } = this.#options
    if (this.#phase !== 'new') throw new SignalboxError('INTERNAL', 'the bus is joined once')
    this.#phase = 'joining'
    try {
      const listener = { frame: (channel: string, bytes: Buffer) => this.#receive(channel, bytes), resubscribed: () => this.#resubscribed() }
      const subscribed = await transport.open([this.#sender.frames, this.#sender.channelOf(cluster.instance)], listener, allowUnavailable)
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
    return [...this.#welcomed.values()].flat()
  }

  /** Publishes a change and waits for acknowledgements, at most ack_timeout. Names every peer that has not confirmed. Never rejects. */
  async publish(change: Change): Promise<readonly PeerOutcome[]> {
    const { clock, cluster, told } = this.#options
    const lost = this.#peers.missed(clock.now(), this.#memory)
    const sequence = this.sequence + 1
    const settled = this.#acknowledgements.expect(sequence, this.#peers.expect(sequence))
    const timer = clock.after(cluster.ackTimeout, () => this.#acknowledgements.settle(sequence), { keepAlive: true })
    this.#sender.toAll(change, cluster.ackTimeout).then(
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
    return this.#statistics.ask(instance, deadline, (question) => this.#sendTo(instance, { kind: 'query', question, what: 'stats' }))
  }

  /** The sessions of a peer, or undefined as above. */
  askSessions(instance: string, query: SessionsQuery, deadline: number): Promise<InstanceSessions | undefined> {
    if (this.#phase === 'closed') return Promise.resolve(undefined)
    return this.#sessions.ask(instance, deadline, (question) => this.#sendTo(instance, { kind: 'query', question, what: 'sessions', ...query }))
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
    const bye = this.#saidHello ? this.#sender.toAll({ kind: 'bye' }, cluster.heartbeat) : Promise.resolve()
    this.#sender.silence()
    this.#phase = 'closed'
    this.#progress()
    this.#acknowledgements.settleAll()
    this.#statistics.close()
    this.#sessions.close()
    // A bye that doesn't get through makes us a lost peer, which is what we are then.
    await bye.catch(() => {})
    await transport.close()
  }

  // ---- joining ----

  async #introduceOurselves(allowUnavailable: boolean): Promise<void> {
    const { cluster } = this.#options
    const namesakes = await this.#othersOn(this.#sender.channelOf(cluster.instance))
    if (namesakes > 0 && this.#phase === 'joining') {
      // Before anybody else hears of us: to the peers we would be the other one, started anew.
      this.#probe = Introductions.draw()
      this.#sendTo(cluster.instance, this.#helloWith(this.#probe))
      await this.#until(() => this.#twin, this.#patienceFor(namesakes))
    }
    if (this.#twin) throw this.#nameTaken()
    this.#refuseIfClosed()
    this.#beating = this.#startBeating()
    try {
      await this.#hello()
    } catch (error) {
      if (allowUnavailable && asSignalboxError(error).code === 'BUS_DOWN') return
      throw error
    }
    const others = await this.#othersOn(this.#sender.frames)
    const complete = (): boolean => this.#up && this.#welcomed.size >= others
    await this.#until(() => this.#twin || complete(), this.#patienceFor(others))
    if (this.#twin) throw this.#nameTaken()
  }

  /** Where nobody can say how many there are, everyone would wait the whole time. */
  #patienceFor(others: number): number {
    return Number.isFinite(others) ? this.#patience : this.#options.cluster.heartbeat
  }

  #nameTaken(): SignalboxError {
    const { instance } = this.#options.cluster
    return new SignalboxError('BUS_NAME_TAKEN', `another live instance is named "${instance}": give this one a cluster.instance of its own`)
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

  // ---- what is sent ----

  #startBeating(): Timer {
    const { clock, cluster } = this.#options
    this.#lastBeat = clock.now()
    return clock.every(cluster.heartbeat, () => this.#beat())
  }

  #beat(): void {
    const { clock, cluster, facts, told, transport } = this.#options
    const now = clock.now()
    const mayJudge = this.#awake(now)
    this.#lastBeat = now
    this.#welcomes = 0
    if (this.#up && !this.#pulse.beats(now)) {
      this.#up = false
      this.#downSince = now
      if (this.#phase === 'joined') told.down(transport.trouble() ?? 'its own heartbeat has not come back')
    }
    if (mayJudge) {
      for (const { instance, proven } of this.#peers.silent(now, this.#patience)) {
        if (proven) told.lost(instance)
        this.#doubt(`peer ${instance} is gone without a bye`, !proven)
      }
      this.#peers.expire(now, this.#memory)
    }
    // That it doesn't come back is how a failure is noticed: there is nothing else to do about it.
    this.#sendSign({ kind: 'heartbeat', facts: facts() }, cluster.heartbeat).catch(() => {})
  }

  /**
   * False for a heartbeat after this process has stood still: what the others said meanwhile is still to be read. Not twice
   * in a row: one that is always late must judge nevertheless.
   */
  #awake(now: number): boolean {
    const { heartbeat } = this.#options.cluster
    if (this.#stalledAt !== undefined) {
      if (now - this.#stalledAt < heartbeat) return false
      this.#stalledAt = undefined
      return true
    }
    if (now - this.#lastBeat <= 2 * heartbeat) return true
    this.#stalledAt = now
    return false
  }

  /** To all: here we are. */
  #hello(): Promise<void> {
    const { clock, cluster } = this.#options
    this.#saidHello = true
    return this.#sendSign(this.#helloWith(this.#introductions.askAll(clock.now())), cluster.ackTimeout)
  }

  #helloAgain(): void {
    this.#hello().catch((error: unknown) => this.#options.told.failed('hello', asSignalboxError(error, 'BUS_DOWN')))
  }

  /** To one whose epoch or destinations aren't known for sure; once per heartbeat. */
  #question(instance: string): void {
    const question = this.#introductions.ask(instance, this.#options.clock.now(), this.#peers.get(instance)?.sequence)
    if (question !== undefined) this.#sendTo(instance, this.#helloWith(question))
  }

  #helloWith(question: number): Hello {
    const { facts, destinations } = this.#options
    return { kind: 'hello', question, facts: facts(), destinations: destinations(), ...this.#states() }
  }

  #welcome(instance: string, question: number): void {
    const { facts, destinations, holds } = this.#options
    if (++this.#welcomes > BUS_WELCOMES) return
    this.#sendTo(instance, {
      kind: 'welcome',
      question,
      facts: facts(),
      destinations: destinations(),
      ...this.#states(),
      holds: holds().slice(0, IDENTIFIERS_PER_FRAME),
      sequence: this.sequence,
    })
  }

  #states(): { readonly states?: readonly GivenState[] } {
    const states = this.#options.states?.() ?? []
    return states.length === 0 ? {} : { states: states.slice(0, IDENTIFIERS_PER_FRAME) }
  }

  /** A frame whose return shows that we are on the bus. */
  #sendSign(payload: BusPayload, deadline: number): Promise<void> {
    const sent = this.#sender.toAll(payload, deadline)
    this.#pulse.sent(this.sequence, this.#options.clock.now())
    return sent
  }

  #sendTo(instance: string, payload: BusPayload): void {
    const { cluster, told } = this.#options
    this.#sender
      .to(instance, payload, cluster.ackTimeout)
      .catch((error: unknown) => told.failed(payload.kind, asSignalboxError(error, 'BUS_DOWN')))
  }

  // ---- what is received ----

  #receive(channel: string, bytes: Buffer): void {
    if (this.#phase === 'closed') return
    this.#counters.received++
    let frame: BusFrame
    try {
      frame = decodeBusFrame(bytes, channel, this.#options.cluster.secret)
    } catch (thrown) {
      return this.#stranger(claimedName(bytes), asSignalboxError(thrown).message)
    }
    if (frame.header.instance === this.#options.cluster.instance) return this.#ofOurName(channel, frame)
    if (channel === this.#sender.frames) this.#forAll(frame)
    else this.#forUs(frame)
  }

  #resubscribed(): void {
    if (this.#phase === 'closed') return
    this.#doubt('the subscription to the bus was made anew')
    if (this.#phase === 'joined' || this.#saidHello) this.#helloAgain()
  }

  #ofOurName(channel: string, { header, body }: BusFrame): void {
    if (header.epoch === this.#options.epoch && header.sequence <= this.sequence) {
      // Only what everybody hears shows that everybody is heard.
      if (channel === this.#sender.frames) this.#ownReturned(header)
      return
    }
    if (channel === this.#sender.frames) return this.#twinHeard()
    const payload = this.#read(header, body)
    if (payload?.kind === 'hello') {
      // Who was here first stays; of two that come at once, the one that started first.
      const elder = this.#phase === 'joined' || this.#options.epoch < header.epoch
      if (elder) this.#welcome(header.instance, payload.question)
    } else if (payload?.kind === 'welcome' && payload.question === this.#probe) {
      this.#twin = true
      this.#progress()
    }
  }

  #ownReturned({ sequence, kind }: BusHeader): void {
    const { clock, told } = this.#options
    this.#pulse.heard(sequence)
    const now = clock.now()
    if (this.#up || !this.#pulse.beats(now)) return
    this.#up = true
    if (this.#phase === 'joining') return this.#progress()
    told.up((now - this.#downSince) / 1000)
    this.#doubt('this instance was off the bus')
    // A hello that has come back has just been heard by everybody.
    if (kind !== 'hello') this.#helloAgain()
  }

  /** What another says under our name nobody can follow. While joining it may be a late word of our own former life. */
  #twinHeard(): void {
    if (this.#phase !== 'joined') return
    this.#doubt('somebody else sends under our name', true)
    const times = this.#standing.times('twin')
    if (times !== undefined) this.#options.told.twin(times)
  }

  #forAll({ header, body }: BusFrame): void {
    const { clock, told } = this.#options
    const { instance } = header
    const { peer, continuity, returned } = this.#peers.follow(header, clock.now())
    if (continuity === 'repeated') {
      this.#counters.repeated++
      return this.#question(instance)
    }
    if (continuity !== 'next') {
      this.#missed(continuity)
      this.#doubt(WHY[continuity](instance), continuity === 'new')
    }
    if (continuity === 'older' || peer === undefined) {
      // If it is there it is told who we are, and tells who it is.
      const payload = header.kind === 'hello' ? this.#read(header, body) : undefined
      if (payload?.kind === 'hello') this.#welcome(instance, payload.question)
      return this.#question(instance)
    }
    if (returned && peer.proven) told.joined(instance)
    const payload = this.#read(header, body)
    if (payload === undefined) return
    switch (payload.kind) {
      case 'hello':
        this.#welcome(instance, payload.question)
        if (peer.proven) this.#introduce(peer, payload)
        else this.#question(instance)
        return
      case 'heartbeat':
        return this.#heartbeat(peer, payload.facts)
      case 'bye':
        this.#peers.left(instance)
        this.#acknowledgements.left(instance)
        if (peer.proven) told.left(instance)
        return
      case 'kick':
      case 'hold':
      case 'release':
      case 'state':
      case 'drain':
        if (!peer.proven) return this.#refuse(payload, instance)
        return this.#obey(payload, header)
      case 'invalidate':
      case 'invalidate-all':
        return this.#obey(payload, header)
      case 'welcome':
      case 'query':
      case 'answer':
      case 'acknowledge':
        return this.#invalid(`a frame of kind ${payload.kind} was sent to all`)
    }
  }

  #forUs({ header, body }: BusFrame): void {
    const { instance } = header
    const payload = this.#read(header, body)
    if (payload === undefined) return
    switch (payload.kind) {
      case 'hello':
        this.#welcome(instance, payload.question)
        // Whoever asks us is there, though we may never have heard it.
        if (this.#peers.get(instance)?.proven !== true) this.#question(instance)
        return
      case 'welcome':
        return this.#welcomeFrom(header, payload)
      case 'acknowledge':
        return this.#acknowledged(header, payload)
      case 'query':
        if (payload.what === 'sessions') return this.#answerSessions(instance, payload.question, payload)
        return this.#answer(instance, payload.question)
      case 'answer': {
        const asked =
          'list' in payload
            ? this.#sessions.answered(instance, payload.question, payload.list)
            : this.#statistics.answered(instance, payload.question, payload.stats)
        if (!asked) this.#counters.repeated++
        return
      }
      case 'heartbeat':
      case 'bye':
      case 'kick':
      case 'hold':
      case 'release':
      case 'state':
      case 'drain':
      case 'invalidate':
      case 'invalidate-all':
        return this.#invalid(`a frame of kind ${payload.kind} was sent to one`)
    }
  }

  #read(header: BusHeader, body: BusFrame['body']): BusPayload | undefined {
    try {
      if (!body.ok) throw body.error
      if (header.kind === undefined) throw new SignalboxError('FRAME_INVALID', 'a bus frame has an unknown kind')
      return readPayload(header.kind, body.payload)
    } catch (thrown) {
      this.#invalid(asSignalboxError(thrown).message)
      return undefined
    }
  }

  #welcomeFrom(header: BusHeader, welcome: Welcome): void {
    const { instance } = header
    const now = this.#options.clock.now()
    const asked = this.#introductions.answered(instance, welcome.question, now)
    if (asked === undefined) {
      this.#counters.repeated++
      return
    }
    const known = this.#peers.proven(header, welcome.sequence, now, asked)
    if (known === undefined) return this.#doubt(WHY.untracked(instance))
    if (known.missed !== undefined) {
      this.#missed(known.missed)
      this.#doubt(WHY[known.missed](instance))
    }
    this.#introduce(known.peer, welcome)
    if (this.#phase === 'joining') {
      this.#welcomed.set(instance, welcome.holds)
      return this.#progress()
    }
    for (const hold of welcome.holds) this.#obeyHold({ kind: 'hold', ...hold })
  }

  #introduce(peer: Peer, { facts, destinations, states }: Hello | Welcome): void {
    if (states !== undefined) this.#options.adopt?.(states)
    const first = peer.facts === undefined
    peer.destinations = new Set(destinations)
    if (first) this.#options.told.joined(peer.instance)
    this.#compare(peer, facts)
  }

  #heartbeat(peer: Peer, facts: InstanceFacts): void {
    // What is not known of it, or has changed since, is asked for.
    if (!peer.proven || peer.facts === undefined || peer.facts.digest !== facts.digest) this.#question(peer.instance)
    if (peer.facts !== undefined) this.#compare(peer, facts)
  }

  #compare(peer: Peer, facts: InstanceFacts): void {
    const differs = facts.digest !== this.#options.facts().digest
    if (differs && !peer.differs) this.#options.told.differs(peer.instance)
    peer.differs = differs
    peer.facts = facts
  }

  /** Not confirmed, so that its sender names us; it may be a recording of its last life. */
  #refuse(change: Change, instance: string): void {
    this.#question(instance)
    this.#options.told.failed(change.kind, new SignalboxError('FRAME_INVALID', `peer ${instance} has not answered yet whether it is there`))
  }

  #obey(change: Change, { instance, epoch, sequence }: BusHeader): void {
    const { obey, told } = this.#options
    obey(change).then(
      (count) => this.#sendTo(instance, { kind: 'acknowledge', epoch, sequence, count }),
      // No acknowledgement is the answer.
      (error: unknown) => told.failed(change.kind, asSignalboxError(error)),
    )
  }

  #obeyHold(hold: Change): void {
    const { obey, told } = this.#options
    obey(hold).catch((error: unknown) => told.failed(hold.kind, asSignalboxError(error)))
  }

  #acknowledged({ instance }: BusHeader, { epoch, sequence, count }: Extract<BusPayload, { kind: 'acknowledge' }>): void {
    // To a former life of ours, or to nothing that we have said.
    if (epoch !== this.#options.epoch || sequence > this.sequence) {
      this.#counters.repeated++
      return
    }
    this.#peers.acknowledged(instance, sequence)
    this.#acknowledgements.acknowledged(instance, sequence, count)
  }

  #answer(instance: string, question: number): void {
    if (this.#peers.get(instance) === undefined) return
    const send = (asker: string, asked: number, stats: Stats): void => this.#sendTo(asker, { kind: 'answer', question: asked, stats })
    this.#statistics
      .answer(instance, question, send)
      .catch((error: unknown) => this.#options.told.failed('query', asSignalboxError(error)))
  }

  #answerSessions(instance: string, question: number, query: SessionsQuery): void {
    const { sessions, told } = this.#options
    // Bounded: one that asks faster than it is answered is answered less.
    if (sessions === undefined || this.#peers.get(instance)?.proven !== true || this.#answering >= PEER_LISTS) return
    this.#answering++
    sessions(query)
      .then((list) => this.#sendTo(instance, { kind: 'answer', question, list }))
      .catch((error: unknown) => told.failed('query', asSignalboxError(error)))
      .finally(() => this.#answering--)
  }

  // ---- doubt ----

  #missed(continuity: Continuity | 'rewound'): void {
    const counts = continuity === 'gap' || continuity === 'restarted' || continuity === 'unheard' || continuity === 'rewound'
    if (counts && this.#phase !== 'joining') this.#counters.gaps++
  }

  #stranger(name: string | undefined, reason: string): void {
    this.#counters.invalid++
    const status = this.#strangers.heard(name, reason, this.#options.clock.wall())
    const times = this.#standing.times('strangers')
    if (times !== undefined) this.#options.told.strangers(status, times)
    this.#doubt(reason, true)
  }

  #invalid(reason: string): void {
    this.#counters.invalid++
    this.#doubt(reason)
  }

  /**
   * Once per turn of the event loop: what comes in one piece was sent before any cache could have asked again after the
   * first doubt, so that one doubt covers it all; and a flood of frames must not become a flood of messages to the workers.
   */
  #doubt(reason: string, quiet = false): void {
    if (this.#phase !== 'joined' || this.#doubted === 'loudly' || (quiet && this.#doubted === 'quietly')) return
    if (this.#doubted === 'no') queueMicrotask(() => (this.#doubted = 'no'))
    this.#doubted = quiet ? 'quietly' : 'loudly'
    this.#counters.doubts++
    this.#options.doubt(reason, quiet)
  }
}
