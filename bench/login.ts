/**
 * What the questions about logins share: the subjects, a round (sessions of greeting, LOGIN, OK, LOGOUT, close, so many
 * in flight, for a while) and its figures.
 */
import type { Bench, FigureKind, Goal, Subject } from './question.ts'
import { costFigures, speedFigures } from './round-figures.ts'
import { Stage } from './stage.ts'
import { dovecot } from './subjects/dovecot.ts'
import { floor } from './subjects/floor.ts'
import { haproxy } from './subjects/haproxy.ts'
import { nginxMail } from './subjects/nginx.ts'
import { perdition } from './subjects/perdition.ts'
import type { Legs, Proxy, ProxyKind } from './subjects/proxy.ts'
import { signalbox } from './subjects/signalbox.ts'
import { warmed } from './warm.ts'

export const LOGIN_FIGURES: Readonly<Record<string, FigureKind>> = {
  cpu: { label: 'CPU per session', unit: 'µs', better: 'less' },
  rate: { label: 'sessions a second', unit: '/s', better: 'more' },
  latency: { label: 'login OK after, median', unit: 'ms', better: 'less' },
  late: { label: '99th percentile', unit: 'ms', better: 'less' },
  cores: { label: 'cores used', unit: '', better: 'less' },
  wanted: { label: 'cores wanted', unit: '', better: 'less' },
}

/** Both musts: within 1.15 of the floor that accepts in the same way. */
export const LOGIN_MUSTS: readonly Goal[] = [
  { kind: 'must', subject: 'Signalbox, kernel', figure: 'cpu', of: 'floor, kernel', most: 1.15 },
  { kind: 'must', subject: 'Signalbox, primary', figure: 'cpu', of: 'floor, round robin', most: 1.15 },
]

/** Side by side: those that are compared most closely. */
const KINDS: readonly ProxyKind[] = [
  floor('kernel'),
  signalbox('kernel'),
  nginxMail,
  signalbox('primary'),
  floor('round-robin'),
  dovecot,
  haproxy,
  perdition,
]

export interface LoginOptions {
  readonly legs: Legs
  readonly concurrency: number
  readonly resume?: boolean
}

export async function compareLogins(bench: Bench, { legs, concurrency, resume = false }: LoginOptions): Promise<void> {
  const stage = await Stage.open(bench, { legs })
  const proxies = await stage.startAll(KINDS.filter((kind) => !isLeftOut(kind, { quick: bench.quick, legs, resume })))
  const subjects = proxies.map((proxy) => loginSubject(bench, stage, proxy, { concurrency, resume }))
  await bench.compare([...subjects, straight(bench, stage, { concurrency, resume })])
}

/**
 * Time is short: perdition, the dearest by far, is asked about plain and fresh TLS logins alone, and a quick run does
 * without whom no goal is about.
 */
function isLeftOut(kind: ProxyKind, { quick, legs, resume }: { readonly quick: boolean; readonly legs: Legs; readonly resume: boolean }): boolean {
  if (kind === perdition) return quick || legs === 'both' || resume
  return kind === haproxy && quick && legs !== 'both'
}

/** What load and backend reach without a proxy: well above the proxies, or it is they who are measured. */
function straight(bench: Bench, stage: Stage, { concurrency, resume }: LoadOptions): Subject {
  return {
    name: 'no proxy',
    async round() {
      const outcome = await stage.straight({ type: 'login', target: stage.target(0, resume), concurrency, ms: bench.roundMs })
      return speedFigures(outcome)
    },
  }
}

interface LoadOptions {
  readonly concurrency: number
  readonly resume: boolean
}

export function loginSubject(bench: Bench, stage: Stage, proxy: Proxy, { concurrency, resume }: LoadOptions): Subject {
  const job = (ms: number) => ({ type: 'login', target: stage.target(proxy.port, resume), concurrency, ms }) as const
  return {
    name: proxy.name,
    peer: proxy.peer,
    async warm() {
      await warmed(bench, async () => {
        const { outcome, cost } = await stage.measure(proxy, job(bench.roundMs))
        return cost.cpuSeconds / outcome.done
      })
    },
    async round() {
      const measured = await stage.measure(proxy, job(bench.roundMs))
      const { resumed, done } = measured.outcome
      return {
        ...costFigures(measured),
        ...(resume ? { resumed: (resumed / done) * 100 } : {}),
      }
    },
  }
}
