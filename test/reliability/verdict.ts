/**
 * Whether a visit may have gone as it did beside workers that were killed. Forgiven is only what the killed worker had: its sessions, by the number
 * of the worker in the lines of the log, and connections before their login that were there when it died; those are answered by
 * another worker or closed within a second (HANDOVER_DEADLINE_MS and the look over that follows it).
 */
import { HANDOVER_DEADLINE_MS } from '../../src/limits.ts'
import { UNWRITTEN_MS } from '../chaos/causes.ts'
import type { Door } from '../chaos/fleet.ts'
import type { Visit } from '../chaos/visit.ts'
import type { LogLine } from '../support/signalbox.ts'

/** A worker was killed. */
export interface Death {
  readonly member: string
  readonly worker: number
  /** Clock time. */
  readonly at: number
}

/** A visit that is over. */
export interface Visited {
  readonly member: string
  readonly door: Door
  /** Its own, both of them. */
  readonly account: string
  readonly client: string
  readonly result: Visit
}

/** A connection on its way is handed to another worker or closed by then: the deadline, the look over (100 ms), and as much for the way. */
export const LATEST_MS = HANDOVER_DEADLINE_MS + 200
/** What a worker that is dead had sent is read by then. */
const READ_MS = 1_000

/** What was wrong; undefined: nothing. `lines`: the log of its instance. */
export function judgeVisit(visited: Visited, deaths: readonly Death[], lines: readonly LogLine[]): string | undefined {
  const { result } = visited
  if (result.wrong !== undefined) return result.wrong
  const waited = waitedFor(visited, deaths)
  if (waited !== undefined && waited > LATEST_MS) return `${result.outcome}, ${Math.round(waited)} ms after the death of a worker`
  if (result.outcome === 'served') return undefined
  if (result.outcome !== 'cut' && result.outcome !== 'ended') return result.outcome
  const own = lines.filter(({ account, client }) => account === visited.account || client === visited.client)
  const closed = own.find(({ event }) => event === 'session_closed' || event === 'connection_closed')
  // The dead write nothing.
  if (closed !== undefined) return `${result.outcome}, by a worker that says so: ${closed.text}`
  const login = own.find(({ event }) => event === 'login')
  const met = deaths.filter(({ member, at }) => member === visited.member && at <= result.noticed && at >= result.alive - READ_MS)
  if (login !== undefined) return met.some(({ worker }) => worker === login['worker']) ? undefined : `${result.outcome}, and its worker had not died: ${login.text}`
  if (result.arrived !== undefined) {
    const arrived = result.arrived
    return met.some(({ at }) => at - arrived <= UNWRITTEN_MS) ? undefined : `${result.outcome}, in since ${Math.round(result.noticed - arrived)} ms, and no worker says that it had it`
  }
  // On its way to a worker, or in its dialogue before the login: it ended with the worker, or as soon as that was known.
  return met.some(({ at }) => result.noticed - Math.max(at, result.began) <= LATEST_MS) ? undefined : 'ended, and no worker had died'
}

/** How long a connection that had no answer yet when a worker of its instance died went on without one, milliseconds; undefined: it had one, or none died. */
export function waitedFor({ member, result }: Visited, deaths: readonly Death[]): number | undefined {
  const { began, answered = result.noticed } = result
  const waits = deaths.filter((death) => death.member === member && death.at >= began && death.at <= answered).map(({ at }) => answered - at)
  return waits.length === 0 ? undefined : Math.max(...waits)
}
