/** One question: what does the proxy do while 5,000 sessions say nothing? */
import { TreeSample } from '../process-tree.ts'
import type { Bench, Question, Subject } from '../question.ts'
import { Stage } from '../stage.ts'
import { dovecot } from '../subjects/dovecot.ts'
import { floor } from '../subjects/floor.ts'
import type { Proxy } from '../subjects/proxy.ts'
import { signalbox } from '../subjects/signalbox.ts'

const SESSIONS = 5_000
const QUICK_SESSIONS = 1_000
const OPENING = 64
const WATCH_MS = 2_500
const QUICK_WATCH_MS = 1_500
/** Each is an average over seconds already. */
const ROUNDS = 2
/** Until the logins' last work is done. */
const SETTLE_MS = 2_000

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function run(bench: Bench): Promise<void> {
  const stage = await Stage.open(bench, { legs: 'plain' })
  const sessions = bench.quick ? QUICK_SESSIONS : SESSIONS
  const subject = (proxy: Proxy): Subject => {
    return {
      name: proxy.name,
      peer: proxy.peer,
      async warm() {
        await stage.measure(proxy, { type: 'hold', target: stage.target(proxy.port), concurrency: OPENING, sessions })
        await sleep(SETTLE_MS)
      },
      async round() {
        const before = TreeSample.of([proxy.pid])
        await sleep(bench.quick ? QUICK_WATCH_MS : WATCH_MS)
        return { background: TreeSample.of([proxy.pid]).since(before).cores * 100 }
      },
    }
  }
  const own = [floor('kernel'), signalbox('kernel', 'Signalbox')]
  const proxies = await stage.startAll(bench.quick ? own : [...own, dovecot])
  await bench.compare(proxies.map(subject), { rounds: Math.min(ROUNDS, bench.rounds) })
  await stage.release()
}

const question: Question = {
  title: 'What does the proxy do while 5,000 sessions say nothing?',
  method: `Processor time over ${WATCH_MS / 1_000} seconds with ${SESSIONS.toLocaleString('en-US')} sessions logged in (quick: ${QUICK_SESSIONS.toLocaleString('en-US')}), all processes together. It includes heartbeats, counts, the route audit and the runtime's own.`,
  figures: { background: { label: 'background work', unit: '% of a core', better: 'less' } },
  goals: [{ kind: 'goal', subject: 'Signalbox', figure: 'background', most: 0.2 }],
  takes: { full: 34, quick: 13 },
  run,
}

export default question
