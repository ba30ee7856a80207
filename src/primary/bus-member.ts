/**
 * This instance as a member of the bus: it joins and leaves, says what changes and waits for acknowledgements, and hears what
 * the others say. Part of the fleet actor, which alone calls it. What stands by itself has a file of its own: who is there
 * (peers.ts), how they come to know each other (bus-handshake.ts), how we come to be one of them (bus-joining.ts), whether we are on the bus (bus-presence.ts), what may have
 * been missed (bus-doubts.ts), who has acknowledged (acknowledgements.ts), how it is sent (bus-sender.ts).
 *
 * Numbers already heard are not obeyed again; kicks, holds and destinations' states not before their sender has proven to be there. What
 * anybody says to invalidate is obeyed at once: it costs lookups, never correctness.
 *
 * Over 400 lines because the dispatch of frames by the phase that we are in is one thing.
 */
import { decodeBusFrame } from '../bus/frame.ts'
import type { BusFrame, BusHeader } from '../bus/frame.ts'
import { readPayload } from '../bus/payload.ts'
import type { ActiveHold, BusPayload, GivenState, InstanceFacts, InstanceSessions, SessionsQuery, Welcome } from '../bus/payload.ts'
import type { BusTransport } from '../bus/transport.ts'
import type { Clock } from '../clock.ts'
import type { ClusterConfig } from '../config/config.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { BUS_PATIENCE } from '../limits.ts'
import { Acknowledgements } from './acknowledgements.ts'
import type { PeerOutcome } from './acknowledgements.ts'
import { BusDoubts } from './bus-doubts.ts'
import type { BusDoubtsOptions } from './bus-doubts.ts'
import { BusHandshake } from './bus-handshake.ts'
import { BusJoining } from './bus-joining.ts'
import { BusPresence } from './bus-presence.ts'
import { BusSender } from './bus-sender.ts'
import { PeerQuestions } from './peer-questions.ts'
import { PeerStatistics } from './peer-statistics.ts'
import type { Stats } from './peer-statistics.ts'
import { Peers } from './peers.ts'
import type { Peer } from './peers.ts'
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
  readonly doubt: BusDoubtsOptions['doubt']
  readonly told: BusReport
  /** The table of peers; one of its own unless a test brings another. */
  readonly peers?: Peers
}

export interface BusReport extends Readonly<BusDoubtsOptions['told']> {
  up(seconds: number): void
  /** Our own heartbeat has come back: what was said until `at` (clock time) has been obeyed. Only while we are on the bus. */
  beat(at: number): void
  down(reason: string): void
  /** A peer that has answered us is there, is back, or has started anew. Of names that have never answered nothing is told. */
  joined(peer: string): void
  left(peer: string): void
  lost(peer: string): void
  differs(peer: string): void
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

export class BusMember {
  readonly #options: BusMemberOptions
  readonly #peers: Peers
  readonly #presence: BusPresence
  readonly #handshake: BusHandshake
  readonly #doubts: BusDoubts
  readonly #joining: BusJoining
  readonly #acknowledgements = new Acknowledgements()
  readonly #statistics: PeerStatistics
  readonly #sessions: PeerQuestions<InstanceSessions>
  readonly #sender: BusSender
  readonly #patience: number
  /** Milliseconds for which one that is lost may serve what it has cached, and is named for it. */
  readonly #memory: number
  readonly #counters = { repeated: 0, received: 0 }
  #phase: Phase = 'new'
  #saidHello = false
  /** The last beat that was told of. */
  #toldBeat = Number.NEGATIVE_INFINITY
  #closing: Promise<void> | undefined

  /** Lists of sessions that are being made for peers. */
  #answering = 0

