/**
 * The fleet actor: who must obey a change, and who has. It owns the membership of this instance's workers; a change is
 * told to every worker that is registered at that moment and answered when each has acknowledged or its time is over.
 * A worker registers before its first lookup; one that exits counts as having acknowledged, since it will never answer
 * from its cache again. A draining worker is still a member.
 */
import type { Behaviour } from '../actor/actor.ts'
import type { ActorRef, Message, Question, Reply } from '../actor/message.ts'
import { asSignalboxError, impossible } from '../errors.ts'
import type { SignalboxError } from '../errors.ts'
import { IDENTIFIERS_PER_FRAME } from '../limits.ts'
import type { Confirmation } from '../management/operations.ts'
import type { ResolverMessage } from '../resolver/resolver.ts'
import type { SessionsMessage } from '../session/sessions.ts'

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
/** The accounts' routes are void everywhere. */
export interface PublishInvalidate extends Question<Confirmation> {
  readonly type: 'invalidate'
  readonly identifiers: readonly string[]
}
export interface PublishInvalidateAll extends Question<Confirmation> {
  readonly type: 'invalidate-all'
}
/** Something may have been missed: everything cached is doubtful. */
export interface PublishDoubt extends Question<Confirmation> {
  readonly type: 'doubt'
  readonly reason: string
}
export interface PublishKick extends Question<{ readonly kicked: number; readonly confirmation: Confirmation }> {
  readonly type: 'kick'
  readonly identifier: string
}
export interface PublishHold extends Question<Confirmation> {
  readonly type: 'hold'
  readonly identifier: string
  readonly id: string
  readonly ms: number
}
/** The members now. */
export interface Members extends Question<readonly Member[]> {
  readonly type: 'members'
}
export type FleetMessage =
  | Joined
  | Left
  | PublishInvalidate
  | PublishInvalidateAll
  | PublishDoubt
  | PublishKick
  | PublishHold
  | Members

export interface FleetOptions {
  /** cluster.ack_timeout, milliseconds. */
  readonly ackTimeout: number
  /** A worker did not acknowledge in time. */
  readonly unconfirmed: (worker: number, what: string, error: SignalboxError) => void
}

export class Fleet implements Behaviour<FleetMessage> {
  readonly #options: FleetOptions
  readonly #members = new Map<number, Member>()

  constructor(options: FleetOptions) {
    this.#options = options
  }

  receive(message: FleetMessage, reply: Reply): void {
    switch (message.type) {
      case 'joined':
        this.#members.set(message.member.worker, message.member)
        return
      case 'left':
        this.#members.delete(message.worker)
        return
      case 'invalidate':
        return this.#invalidate(message, reply)
      case 'invalidate-all':
        return this.#confirm(message, reply, ({ resolver }) => [resolver.ask({ type: 'invalidate-all' }, this.#options.ackTimeout)])
      case 'doubt':
        return this.#confirm(message, reply, ({ resolver }) => [
          resolver.ask({ type: 'doubt', reason: message.reason }, this.#options.ackTimeout),
        ])
      case 'hold': {
        const { identifier, id, ms } = message
        return this.#confirm(message, reply, ({ resolver }) => [
          resolver.ask({ type: 'hold', identifier, id, ms }, this.#options.ackTimeout),
        ])
      }
      case 'kick':
        return this.#kick(message, reply)
      case 'members':
        return reply.to(message, [...this.#members.values()])
      default:
        impossible(message)
    }
  }

  /** Membership that is lost means invalidations that are lost: end the process. */
  crashed(error: SignalboxError): void {
    throw error
  }

  #invalidate(message: PublishInvalidate, reply: Reply): void {
    const frames: (readonly string[])[] = []
    for (let at = 0; at < message.identifiers.length; at += IDENTIFIERS_PER_FRAME) {
      frames.push(message.identifiers.slice(at, at + IDENTIFIERS_PER_FRAME))
    }
    this.#confirm(message, reply, ({ resolver }) =>
      frames.map((identifiers) => resolver.ask({ type: 'invalidate', identifiers }, this.#options.ackTimeout)),
    )
  }

  #kick(message: PublishKick, reply: Reply): void {
    let kicked = 0
    const counted = async ({ sessions }: Member) => {
      kicked += await sessions.ask({ type: 'kick', identifier: message.identifier }, this.#options.ackTimeout)
    }
    void this.#gather(message.type, (member) => [counted(member)]).then((confirmation) => reply.to(message, { kicked, confirmation }))
  }

  #confirm<Q extends Question<Confirmation> & FleetMessage>(message: Q, reply: Reply, send: (member: Member) => Promise<unknown>[]): void {
    void this.#gather(message.type, send).then((confirmation) => {
      const answer: Question<Confirmation> = message
      reply.to(answer, confirmation)
    })
  }

  /** Sends to every member and counts who acknowledged. Never rejects. */
  async #gather(what: string, send: (member: Member) => Promise<unknown>[]): Promise<Confirmation> {
    const members = [...this.#members.values()]
    const outcomes = await Promise.all(members.map((member) => this.#acknowledged(what, member, send(member))))
    return {
      workers: outcomes.filter((outcome) => outcome === 'acknowledged').length,
      // One that is gone has nothing left to obey with.
      workersExpected: outcomes.filter((outcome) => outcome !== 'gone').length,
      peers: [],
      bus: 'none',
    }
  }

  async #acknowledged(what: string, { worker }: Member, answers: Promise<unknown>[]): Promise<'acknowledged' | 'gone' | 'missing'> {
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
}
