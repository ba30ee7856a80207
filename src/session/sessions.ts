/**
 * The sessions actor of one worker: which sessions does each account have, which are bridged to which destination, and which
 * destinations has an operator closed? It owns the membership and nothing of the sessions themselves. A session joins at
 * resolve, so that a kick ends it in whatever stage it is.
 *
 * A destination that is drained loses its sessions one after the other, evenly over the time that was given: a thousand
 * clients that come back in the same moment are what a drain is to avoid.
 *
 * One timer for all looks now and then which sessions have lasted: only those get TCP keepalive, which costs four system calls
 * for each socket and does nothing for two minutes.
 */
import type { Behaviour } from '../actor/actor.ts'
import type { Message, Question, Reply } from '../actor/message.ts'
import { systemClock } from '../clock.ts'
import type { Clock, Timer } from '../clock.ts'
import type { ProtocolName } from '../config/config.ts'
import { impossible } from '../errors.ts'
import type { SignalboxError } from '../errors.ts'
import { DRAIN_STEP_MS, KEEPALIVE_LOOK_MS, SESSIONS_LISTED } from '../limits.ts'
import { SessionReview } from './review.ts'
import type { ReviewOptions } from './review.ts'
import { Roster } from './roster.ts'
import type { Seated } from './roster.ts'

/**
 * Ends the account's sessions; answered with how many when each has been told. `except` spares those that go to this
 * destination, and logins that wait for a route: behind an invalidation they can only get the new one.
 */
export interface Kick extends Question<number> {
  readonly type: 'kick'
  readonly identifier: string
  readonly except?: string
}
/** From a session: it is this account's from now on. */
export interface Join extends Message {
  readonly type: 'join'
  readonly session: SessionHandle
}
export interface Leave extends Message {
  readonly type: 'leave'
  readonly session: SessionHandle
}
/** Ends those that have no login yet (`preauth`) or all. Answered with how many. */
export interface End extends Question<number> {
  readonly type: 'end'
  readonly which: 'preauth' | 'all'
}
/** Begins to end the sessions that are bridged to the destination now, spread over `over` milliseconds. Answered with how many at once. */
export interface DrainSessions extends Question<number> {
  readonly type: 'drain'
  readonly destination: string
  readonly over: number
}
/** An operator opens or closes a destination for new sessions. Live ones go on. */
export interface Shut extends Question<true> {
  readonly type: 'shut'
  readonly destination: string
  readonly shut: boolean
}
/** Kicks may have been missed: ends the sessions that are where their accounts don't belong any more (review.ts). */
export interface ReviewSessions extends Message {
  readonly type: 'review'
}
export interface SessionsStatsQuestion extends Question<SessionsStats> {
  readonly type: 'stats'
}
/** The bridged sessions of an account, of a destination, or all: so many of them one by one, and all of them counted. */
export interface ListSessions extends Question<SessionsList> {
  readonly type: 'list'
  readonly identifier: string | undefined
  readonly destination: string | undefined
  /** At most SESSIONS_LISTED. */
  readonly limit: number
}
export type SessionsMessage = Kick | Join | Leave | End | DrainSessions | Shut | ReviewSessions | SessionsStatsQuestion | ListSessions

export interface SessionsStats {
  readonly sessions: number
  readonly accounts: number
  /** Bridged sessions by destination name. */
  readonly byDestination: Readonly<Record<string, number>>
}

/** One bridged session. */
export interface ListedSession {
  /** Undefined where the login named none. */
  readonly account: string | undefined
  readonly protocol: ProtocolName
  readonly destination: string
  /** The client's address. */
  readonly client: string
  /** When its connection was accepted, wall-clock milliseconds. */
  readonly since: number
  readonly bytesIn: number
  readonly bytesOut: number
}

/** All sessions of one protocol to one destination, counted. */
export interface SessionGroup {
  readonly protocol: ProtocolName
  readonly destination: string
  sessions: number
  bytesIn: number
  bytesOut: number
}

export interface SessionsList {
  readonly sessions: readonly ListedSession[]
  readonly groups: readonly SessionGroup[]
}

/** A session as the actor knows it. */
export interface SessionHandle extends Seated {
  /** The account, once it is known. */
  readonly account: string | undefined
  /** The destination's name once the session is bridged. */
  readonly bridgedTo: string | undefined
  /** The destination's name from the moment its route is known, while it logs in and afterwards. */
  readonly routedTo: string | undefined
  /** Whether it has begun to log in: dialogue over, on its way or bridged. */
  readonly idleBeforeLogin: boolean
  readonly protocol: ProtocolName
  readonly client: string
  /** Wall-clock milliseconds. */
  readonly since: number
  /** Carried since the hand-over. */
  readonly bytes: { readonly bytesIn: number; readonly bytesOut: number }
  /** Called every KEEPALIVE_LOOK_MS: who has lasted since the last time needs TCP keepalive from now on. */
  lasts?(): void
  end(why: EndedBy, error?: SignalboxError): void
}

/** What ends a session from outside. */
export type EndedBy = 'kicked' | 'moved' | 'drained' | 'shutdown'

/** What a review goes by; without it there is none. */
export type Reviewing = Pick<ReviewOptions, 'where' | 'reviewed'>

export class Sessions implements Behaviour<SessionsMessage> {
  readonly #clock: Clock
  readonly #all = new Roster<SessionHandle>()
  /** Lists that are emptied before they are dropped: see Roster. */
  readonly #byAccount = new Map<string, SessionHandle[]>()
  readonly #shut = new Set<string>()
  readonly #review: SessionReview | undefined

