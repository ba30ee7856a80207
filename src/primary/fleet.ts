/**
 * The fleet actor: who must obey a change, and who has. It owns the membership of this instance's workers, the holds in
 * force, and, where there is a bus, this instance's part in it (bus-member.ts). A change is told to every worker that is
 * registered at that moment and to every peer, and answered when each has acknowledged or its time is over.
 *
 * A worker registers before its first lookup and is told the holds in force; one that exits counts as having
 * acknowledged, since it will never answer from its cache again. A draining worker is still a member.
 */
import type { Behaviour } from '../actor/actor.ts'
import type { ActorRef, Message, Question, Reply } from '../actor/message.ts'
import type { ActiveHold, GivenState, InstanceSessions, OperatorState, SessionsQuery } from '../bus/payload.ts'
import type { Clock } from '../clock.ts'
import { asSignalboxError, impossible, SignalboxError } from '../errors.ts'
import { DRAIN_DEFAULT_MS, HOLD_MS, IDENTIFIERS_PER_FRAME } from '../limits.ts'
import type { Confirmation } from '../management/operations.ts'
import type { Changed } from '../mapping/source.ts'
import { count, noDurations } from '../observe/durations.ts'
import type { Durations } from '../observe/durations.ts'
import type { ResolverMessage } from '../resolver/resolver.ts'
import type { SessionsMessage } from '../session/sessions.ts'
import type { BusCounters, BusMember, Change, PeerOutcome } from './bus-member.ts'
import { DestinationStates } from './destination-states.ts'
import type { Peer } from './peers.ts'
import type { StrangersStatus } from './strangers.ts'
import { WorkerLine } from './worker-line.ts'

/** A worker of this instance as the fleet reaches it. */
export interface Member {
  readonly worker: number
  readonly resolver: ActorRef<ResolverMessage>
  readonly sessions: ActorRef<SessionsMessage>
}

export interface Joined extends Message {
  readonly type: 'joined'
  readonly member: Member
}
export interface Left extends Message {
  readonly type: 'left'
  readonly worker: number
}
/** The accounts' routes are void everywhere. `reread`: the file is shared, peers must read it again first. */
export interface PublishInvalidate extends Question<Confirmation> {
  readonly type: 'invalidate'
  readonly identifiers: readonly string[]
  readonly reread?: boolean
}
export interface PublishInvalidateAll extends Question<Confirmation> {
  readonly type: 'invalidate-all'
  readonly reread?: boolean
}
/** Something may have been missed: everything cached in this instance is doubtful. */
export interface PublishDoubt extends Question<Confirmation> {
  readonly type: 'doubt'
  readonly reason: string
  /** Kicks, too: the workers look their sessions over. */
  readonly kicks?: boolean
}
/** The source itself told of a change (a watch): every instance hears that by itself, so it concerns this one only. */
export interface LocalChange extends Question<Confirmation> {
  readonly type: 'local-change'
  readonly changed: Changed
}
export interface PublishKick extends Question<{ readonly kicked: number; readonly confirmation: Confirmation }> {
  readonly type: 'kick'
  readonly identifier: string
  /** Spares sessions that go to this destination (Kick in session/sessions.ts). */
  readonly except?: string
}
export interface PublishHold extends Question<Confirmation> {
  readonly type: 'hold'
  readonly identifier: string
  readonly id: string
  readonly ms: number
}
export interface PublishRelease extends Question<Confirmation> {
  readonly type: 'release'
  readonly identifier: string
  readonly id: string
}
/** An operator takes a destination out or puts it back, everywhere. `over`: milliseconds over which `drain` ends its sessions. */
export interface PublishState extends Question<Ended> {
  readonly type: 'state'
  readonly destination: string
  readonly state: OperatorState
  readonly over: number
}
/** Ends the sessions of a destination everywhere, spread over `over` milliseconds. */
export interface PublishDrain extends Question<Ended> {
  readonly type: 'drain'
  readonly destination: string
  readonly over: number
}
/** From the bus: what a peer knows of the destinations' states. */
export interface Adopt extends Message {
  readonly type: 'adopt'
  readonly states: readonly GivenState[]
}
/** The sessions of every peer. */
export interface PeerSessions extends Question<PeerLists> {
  readonly type: 'peer-sessions'
  readonly query: SessionsQuery
}
/** From the bus: a peer's change. Answered with a kick's count when every worker here has obeyed; fails when one hasn't. */
export interface Obey extends Question<number> {
  readonly type: 'obey'
  readonly change: Change
}
/** From the bus: it went away or is back. */
export interface BusChanged extends Message {
  readonly type: 'bus'
  readonly up: boolean
}
/** From the bus: what was said on it until `at` (clock time) has been obeyed. */
export interface BusBeat extends Message {
  readonly type: 'beat'
  readonly at: number
}
/** The members now. */
export interface Members extends Question<readonly Member[]> {
  readonly type: 'members'
}
export interface FleetStatusQuestion extends Question<FleetStatus> {
  readonly type: 'status'
}
/** An operator forgets a lost peer. False: not known, or live. */
export interface Forget extends Question<boolean> {
  readonly type: 'forget'
  readonly instance: string
}
/** Live peers that lack a destination. */
export interface Lacking extends Question<readonly string[]> {
  readonly type: 'lacking'
  readonly destination: string
}
export type FleetMessage =
  | Joined
  | Left
  | PublishInvalidate
  | PublishInvalidateAll
  | PublishDoubt
  | LocalChange
  | PublishKick
  | PublishHold
  | PublishRelease
  | PublishState
  | PublishDrain
  | Adopt
  | PeerSessions
  | Obey
  | BusChanged
  | BusBeat
  | Members
  | FleetStatusQuestion
  | Forget
  | Lacking

