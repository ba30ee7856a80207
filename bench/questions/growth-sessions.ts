/** One question: how does the cost grow with the number of sessions? */
import { descriptorLimit, workerCapacity } from '../../src/listener/descriptors.ts'
import { TreeSample, treePss } from '../process-tree.ts'
import type { Bench, Question } from '../question.ts'
import { Stage } from '../stage.ts'
import { signalbox } from '../subjects/signalbox.ts'
import { gone, warmed } from '../warm.ts'

const COUNTS = [100, 1_000, 10_000, 20_000]
const QUICK_COUNTS = [100, 1_000]
const OPENING = 64
const CONCURRENCY = 32
const WATCH_MS = 2_000
/** Descriptors of the generator that hold no session, and logins that are measured beside them. */
const SPARE = 500

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function run(bench: Bench): Promise<void> {
  const limit = descriptorLimit()
  const most = Math.min(limit, bench.cores * workerCapacity(limit)) - SPARE
  const stage = await Stage.open(bench, { legs: 'plain' })
  const counts = new Set((bench.quick ? QUICK_COUNTS : COUNTS).map((count) => Math.min(count, most)))
  if (most < (COUNTS.at(-1) ?? 0)) bench.note(`A process may have ${limit} descriptors here, so ${most} sessions are the most.`)
  const proxy = await stage.launch(signalbox('primary', 'Signalbox'))
  const target = stage.target(proxy.port)
  const logins = { type: 'login', target, concurrency: CONCURRENCY, ms: bench.roundMs } as const
  await warmed(bench, 0, () => gone(stage.measure(proxy, logins)))
  await sleep(WATCH_MS)
  const before = treePss([proxy.pid])
  let held = 0
  for (const count of counts) {
    const name = `${count.toLocaleString('en-US')} sessions`
    bench.doing(`opening ${name}`)
    await stage.measure(proxy, { type: 'hold', target, concurrency: OPENING, sessions: count - held })
    held = count
    await sleep(WATCH_MS)
    const memory = (treePss([proxy.pid]) - before) / count
    bench.doing(`measuring ${name}`)
    const start = TreeSample.of([proxy.pid])
    await sleep(WATCH_MS)
    const background = TreeSample.of([proxy.pid]).since(start).cores * 100
    const { outcome, cost } = await stage.measure(proxy, logins)
    bench.record(name, { cpu: (cost.cpuSeconds * 1e6) / outcome.done, memory, background })
  }
  await stage.release()
}

const question: Question = {
  title: 'How does the cost grow with the number of sessions?',
  method: `One proxy (distribution primary, no TLS) in which more and more sessions stay logged in; beside them ${CONCURRENCY} logins in flight, and ${WATCH_MS / 1_000} seconds in which nothing happens.`,
  figures: {
    cpu: { label: 'CPU of one more session', unit: 'µs', better: 'less' },
    memory: { label: 'memory per idle session', unit: 'KB', better: 'less', chart: true },
    background: { label: 'background work', unit: '% of a core', better: 'less', chart: true },
  },
  goals: [],
  takes: { full: 66, quick: 0 },
  run,
}

export default question