  constructor(options: BusMemberOptions) {
    const { cluster } = options
    this.#options = options
    this.#peers = options.peers ?? new Peers()
    this.#patience = BUS_PATIENCE * cluster.heartbeat
    this.#memory = Math.max(this.#patience, cluster.busDownTtl)
    this.#doubts = new BusDoubts(options)
    this.#presence = new BusPresence({ clock: options.clock, heartbeat: cluster.heartbeat, patience: this.#patience, beat: (found) => this.#beat(found) })
    this.#handshake = new BusHandshake({
      clock: options.clock,
      heartbeat: cluster.heartbeat,
      patience: this.#patience,
      peers: this.#peers,
      sendTo: (instance, payload) => this.#sendTo(instance, payload),
      sequence: () => this.sequence,
      facts: options.facts,
      destinations: options.destinations,
      holds: options.holds,
      states: () => options.states?.() ?? [],
      adopt: (states) => options.adopt?.(states),
      told: options.told,
    })
    this.#statistics = new PeerStatistics(options.clock, options.stats)
    this.#sessions = new PeerQuestions(options.clock)
    this.#sender = new BusSender(options)
    this.#joining = new BusJoining({
      clock: options.clock,
      transport: options.transport,
      instance: cluster.instance,
      channels: [this.#sender.frames, this.#sender.channelOf(cluster.instance)],
      heartbeat: cluster.heartbeat,
      patience: this.#patience,
      allowUnavailable: options.allowUnavailable === true,
      probe: (question) => this.#sendTo(cluster.instance, this.#handshake.helloWith(question)),
      appear: () => {
        this.#presence.begin()
        return this.#hello()
      },
      heard: () => this.#presence.up,
    })
  }

  get counters(): BusCounters {
    return { ...this.#counters, ...this.#doubts.counters, sent: this.#sender.sent }
  }

  /** `up`: our own heartbeat has come back in time. */
  get state(): 'up' | 'down' {
    return this.#presence.state
  }

  /** The number of the last frame that went to all. */
  get sequence(): number {
    return this.#sender.sequence
  }

  /** Those whose frames could not be believed; undefined: there were none. */
  get strangers(): StrangersStatus | undefined {
    return this.#doubts.strangers
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
    const { allowUnavailable = false, cluster, transport, told } = this.#options
    if (this.#phase !== 'new') throw new SignalboxError('INTERNAL', 'the bus is joined once')
    this.#phase = 'joining'
    try {
      const listener = { frame: (channel: string, bytes: Buffer) => this.#receive(channel, bytes), resubscribed: () => this.#resubscribed() }
      const subscribed = await transport.open([this.#sender.frames, this.#sender.channelOf(cluster.instance)], listener, allowUnavailable)
      this.#refuseIfClosed()
      if (subscribed) await this.#joining.run()
      this.#refuseIfClosed()
    } catch (error) {
      const closed = this.#closing !== undefined
      await this.close()
      throw closed ? new SignalboxError('DRAINING', 'the bus was left while it was being joined') : error
    }
    this.#phase = 'joined'
    this.#doubts.begin()
    this.#presence.begin()
    if (!this.#presence.up) {
      this.#presence.beginAway()
      told.down(transport.trouble() ?? 'its own heartbeat has not come back')
    }
    return this.#joining.holds
  }

  /** Publishes a change and waits for acknowledgements, at most ack_timeout. Names every peer that has not confirmed. Never rejects. */
  async publish(change: Change): Promise<readonly PeerOutcome[]> {
    const { clock, cluster, told } = this.#options
    const lost = this.#peers.missed(clock.now(), ofRoutes(change) ? this.#memory : Number.POSITIVE_INFINITY)
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
    this.#presence.end()
    this.#doubts.end()
    // Nobody is told that one leaves who never came: under the same name another may live.
    const bye = this.#saidHello ? this.#sender.toAll({ kind: 'bye' }, cluster.heartbeat) : Promise.resolve()
    this.#sender.silence()
    this.#phase = 'closed'
    this.#joining.end()
    this.#acknowledgements.settleAll()
    this.#statistics.close()
    this.#sessions.close()
    // A bye that doesn't get through makes us a lost peer, which is what we are then.
    await bye.catch(() => {})
    await transport.close()
  }

  #refuseIfClosed(): void {
    if (this.#phase === 'closed') throw new SignalboxError('DRAINING', 'the bus was left while it was being joined')
  }

  // ---- what is sent ----

  #beat({ lost, mayJudge }: { readonly lost: boolean; readonly mayJudge: boolean }): void {
    const { clock, cluster, facts, told, transport } = this.#options
    const now = clock.now()
    this.#handshake.beat()
    if (lost && this.#phase === 'joined') told.down(transport.trouble() ?? 'its own heartbeat has not come back')
    if (mayJudge) {
      for (const { instance, proven } of this.#peers.silent(now, this.#patience)) {
        if (proven) told.lost(instance)
        this.#doubts.doubt(`peer ${instance} is gone without a bye`, !proven)
      }
      this.#peers.expire(now, this.#memory)
    }
    // That it doesn't come back is how a failure is noticed: there is nothing else to do about it.
    this.#sendSign({ kind: 'heartbeat', facts: facts() }, cluster.heartbeat).catch(() => {})
  }

  /** To all: here we are. */
  #hello(): Promise<void> {
    this.#saidHello = true
    return this.#sendSign(this.#handshake.hello(), this.#options.cluster.ackTimeout)
  }

  /** What the others know of us has changed: tells them now rather than when the next heartbeat makes them ask. */
  announce(): void {
    if (this.#phase === 'joined') this.#helloAgain()
  }

  #helloAgain(): void {
    this.#hello().catch((error: unknown) => this.#options.told.failed('hello', asSignalboxError(error, 'BUS_DOWN')))
  }

  /** A frame whose return shows that we are on the bus. */
  #sendSign(payload: BusPayload, deadline: number): Promise<void> {
    const sent = this.#sender.toAll(payload, deadline)
    this.#presence.sent(this.sequence)
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
      return this.#doubts.stranger(bytes, asSignalboxError(thrown).message)
    }
    if (frame.header.instance === this.#options.cluster.instance) return this.#ofOurName(channel, frame)
    if (channel === this.#sender.frames) this.#forAll(frame)
    else this.#forUs(frame)
  }

  #resubscribed(): void {
    if (this.#phase === 'closed') return
    this.#doubts.away('the subscription to the bus was made anew')
    if (this.#phase === 'joined' || this.#saidHello) this.#helloAgain()
  }

  #ofOurName(channel: string, { header, body }: BusFrame): void {
    if (header.epoch === this.#options.epoch && header.sequence <= this.sequence) {
      // Only what everybody hears shows that everybody is heard.
      if (channel === this.#sender.frames) this.#ownReturned(header)
      return
    }
    if (channel === this.#sender.frames) return this.#doubts.twin()
    const payload = this.#read(header, body)
    if (payload?.kind === 'hello') {
      // Who was here first stays; of two that come at once, the one that started first.
      const elder = this.#phase === 'joined' || this.#options.epoch < header.epoch
      if (elder) this.#handshake.welcome(header.instance, payload.question)
    } else if (payload?.kind === 'welcome') this.#joining.namesakeAnswered(payload.question)
  }

  #ownReturned({ sequence, kind }: BusHeader): void {
    const back = this.#presence.returned(sequence)
    if (this.#phase === 'joining') return back ? this.#joining.progress() : undefined
    if (back) {
      this.#options.told.up(this.#presence.awaySeconds)
      this.#doubts.away('this instance was off the bus')
      // A hello that has come back has just been heard by everybody.
      if (kind !== 'hello') this.#helloAgain()
    }
    const { heardUntil, state } = this.#presence
    if (state === 'down' || heardUntil <= this.#toldBeat) return
    this.#toldBeat = heardUntil
    this.#options.told.beat(heardUntil)
  }

  #forAll({ header, body }: BusFrame): void {
    const { clock, told } = this.#options
    const { instance } = header
    const { peer, continuity, returned } = this.#peers.follow(header, clock.now())
    if (continuity === 'repeated') {
      this.#counters.repeated++
      return this.#handshake.question(instance)
    }
    if (continuity !== 'next') this.#doubts.missed(instance, continuity)
    if (continuity === 'older' || peer === undefined) {
      // If it is there it is told who we are, and tells who it is.
      const payload = header.kind === 'hello' ? this.#read(header, body) : undefined
      if (payload?.kind === 'hello') this.#handshake.welcome(instance, payload.question)
      return this.#handshake.question(instance)
    }
    if (returned && peer.proven) told.joined(instance)
    const payload = this.#read(header, body)
    if (payload === undefined) return
    switch (payload.kind) {
      case 'hello':
        this.#handshake.welcome(instance, payload.question)
        if (peer.proven) this.#handshake.introduce(peer, payload)
        else this.#handshake.question(instance)
        return
      case 'heartbeat':
        return this.#handshake.heartbeat(peer, payload.facts)
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
        return this.#doubts.invalid(`a frame of kind ${payload.kind} was sent to all`)
    }
  }

  #forUs({ header, body }: BusFrame): void {
    const { instance } = header
    const payload = this.#read(header, body)
    if (payload === undefined) return
    switch (payload.kind) {
      case 'hello':
        this.#handshake.welcome(instance, payload.question)
        // Whoever asks us is there, though we may never have heard it.
        if (this.#peers.get(instance)?.proven !== true) this.#handshake.question(instance)
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
        return this.#doubts.invalid(`a frame of kind ${payload.kind} was sent to one`)
    }
  }

  #read(header: BusHeader, body: BusFrame['body']): BusPayload | undefined {
    try {
      if (!body.ok) throw body.error
      if (header.kind === undefined) throw new SignalboxError('FRAME_INVALID', 'a bus frame has an unknown kind')
      return readPayload(header.kind, body.payload)
    } catch (thrown) {
      this.#doubts.invalid(asSignalboxError(thrown).message)
      return undefined
    }
  }

  #welcomeFrom(header: BusHeader, welcome: Welcome): void {
    const { instance } = header
    const known = this.#handshake.answered(header, welcome)
    if (known === 'unasked') {
      this.#counters.repeated++
      return
    }
    if (known === 'untracked') return this.#doubts.missed(instance, known)
    if (known.missed !== undefined) this.#doubts.missed(instance, known.missed)
    this.#handshake.introduce(known.peer, welcome)
    if (this.#phase === 'joining') return this.#joining.welcomed(instance, welcome.holds)
    for (const hold of welcome.holds) this.#obeyHold({ kind: 'hold', ...hold })
  }

  /** Not confirmed, so that its sender names us; it may be a recording of its last life. */
  #refuse(change: Change, instance: string): void {
    this.#handshake.question(instance)
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
}

/** What one that is lost has cached it doubts after a while by itself; its sessions live for as long as it does. */
function ofRoutes({ kind }: Change): boolean {
  return kind === 'invalidate' || kind === 'invalidate-all'
}
