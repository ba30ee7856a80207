/**
 * The sessions actor of one worker: which sessions does each account have? It owns the membership and nothing of the
 * sessions themselves. A session joins at resolve, so that a kick ends it in whatever stage it is.
 */
import type { Behaviour } from '../actor/actor.ts'
import type { Message, Question, Reply } from '../actor/message.ts'
import { impossible } from '../errors.ts'
import type { SignalboxError } from '../errors.ts'

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
export interface SessionsStatsQuestion extends Question<SessionsStats> {
  readonly type: 'stats'
}
export type SessionsMessage = Kick | Join | Leave | End | SessionsStatsQuestion

export interface SessionsStats {
  readonly sessions: number
  readonly accounts: number
  /** Bridged sessions by destination name. */
  readonly byDestination: Readonly<Record<string, number>>
}

/** A session as the actor knows it. */
export interface SessionHandle {
  /** The account, once it is known. */
  readonly account: string | undefined
  /** The destination's name once the session is bridged. */
  readonly bridgedTo: string | undefined
  /** The destination's name from the moment its route is known, while it logs in and afterwards. */
  readonly routedTo: string | undefined
  /** Whether it has begun to log in: dialogue over, on its way or bridged. */
  readonly idleBeforeLogin: boolean
  end(why: 'kicked' | 'shutdown', error?: SignalboxError): void
}

export class Sessions implements Behaviour<SessionsMessage> {
  readonly #all = new Set<SessionHandle>()
  readonly #byAccount = new Map<string, Set<SessionHandle>>()

  /** Sessions that are open, in any stage. */
  get size(): number {
    return this.#all.size
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
      case 'stats':
        return reply.to(message, this.#stats())
      default:
        impossible(message)
    }
  }

  /** The membership can't be made anew without the sessions: end the worker rather than miss a kick. */
  crashed(error: SignalboxError): void {
    throw error
  }

  #kick(identifier: string, except: string | undefined): number {
    // A copy: ending a session makes it leave.
    const members = [...(this.#byAccount.get(identifier) ?? [])]
    const sessions =
      except === undefined ? members : members.filter(({ routedTo }) => routedTo !== undefined && routedTo !== except)
    for (const session of sessions) session.end('kicked')
    return sessions.length
  }

  #end(which: 'preauth' | 'all'): number {
    const sessions = [...this.#all].filter((session) => which === 'all' || session.idleBeforeLogin)
    for (const session of sessions) session.end('shutdown')
    return sessions.length
  }

  #join(session: SessionHandle): void {
    const { account } = session
    if (account === undefined) return
    const members = this.#byAccount.get(account)
    if (members === undefined) this.#byAccount.set(account, new Set([session]))
    else members.add(session)
  }

  #leave(session: SessionHandle): void {
    const { account } = session
    if (account === undefined) return
    const members = this.#byAccount.get(account)
    if (members === undefined) return
    members.delete(session)
    if (members.size === 0) this.#byAccount.delete(account)
  }

  #stats(): SessionsStats {
    const byDestination = new Map<string, number>()
    for (const { bridgedTo } of this.#all) {
      if (bridgedTo !== undefined) byDestination.set(bridgedTo, (byDestination.get(bridgedTo) ?? 0) + 1)
    }
    return { sessions: this.#all.size, accounts: this.#byAccount.size, byDestination: Object.fromEntries(byDestination) }
  }
}