  constructor(clock: Clock = systemClock, reviewing?: Reviewing) {
    this.#clock = clock
    clock.every(KEEPALIVE_LOOK_MS, () => {
      for (const session of this.#all) session.lasts?.()
    })
    if (reviewing === undefined) return
    this.#review = new SessionReview({
      ...reviewing,
      clock,
      accounts: () => [...this.#byAccount.keys()],
      end: (account, destination) => this.#endElsewhere(account, destination, 'moved'),
    })
  }

  /** Sessions that are open, in any stage. */
  get size(): number {
    return this.#all.size
  }

  /** Whether a session may be dialled to, or handed over to, the destination. */
  mayGoTo(destination: string): boolean {
    return !this.#shut.has(destination)
  }

  /** A session has begun; it has no account yet. */
  open(session: SessionHandle): void {
    this.#all.add(session)
  }

  close(session: SessionHandle): void {
    this.#all.delete(session)
  }

  receive(message: SessionsMessage, reply: Reply): void {
    switch (message.type) {
      case 'kick':
        return reply.to(message, this.#kick(message.identifier, message.except))
      case 'join':
        return this.#join(message.session)
      case 'leave':
        return this.#leave(message.session)
      case 'end':
        return reply.to(message, this.#end(message.which))
      case 'drain':
        return reply.to(message, this.#drain(message.destination, message.over))
      case 'shut':
        if (message.shut) this.#shut.add(message.destination)
        else this.#shut.delete(message.destination)
        return reply.to(message, true)
      case 'review':
        return this.#review?.begin()
      case 'stats':
        return reply.to(message, this.#stats())
      case 'list':
        return reply.to(message, this.#list(message))
      default:
        impossible(message)
    }
  }

  /** The membership can't be made anew without the sessions: end the worker rather than miss a kick. */
  crashed(error: SignalboxError): void {
    throw error
  }

  #kick(identifier: string, except: string | undefined): number {
    if (except !== undefined) return this.#endElsewhere(identifier, except, 'kicked')
    const sessions = this.#sessionsOf(identifier)
    for (const session of sessions) session.end('kicked')
    return sessions.length
  }

  #endElsewhere(identifier: string, destination: string, why: EndedBy): number {
    const sessions = this.#sessionsOf(identifier).filter(({ routedTo }) => routedTo !== undefined && routedTo !== destination)
    for (const session of sessions) session.end(why)
    return sessions.length
  }

  /** A copy: ending a session makes it leave. */
  #sessionsOf(identifier: string): readonly SessionHandle[] {
    return [...(this.#byAccount.get(identifier) ?? [])]
  }

  #end(which: 'preauth' | 'all'): number {
    const sessions = [...this.#all].filter((session) => which === 'all' || session.idleBeforeLogin)
    for (const session of sessions) session.end('shutdown')
    return sessions.length
  }

  #drain(destination: string, over: number): number {
    const sessions = [...this.#all].filter(({ bridgedTo }) => bridgedTo === destination)
    const began = this.#clock.now()
    let ended = 0
    let stepping: Timer | undefined
    const step = (): void => {
      const passed = this.#clock.now() - began
      const due = passed >= over ? sessions.length : Math.floor((sessions.length * passed) / over)
      for (; ended < due; ended++) {
        // Some have ended by themselves meanwhile.
        if (sessions[ended]?.bridgedTo === destination) sessions[ended]?.end('drained')
      }
      if (ended === sessions.length) stepping?.cancel()
    }
    step()
    if (ended < sessions.length) stepping = this.#clock.every(Math.min(DRAIN_STEP_MS, over), step)
    return sessions.length
  }

  #join(session: SessionHandle): void {
    const { account } = session
    if (account === undefined) return
    const members = this.#byAccount.get(account)
    if (members === undefined) this.#byAccount.set(account, [session])
    else if (!members.includes(session)) members.push(session)
  }

  #leave(session: SessionHandle): void {
    const { account } = session
    if (account === undefined) return
    const members = this.#byAccount.get(account)
    const at = members?.indexOf(session) ?? -1
    if (members === undefined || at < 0) return
    const last = members.pop()
    if (last !== undefined && last !== session) members[at] = last
    if (members.length === 0) this.#byAccount.delete(account)
  }

  #stats(): SessionsStats {
    const byDestination = new Map<string, number>()
    for (const { bridgedTo } of this.#all) {
      if (bridgedTo !== undefined) byDestination.set(bridgedTo, (byDestination.get(bridgedTo) ?? 0) + 1)
    }
    return { sessions: this.#all.size, accounts: this.#byAccount.size, byDestination: Object.fromEntries(byDestination) }
  }

  #list({ identifier, destination, limit }: ListSessions): SessionsList {
    const sessions: ListedSession[] = []
    const groups = new Map<string, SessionGroup>()
    const most = Math.min(limit, SESSIONS_LISTED)
    const candidates = identifier === undefined ? this.#all : (this.#byAccount.get(identifier) ?? [])
    for (const session of candidates) {
      const { account, bridgedTo, protocol, client, since, bytes } = session
      if (bridgedTo === undefined || (destination !== undefined && bridgedTo !== destination)) continue
      const { bytesIn, bytesOut } = bytes
      const key = `${protocol} ${bridgedTo}`
      let group = groups.get(key)
      if (group === undefined) {
        group = { protocol, destination: bridgedTo, sessions: 0, bytesIn: 0, bytesOut: 0 }
        groups.set(key, group)
      }
      group.sessions++
      group.bytesIn += bytesIn
      group.bytesOut += bytesOut
      if (sessions.length < most) sessions.push({ account, protocol, destination: bridgedTo, client, since, bytesIn, bytesOut })
    }
    return { sessions, groups: [...groups.values()] }
  }
}