/** How many sessions are being ended, here and at the peers that have confirmed. */
export interface Ended {
  readonly sessions: number
  readonly confirmation: Confirmation
}

export interface PeerLists {
  readonly answers: readonly { readonly instance: string; readonly list: InstanceSessions }[]
  /** Peers that didn't answer in time, and lost ones. */
  readonly unanswered: readonly string[]
}

export interface FleetStatus {
  readonly bus: 'none' | 'up' | 'down'
  readonly sequence: number
  readonly peers: readonly Peer[]
  readonly counters: BusCounters | undefined
  readonly strangers?: StrangersStatus | undefined
  /** Of changes made here: until every worker, and until every peer had acknowledged or its time was over. */
  readonly confirmations: { readonly workers: Durations; readonly peers: Durations }
  /** What operators made of the destinations, as far as anybody ever did. */
  readonly states: readonly GivenState[]
}

export interface FleetOptions {
  readonly clock: Clock
  /** cluster.ack_timeout, milliseconds. */
  readonly ackTimeout: number
  /** A worker did not acknowledge in time. */
  readonly unconfirmed: (worker: number, what: string, error: SignalboxError) => void
  /** A change is being told to the workers of this instance. */
  readonly happened?: (change: Change) => void
  /** cluster.heartbeat, milliseconds: without a bus the workers are told that often that this process lives. Absent: never. */
  readonly heartbeat?: number
  /** Re-reads the shared file and says what is different in it; undefined where the source isn't one. */
  readonly reread: (() => Promise<Changed>) | undefined
  /** Changes may have been missed, and the shared file could not be read again. */
  readonly rereadFailed?: (error: SignalboxError) => void
}

/** What the workers made of a change. */
interface Local {
  readonly workers: number
  readonly workersExpected: number
  readonly kicked: number
}

interface KnownHold {
  readonly identifier: string
  readonly id: string
  /** Clock time of its end. */
  readonly until: number
}

/** A member, and what its cache is told. */
interface Station extends Member {
  readonly line: WorkerLine
}

type Send = (station: Station) => readonly Promise<unknown>[]

