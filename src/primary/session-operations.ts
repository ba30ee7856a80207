/** Live sessions over the actors: this instance's workers and, through the fleet actor, every peer. */
import type { ActorRef } from '../actor/message.ts'
import type { InstanceSessions, SessionsQuery } from '../bus/payload.ts'
import type { Drained, SessionFilter, SessionList, SessionOperations, SessionStatus, SessionSummary } from '../management/session-operations.ts'
import type { Redactor } from '../observe/redaction.ts'
import type { FleetMessage } from './fleet.ts'
import { listSessions } from './session-list.ts'

export interface SessionDeskOptions {
  readonly instance: string
  readonly fleet: ActorRef<FleetMessage>
  readonly redact: Redactor
  readonly declared: (destination: string) => boolean
  /** Milliseconds that the fleet may take over a change. */
  readonly deadline: number
}

interface Answers {
  readonly lists: readonly { readonly instance: string; readonly list: InstanceSessions }[]
  readonly unanswered: readonly string[]
}

const ASK_MS = 2_000

export class SessionDesk implements SessionOperations {
  readonly #options: SessionDeskOptions

  constructor(options: SessionDeskOptions) {
    this.#options = options
  }

  async list({ identifier, destination }: SessionFilter, limit: number): Promise<SessionList> {
    const { lists, unanswered } = await this.#everywhere({ identifier, destination, limit })
    const sessions = lists.flatMap(({ instance, list }) => list.sessions.map((session) => statusOf(session, instance)))
    return { sessions: sessions.slice(0, limit), total: totalOf(lists), unanswered }
  }

  async summary(): Promise<SessionSummary> {
    const { lists, unanswered } = await this.#everywhere({ limit: 0 })
    const counts = lists.flatMap(({ instance, list }) =>
      list.groups.map(({ protocol, destination, sessions, bytesIn, bytesOut }) => ({
        instance,
        protocol,
        destination,
        sessions,
        bytes_in: bytesIn,
        bytes_out: bytesOut,
      })),
    )
    return { total: totalOf(lists), counts, unanswered }
  }

  drain(destination: string, over: number): Promise<Drained> {
    const { fleet, deadline } = this.#options
    return fleet.ask({ type: 'drain', destination, over }, deadline)
  }

  async setState(destination: string, state: 'up' | 'drain' | 'down', over: number): Promise<Drained | undefined> {
    const { fleet, deadline, declared } = this.#options
    return declared(destination) ? fleet.ask({ type: 'state', destination, state, over }, deadline) : undefined
  }

  /** For a peer that asks, and for ourselves. */
  async here(query: SessionsQuery): Promise<InstanceSessions> {
    const { fleet, redact } = this.#options
    return listSessions(await fleet.ask({ type: 'members' }, ASK_MS), query, redact, ASK_MS)
  }

  async #everywhere(query: SessionsQuery): Promise<Answers> {
    const { fleet, instance, deadline } = this.#options
    const [list, peers] = await Promise.all([this.here(query), fleet.ask({ type: 'peer-sessions', query }, deadline)])
    return { lists: [{ instance, list }, ...peers.answers], unanswered: peers.unanswered }
  }
}

function statusOf(session: InstanceSessions['sessions'][number], instance: string): SessionStatus {
  const { account, protocol, destination, client, since, bytesIn, bytesOut, worker } = session
  return {
    account: account === '' ? null : account,
    protocol,
    destination,
    client,
    since: new Date(since).toISOString(),
    bytes_in: bytesIn,
    bytes_out: bytesOut,
    instance,
    worker,
  }
}

function totalOf(lists: Answers['lists']): number {
  return lists.reduce((total, { list }) => total + list.groups.reduce((sum, { sessions }) => sum + sessions, 0), 0)
}
