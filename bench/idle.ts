/**
 * What the questions about idle sessions share: a proxy that has just started and served a few logins, its memory before
 * and after so many sessions are logged in and say nothing more.
 */
import { treePss } from './process-tree.ts'
import type { Bench, FigureKind, Goal, Subject } from './question.ts'
import { Stage } from './stage.ts'
import { dovecot } from './subjects/dovecot.ts'
import { floor } from './subjects/floor.ts'
import { haproxy } from './subjects/haproxy.ts'
import { nginxMail } from './subjects/nginx.ts'
import { perdition } from './subjects/perdition.ts'
import type { Legs, ProxyKind } from './subjects/proxy.ts'
import { signalbox } from './subjects/signalbox.ts'

const SESSIONS = 4_000
const QUICK_SESSIONS = 1_600
/** Of one that starts a process per session: enough to divide by. */
const PROCESSES = 200
const OPENING = 64
/** A quarter as many are held before one looks. */
const FIRST = 4
/** Each starts everybody anew: of peers, and with TLS (which takes long), there is one. */
const ROUNDS = 2
const WARM_MS = 1_000
/** Until buffers of the logins have been collected, or would have been. */
const SETTLE_MS = 1_000

export const IDLE_FIGURES: Readonly<Record<string, FigureKind>> = {
  memory: { label: 'memory per idle session', unit: 'KB', better: 'less' },
  atRest: { label: 'memory without sessions', unit: 'MB', better: 'less' },
}

export const IDLE_METHOD = `PSS over all processes before and after ${SESSIONS.toLocaleString('en-US')} logins that are kept (quick: ${QUICK_SESSIONS.toLocaleString('en-US')}; perdition: ${PROCESSES}), each time with a proxy that was started for it, has served logins for a second and holds a quarter as many sessions already. What the kernel keeps for sockets is in nobody's figure.`

export function idleGoals(most: number): readonly Goal[] {
  return [{ kind: 'goal', subject: 'Signalbox', figure: 'memory', most }]
}

const KINDS: readonly ProxyKind[] = [floor('kernel'), signalbox('kernel', 'Signalbox'), haproxy, nginxMail, dovecot, perdition]

export async function compareIdle(bench: Bench, legs: Legs): Promise<void> {
  const stage = await Stage.open(bench, { legs })
  const subjects = KINDS.filter((kind) => kind !== perdition || legs === 'plain').map((kind) => idleSubject(bench, stage, kind))
  const own = subjects.filter(({ peer }) => peer !== true)
  await bench.compare(own, { rounds: Math.min(bench.quick || legs !== 'plain' ? 1 : ROUNDS, bench.rounds) })
  if (bench.peers && !bench.quick) await bench.compare(subjects.filter((subject) => !own.includes(subject)), { rounds: 1 })
}

function idleSubject(bench: Bench, stage: Stage, kind: ProxyKind): Subject {
  const sessions = kind === perdition ? PROCESSES : bench.quick ? QUICK_SESSIONS : SESSIONS
  return {
    name: kind.name,
    peer: kind.peer ?? false,
    async round() {
      const proxy = await stage.launch(kind)
      try {
        const target = stage.target(proxy.port)
        await stage.measure(proxy, { type: 'login', target, concurrency: OPENING, ms: WARM_MS })
        await settle()
        const atRest = treePss([proxy.pid])
        // What grows once (heaps, pools, compiled code) has grown with the first of them.
        await stage.measure(proxy, { type: 'hold', target, concurrency: OPENING, sessions: sessions / FIRST })
        await settle()
        const before = treePss([proxy.pid])
        await stage.measure(proxy, { type: 'hold', target, concurrency: OPENING, sessions })
        await settle()
        const after = treePss([proxy.pid])
        await stage.release()
        return { memory: (after - before) / sessions, atRest: atRest / 1_024 }
      } finally {
        await stage.crew.run({ type: 'release' })
        await proxy[Symbol.asyncDispose]()
      }
    },
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
}