export class Fleet implements Behaviour<FleetMessage> {
  readonly #options: FleetOptions
  readonly #members = new Map<number, Station>()
  readonly #holds = new Map<string, KnownHold>()
  readonly #confirmations = { workers: noDurations(), peers: noDurations() }
  readonly #states: DestinationStates
  #bus: BusMember | undefined
  #busUp = true
  #reading: Promise<Changed> | undefined
  #readNext: Promise<Changed> | undefined

  constructor(options: FleetOptions) {
    this.#options = options
    this.#states = new DestinationStates(options.clock)
    if (options.heartbeat !== undefined) options.clock.every(options.heartbeat, () => this.#live())
  }

  receive(message: FleetMessage, reply: Reply): void {
    switch (message.type) {
      case 'joined':
        return this.#joined(message.member)
      case 'left':
        this.#members.delete(message.worker)
        return
      case 'invalidate':
        return this.#invalidate(message, reply)
      case 'invalidate-all':
        return this.#publish(message, reply, [{ kind: 'invalidate-all', reread: message.reread ?? false }])
      case 'hold':
        return this.#publish(message, reply, [{ kind: 'hold', identifier: message.identifier, id: message.id, ms: message.ms }])
      case 'release':
        return this.#publish(message, reply, [{ kind: 'release', identifier: message.identifier, id: message.id }])
      case 'kick':
        return this.#kick(message, reply)
      case 'state': {
        const { destination, state, over } = message
        return this.#end(message, reply, { kind: 'state', ...this.#states.give(destination, state), over })
      }
      case 'drain':
        return this.#end(message, reply, { kind: 'drain', destination: message.destination, over: message.over })
      case 'adopt':
        return this.#adopt(message.states)
      case 'peer-sessions':
        return this.#peerSessions(message, reply)
      case 'doubt':
        return this.#answer(message, reply, this.#doubt(message.reason, message.kicks === true))
      case 'local-change':
        return this.#answer(message, reply, this.#local(changesOf(message.changed, false)))
      case 'obey':
        return this.#obey(message, reply)
      case 'bus':
        this.#busUp = message.up
        void this.#gather('bus', ({ resolver }) => [resolver.ask({ type: 'bus', up: message.up }, this.#options.ackTimeout)])
        return
      case 'beat':
        return this.#beat(message.at)
      case 'members':
        return reply.to(message, [...this.#members.values()])
      case 'status':
        return reply.to(message, this.#status())
      case 'forget':
        return reply.to(message, this.#bus?.forget(message.instance) ?? false)
      case 'lacking':
        return reply.to(message, this.#bus?.lacking(message.destination) ?? [])
      default:
        impossible(message)
    }
  }

  /** Membership that is lost means invalidations that are lost: end the process. */
  crashed(error: SignalboxError): void {
    throw error
  }

  /** Takes part in a bus from now on. Called once, before the first worker. */
  attach(bus: BusMember, holds: readonly ActiveHold[]): void {
    this.#bus = bus
    for (const { identifier, id, ms } of holds) this.#remember(identifier, id, ms)
  }

  /** The holds in force, for a peer that joins. */
  holds(): readonly ActiveHold[] {
    const now = this.#options.clock.now()
    for (const [key, { until }] of this.#holds) if (until <= now) this.#holds.delete(key)
    return [...this.#holds.values()].map(({ identifier, id, until }) => ({ identifier, id, ms: Math.ceil(until - now) }))
  }

  /** What operators made of the destinations, for a peer. */
  states(): readonly GivenState[] {
    return this.#states.all()
  }

  /** What tells where there is no bus to beat: that this process doesn't stand still. */
  #live(): void {
    if (this.#bus !== undefined) return
    const { clock } = this.#options
    const at = clock.now()
    // In a later turn: after a standstill the timers run before what has come meanwhile, say from a watch, has been read.
    clock.after(0, () => this.#beat(at))
  }

  #beat(at: number): void {
    for (const { line } of this.#members.values()) line.beat(at)
  }

  #joined(member: Member): void {
    const { clock, ackTimeout } = this.#options
    this.#members.set(member.worker, { ...member, line: new WorkerLine({ clock, ackTimeout, resolver: member.resolver }) })
    // Before its first connection: the link keeps the order.
    if (!this.#busUp) member.resolver.tell({ type: 'bus', up: false })
    for (const { identifier, id, ms } of this.holds()) member.resolver.tell({ type: 'hold', identifier, id, ms })
    for (const { destination, state } of this.#states.all()) {
      if (state !== 'up') member.sessions.tell({ type: 'shut', destination, shut: true })
    }
  }

  #invalidate(message: PublishInvalidate, reply: Reply): void {
    this.#publish(message, reply, changesOf({ all: false, identifiers: message.identifiers }, message.reread ?? false))
  }

  #publish(message: FleetMessage & Question<Confirmation>, reply: Reply, changes: readonly Change[]): void {
    this.#answer(message, reply, this.#everywhere(changes).then(({ confirmation }) => confirmation))
  }

  #kick(message: PublishKick, reply: Reply): void {
    const { identifier, except } = message
    const change: Change = { kind: 'kick', identifier, ...(except === undefined ? {} : { except }) }
    void this.#everywhere([change]).then((outcome) => reply.to(message, outcome))
  }

  #end(message: PublishState | PublishDrain, reply: Reply, change: Change): void {
    const question: Question<Ended> = message
    void this.#everywhere([change]).then(({ kicked, confirmation }) => reply.to(question, { sessions: kicked, confirmation }))
  }

  #adopt(states: readonly GivenState[]): void {
    const news = states.filter((given) => this.#states.isNews(given))
    if (news.length > 0) void this.#here(news.map((given) => ({ kind: 'state', ...given, over: DRAIN_DEFAULT_MS })))
  }

  #peerSessions(message: PeerSessions, reply: Reply): void {
    const bus = this.#bus
    const peers = bus?.peers() ?? []
    const live = peers.filter(({ lostAt }) => lostAt === undefined)
    // It may live all the same, and its sessions with it.
    const lost = peers.filter(({ lostAt }) => lostAt !== undefined).map(({ instance }) => instance)
    const asked = live.map(async ({ instance }) => ({
      instance,
      list: await bus?.askSessions(instance, message.query, this.#options.ackTimeout),
    }))
    void Promise.all(asked).then((lists) =>
      reply.to(message, {
        answers: lists.flatMap(({ instance, list }) => (list === undefined ? [] : [{ instance, list }])),
        unanswered: [...lists.flatMap(({ instance, list }) => (list === undefined ? [instance] : [])), ...lost],
      }),
    )
  }

  #answer(message: FleetMessage & Question<Confirmation>, reply: Reply, confirmation: Promise<Confirmation>): void {
    const question: Question<Confirmation> = message
    void confirmation.then((answer) => reply.to(question, answer))
  }

  #obey(message: Obey, reply: Reply): void {
    const reread = 'reread' in message.change && message.change.reread ? this.#options.reread : undefined
    const before = reread === undefined ? Promise.resolve([]) : this.#read(reread).then((changed) => changesOf(changed, false))
    before.then((others) => this.#here([message.change, ...others])).then(
      ({ workers, workersExpected, kicked }) => {
        if (workers >= workersExpected) reply.to(message, kicked)
        else reply.fail(new SignalboxError('ACTOR_DEADLINE', `${workersExpected - workers} workers did not obey in time`))
      },
      (error: unknown) => reply.fail(asSignalboxError(error)),
    )
  }

  /** Reads the shared file again. Whatever comes while it is being read shares the next reading. */
  #read(reread: () => Promise<Changed>): Promise<Changed> {
    if (this.#reading !== undefined) {
      const begin = (): Promise<Changed> => {
        this.#readNext = undefined
        return this.#read(reread)
      }
      this.#readNext ??= this.#reading.then(begin, begin)
      return this.#readNext
    }
    this.#reading = reread().finally(() => (this.#reading = undefined))
    return this.#reading
  }

  /** What was missed may have been a change of the shared file: looked up again, its table would say the same as before. False: it could not be read. */
  #readAfterDoubt(): Promise<boolean> {
    const { reread, rereadFailed } = this.#options
    if (reread === undefined) return Promise.resolve(true)
    // Who began that reading tells what came of it.
    if (this.#readNext !== undefined) return this.#readNext.then(() => true, () => false)
    return this.#read(reread).then(
      async (changed) => {
        await this.#here(changesOf(changed, false))
        return true
      },
      (error: unknown) => {
        rereadFailed?.(asSignalboxError(error))
        return false
      },
    )
  }

  async #doubt(reason: string, kicks: boolean): Promise<Confirmation> {
    const reading = this.#readAfterDoubt()
    const doubting = this.#gather('doubt', ({ line }) => [line.doubt(reason)])
    if (kicks) void Promise.all([reading, doubting]).then(([read]) => this.#review(read))
    return this.#confirmation(await doubting, [])
  }

  /** By what is known now: not by a file that could not be read, which says what it said before. */
  #review(read: boolean): void {
    if (read) for (const { sessions } of this.#members.values()) sessions.tell({ type: 'review' })
  }

  #local(changes: readonly Change[]): Promise<Confirmation> {
    return this.#here(changes).then((local) => this.#confirmation(local, []))
  }

