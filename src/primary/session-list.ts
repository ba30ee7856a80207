/** The bridged sessions of this instance, gathered from its workers, as they may be shown: accounts redacted as in the log. */
import type { InstanceSessions, SessionsQuery } from '../bus/payload.ts'
import { SESSIONS_LISTED } from '../limits.ts'
import type { Redactor } from '../observe/redaction.ts'
import type { Member } from './fleet.ts'

/** The account of a session that named none. */
const NO_ACCOUNT = ''

/** @param deadline milliseconds; a worker that doesn't answer by then is left out, it is being replaced */
export async function listSessions(
  members: readonly Member[],
  { identifier, destination, limit }: SessionsQuery,
  redact: Redactor,
  deadline: number,
): Promise<InstanceSessions> {
  const answers = await Promise.all(
    members.map(async ({ worker, sessions }) => {
      const list = await sessions.ask({ type: 'list', identifier, destination, limit }, deadline).catch(() => undefined)
      return list === undefined ? undefined : { worker, ...list }
    }),
  )
  const groups = new Map<string, { protocol: string; destination: string; sessions: number; bytesIn: number; bytesOut: number }>()
  const sessions: InstanceSessions['sessions'][number][] = []
  for (const answer of answers) {
    if (answer === undefined) continue
    for (const { protocol, destination: name, ...counted } of answer.groups) {
      const key = `${protocol} ${name}`
      const group = groups.get(key) ?? { protocol, destination: name, sessions: 0, bytesIn: 0, bytesOut: 0 }
      group.sessions += counted.sessions
      group.bytesIn += counted.bytesIn
      group.bytesOut += counted.bytesOut
      groups.set(key, group)
    }
    for (const { account, ...session } of answer.sessions) {
      if (sessions.length >= Math.min(limit, SESSIONS_LISTED)) break
      // Who asks for an account knows its name.
      const shown = account === undefined ? NO_ACCOUNT : identifier === undefined ? redact(account) : account
      sessions.push({ ...session, account: shown, worker: answer.worker })
    }
  }
  return { groups: [...groups.values()], sessions }
}
