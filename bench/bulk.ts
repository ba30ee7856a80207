/** What the questions about large transfers share: a few sessions that fetch much at once, and processor time per GB. */
import { besideFloor } from './beside-floor.ts'
import type { Bench, FigureKind, Goal, Subject } from './question.ts'
import { Stage } from './stage.ts'
import { dovecot } from './subjects/dovecot.ts'
import { floor } from './subjects/floor.ts'
import { haproxy } from './subjects/haproxy.ts'
import { nginxMail } from './subjects/nginx.ts'
import { perdition } from './subjects/perdition.ts'
import type { Legs, Proxy, ProxyKind } from './subjects/proxy.ts'
import { signalbox } from './subjects/signalbox.ts'

const SESSIONS = 4
const BYTES = 160e6
const QUICK_BYTES = 80e6
const WARM_BYTES = 40e6

export const BULK_FIGURES: Readonly<Record<string, FigureKind>> = {
  cpu: { label: 'CPU per GB', unit: 's', better: 'less' },
  rate: { label: 'throughput', unit: 'MB/s', better: 'more' },
  cores: { label: 'cores used', unit: '', better: 'less' },
  wanted: { label: 'cores wanted', unit: '', better: 'less' },
}

export const BULK_METHOD = `${SESSIONS} sessions that log in and fetch ${BYTES / SESSIONS / 1e6} MB each; a GB is 10⁹ bytes. How connections are handed out plays no part, so one distribution is measured.`

/** @param reached beside the floor */
export function bulkGoals(reached: number): readonly Goal[] {
  return [...besideFloor('Signalbox', 'floor, kernel', reached), { kind: 'goal', subject: 'Signalbox', figure: 'cpu', of: 'HAProxy', most: 1 }]
}

const KINDS: readonly ProxyKind[] = [floor('kernel'), signalbox('kernel', 'Signalbox'), haproxy, nginxMail, dovecot, perdition]

export async function compareBulk(bench: Bench, legs: Legs): Promise<void> {
  const stage = await Stage.open(bench, { legs })
  const proxies = await stage.startAll(KINDS.filter((kind) => !isLeftOut(kind, { quick: bench.quick, legs })))
  const straight: Subject = {
    name: 'no proxy',
    async round() {
      const bytes = bench.quick ? QUICK_BYTES : BYTES
      const outcome = await stage.straight({ type: 'bulk', target: stage.target(0), concurrency: SESSIONS, bytes: bytes / SESSIONS })
      return { rate: outcome.bytes / 1e6 / outcome.seconds }
    },
  }
  await bench.compare([...proxies.map((proxy) => bulkSubject(bench, stage, proxy)), ...(bench.against === undefined ? [straight] : [])])
}

/** Time is short: a quick run does without whom no goal is about, and perdition's TLS finds no common handshake with that of the clients here. */
function isLeftOut(kind: ProxyKind, { quick, legs }: { readonly quick: boolean; readonly legs: Legs }): boolean {
  if (quick && kind.peer === true) return kind !== haproxy
  return kind === perdition && legs !== 'plain'
}

function bulkSubject(bench: Bench, stage: Stage, proxy: Proxy): Subject {
  const job = (bytes: number) => ({ type: 'bulk', target: stage.target(proxy.port), concurrency: SESSIONS, bytes: bytes / SESSIONS }) as const
  return {
    name: proxy.name,
    peer: proxy.peer,
    async warm() {
      await stage.measure(proxy, job(WARM_BYTES))
    },
    async round() {
      const { outcome, cost } = await stage.measure(proxy, job(bench.quick ? QUICK_BYTES : BYTES))
      return { cpu: cost.cpuSeconds / (outcome.bytes / 1e9), rate: outcome.bytes / 1e6 / outcome.seconds, cores: cost.cores, wanted: cost.wanted }
    },
  }
}