  /** Tells workers and peers at the same time. Never rejects. */
  async #everywhere(changes: readonly Change[]): Promise<{ readonly kicked: number; readonly confirmation: Confirmation }> {
    const bus = this.#bus
    const before = bus?.state
    const { clock } = this.#options
    const began = clock.now()
    const timed = async <A>(by: Durations, acting: Promise<A>): Promise<A> => {
      const outcome = await acting
      count(by, clock.now() - began)
      return outcome
    }
    const [local, ...published] = await Promise.all([
      timed(this.#confirmations.workers, this.#here(changes)),
      ...(bus === undefined ? [] : changes.map((change) => timed(this.#confirmations.peers, bus.publish(change)))),
    ])
    const outcomes = merge(published)
    const kicked = local.kicked + outcomes.reduce((total, { count }) => total + count, 0)
    // Who could not hear it was perhaps not even known then, whatever the bus is by now.
    const confirmation = this.#confirmation(local, outcomes)
    return { kicked, confirmation: before === 'down' ? { ...confirmation, bus: before } : confirmation }
  }

  /** Tells this instance's workers. Never rejects. */
  #here(changes: readonly Change[]): Promise<Local> {
    const news = new Set(changes.filter((change) => this.#note(change)))
    for (const change of news) this.#options.happened?.(change)
    let kicked = 0
    const { ackTimeout } = this.#options
    const send: Send = ({ line, resolver, sessions }) =>
      changes.map(async (change) => {
        switch (change.kind) {
          case 'invalidate':
            return line.invalidate(change.identifiers)
          case 'invalidate-all':
            return line.invalidateAll()
          case 'hold':
            return resolver.ask({ type: 'hold', identifier: change.identifier, id: change.id, ms: change.ms }, ackTimeout)
          case 'release':
            return resolver.ask({ type: 'release', identifier: change.identifier, id: change.id }, ackTimeout)
          case 'kick': {
            const { identifier, except } = change
            const ended = await sessions.ask({ type: 'kick', identifier, ...(except === undefined ? {} : { except }) }, ackTimeout)
            kicked += ended
            return ended
          }
          case 'state': {
            const { destination, state, over } = change
            // Where a later one is known, that is what counts.
            await sessions.ask({ type: 'shut', destination, shut: this.#states.of(destination) !== 'up' }, ackTimeout)
            if (state !== 'drain' || !news.has(change)) return 0
            const ended = await sessions.ask({ type: 'drain', destination, over }, ackTimeout)
            kicked += ended
            return ended
          }
          case 'drain': {
            const ended = await sessions.ask({ type: 'drain', destination: change.destination, over: change.over }, ackTimeout)
            kicked += ended
            return ended
          }
          default:
            return impossible(change)
        }
      })
    return this.#gather(changes[0]?.kind ?? 'nothing', send).then((local) => ({ ...local, kicked }))
  }

  /** False: it is a state, and no news. */
  #note(change: Change): boolean {
    if (change.kind === 'state') return this.#states.adopt(change)
    if (change.kind === 'hold') this.#remember(change.identifier, change.id, change.ms)
    else if (change.kind === 'release') this.#holds.delete(holdKey(change.identifier, change.id))
    return true
  }

  #remember(identifier: string, id: string, ms: number): void {
    const until = this.#options.clock.now() + Math.min(ms, HOLD_MS)
    this.#holds.set(holdKey(identifier, id), { identifier, id, until })
  }

  /** Sends to every member and counts who acknowledged. Never rejects. */
  async #gather(what: string, send: Send): Promise<Local> {
    const members = [...this.#members.values()]
    const outcomes = await Promise.all(members.map((member) => this.#acknowledged(what, member, send(member))))
    return {
      workers: outcomes.filter((outcome) => outcome === 'acknowledged').length,
      // One that is gone has nothing left to obey with.
      workersExpected: outcomes.filter((outcome) => outcome !== 'gone').length,
      kicked: 0,
    }
  }

  async #acknowledged(what: string, { worker }: Member, answers: readonly Promise<unknown>[]): Promise<'acknowledged' | 'gone' | 'missing'> {
    try {
      await Promise.all(answers)
      return 'acknowledged'
    } catch (thrown) {
      const error = asSignalboxError(thrown)
      if (error.code === 'ACTOR_GONE') return 'gone'
      this.#options.unconfirmed(worker, what, error)
      return 'missing'
    }
  }

  #confirmation({ workers, workersExpected }: Local, outcomes: readonly PeerOutcome[]): Confirmation {
    return {
      workers,
      workersExpected,
      peers: outcomes.map(({ instance, acknowledged }) => ({ instance, acknowledged })),
      bus: this.#bus?.state ?? 'none',
    }
  }

  #status(): FleetStatus {
    const bus = this.#bus
    const always = { confirmations: this.#confirmations, states: this.#states.all() }
    if (bus === undefined) return { bus: 'none', sequence: 0, peers: [], counters: undefined, ...always }
    return { bus: bus.state, sequence: bus.sequence, peers: bus.peers(), counters: bus.counters, strangers: bus.strangers, ...always }
  }
}

/** A change of the source as changes for workers and peers, in frames of bounded size. */
export function changesOf(changed: Changed, reread: boolean): readonly Change[] {
  if (changed.all) return [{ kind: 'invalidate-all', reread }]
  const changes: Change[] = []
  for (let at = 0; at < changed.identifiers.length; at += IDENTIFIERS_PER_FRAME) {
    const identifiers = changed.identifiers.slice(at, at + IDENTIFIERS_PER_FRAME)
    // Each frame by itself: nobody may look up what it voids in a file that has not been read again yet.
    changes.push({ kind: 'invalidate', identifiers, reread })
  }
  // Nothing was news here, but it may be to peers.
  if (reread && changes.length === 0) changes.push({ kind: 'invalidate', identifiers: [], reread })
  return changes
}

/** One outcome per peer over several frames: acknowledged when all were. */
function merge(published: readonly (readonly PeerOutcome[])[]): readonly PeerOutcome[] {
  const merged = new Map<string, PeerOutcome>()
  for (const outcome of published.flat()) {
    const known = merged.get(outcome.instance)
    merged.set(outcome.instance, {
      instance: outcome.instance,
      acknowledged: outcome.acknowledged && (known?.acknowledged ?? true),
      count: outcome.count + (known?.count ?? 0),
    })
  }
  return [...merged.values()]
}

function holdKey(identifier: string, id: string): string {
  return `${id} ${identifier}`
}
