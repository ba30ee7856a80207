/**
 * What the questions about logins share: the subjects, a round (sessions of greeting, LOGIN, OK, LOGOUT, close, so many
 * in flight, for a while) and its figures.
 */
import { besideFloor } from './beside-floor.ts'
import type { Bench, CompareOptions, FigureKind, Goal, Subject } from './question.ts'
import { costFigures, speedFigures } from './round-figures.ts'
import { Stage } from './stage.ts'
import { dovecot } from './subjects/dovecot.ts'
import { floor } from './subjects/floor.ts'
import { haproxy } from './subjects/haproxy.ts'
import { nginxMail } from './subjects/nginx.ts'
import { perdition } from './subjects/perdition.ts'
import type { Legs, Proxy, ProxyKind } from './subjects/proxy.ts'
import { signalbox } from './subjects/signalbox.ts'
import { COMPILED_AFTER, gone, warmed } from './warm.ts'

export const LOGIN_FIGURES: Readonly<Record<string, FigureKind>> = {
  cpu: { label: 'CPU per session', unit: 'µs', better: 'less' },
  rate: { label: 'sessions a second', unit: '/s', better: 'more' },
  latency: { label: 'login OK after, median', unit: 'ms', better: 'less' },
  late: { label: '99th percentile', unit: 'ms', better: 'less' },
  cores: { label: 'cores used', unit: '', better: 'less' },
  wanted: { label: 'cores wanted', unit: '', better: 'less' },
}

/** Each distribution beside the floor that accepts in the same way; what they have reached. */
export function loginGoals({ kernel, primary: handedOut }: { readonly kernel: number; readonly primary?: number }): Goal[] {
  return [
    ...besideFloor('Signalbox, kernel', 'floor, kernel', kernel),
    ...(handedOut === undefined ? [] : besideFloor('Signalbox, primary', 'floor, round robin', handedOut)),
  ]
}

const primary = signalbox('primary')
const roundRobin = floor('round-robin')

/** Side by side: those that are compared most closely. perdition comes when all is over: the many processes that it leaves behind weigh on whoever is next. */
const KINDS: readonly ProxyKind[] = [
  floor('kernel'),
  signalbox('kernel'),
  nginxMail,
  primary,
  roundRobin,
  dovecot,
  haproxy,
]

/** A round is parted: many short ones tell more than few long ones on a machine whose speed changes by the second. */
const PARTS = 2

export interface LoginOptions {
  readonly legs: Legs
  readonly concurrency: number
  readonly resume?: boolean
}

export async function compareLogins(bench: Bench, { legs, concurrency, resume = false }: LoginOptions): Promise<void> {
  const stage = await Stage.open(bench, { legs })
  // A short round of TLS sessions would mostly be those that were still under way at its end.
  const parts = legs === 'plain' ? PARTS : 1
  const rounds = bench.rounds * parts
  const load = { concurrency, resume, warmth: COMPILED_AFTER * bench.cores, ms: bench.roundMs / parts }
  const compare = async (kinds: readonly ProxyKind[], more: readonly Subject[], options: CompareOptions): Promise<void> => {
    const proxies = await stage.startAll(kinds.filter((kind) => !isLeftOut(kind, { quick: bench.quick, legs, resume })))
    await bench.compare([...proxies.map((proxy) => loginSubject(bench, stage, proxy, load)), ...more], options)
  }
  await compare(KINDS, bench.against === undefined ? [straight(stage, load)] : [], { rounds })
  // Nobody is held against it.
  await compare([perdition], [], { rounds: Math.min(2, bench.rounds) })
}

/**
 * Time is short: perdition, the dearest by far, is asked about plain logins alone, and a quick run does
 * without whom no goal is about.
 */
function isLeftOut(kind: ProxyKind, { quick, legs, resume }: { readonly quick: boolean; readonly legs: Legs; readonly resume: boolean }): boolean {
  // How connections are handed out costs the same whether a session is resumed or not.
  if (resume && (kind === primary || kind === roundRobin)) return true
  if (kind === perdition) return quick || legs !== 'plain'
  return kind === haproxy && quick && legs !== 'both'
}

/** What load and backend reach without a proxy: well above the proxies, or it is they who are measured. */
function straight(stage: Stage, { concurrency, resume, ms }: LoadOptions): Subject {
  return {
    name: 'no proxy',
    async round() {
      const outcome = await stage.straight({ type: 'login', target: stage.target(0, resume), concurrency, ms })
      return speedFigures(outcome)
    },
  }
}

interface LoadOptions {
  readonly concurrency: number
  readonly resume: boolean
  /** Sessions of the warm-up, at least. */
  readonly warmth: number
  /** How long a round takes. */
  readonly ms: number
}

export function loginSubject(bench: Bench, stage: Stage, proxy: Proxy, { concurrency, resume, warmth, ms: roundMs }: LoadOptions): Subject {
  const job = (ms: number) => ({ type: 'login', target: stage.target(proxy.port, resume), concurrency, ms }) as const
  return {
    name: proxy.name,
    peer: proxy.peer,
    async warm() {
      // Without TLS, where there is such a port: what there is to compile is the same, and it takes a third of the time.
      if (!bench.quick && proxy.plainPort !== undefined) {
        const plain = { type: 'login', target: { ...stage.target(proxy.plainPort), tls: false }, concurrency, ms: bench.roundMs } as const
        await warmed(bench, warmth, () => gone(stage.measure(proxy, plain)))
      }
      const least = proxy.peer || proxy.plainPort !== undefined ? 0 : warmth
      await warmed(bench, least, () => gone(stage.measure(proxy, job(bench.roundMs))))
    },
    async round() {
      const measured = await stage.measure(proxy, job(roundMs))
      const { resumed, done } = measured.outcome
      return {
        ...costFigures(measured),
        ...(resume ? { resumed: (resumed / done) * 100 } : {}),
      }
    },
  }
}
