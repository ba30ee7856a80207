/** One question: how does the cost grow with the number of accounts? */
import { loginSubject } from '../login.ts'
import { treePss } from '../process-tree.ts'
import type { Bench, Question } from '../question.ts'
import { Stage } from '../stage.ts'
import { signalbox } from '../subjects/signalbox.ts'

const COUNTS = [1_000, 100_000, 1_000_000, 10_000_000]
const CONCURRENCY = 64
const ROUNDS = 2
/** Until what is done after the start (putting a file into order) has been done. */
const SETTLE_MS = 2_000

async function run(bench: Bench): Promise<void> {
  const stage = await Stage.open(bench, { legs: 'plain' })
  for (const accounts of COUNTS) {
    const name = `${accounts.toLocaleString('en-US')} accounts`
    bench.doing(`starting with ${name}`)
    const proxy = await stage.launch(signalbox('kernel', name), { accounts })
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
    const memory = treePss([proxy.pid]) / 1_024
    const logins = loginSubject(bench, stage, proxy, { concurrency: CONCURRENCY, resume: false, warmth: 0, ms: bench.roundMs })
    await logins.warm?.()
    for (let round = 0; round < Math.min(ROUNDS, bench.rounds); round++) {
      bench.doing(`round ${round + 1}: ${name}`)
      const { cpu = Number.NaN } = await logins.round(round)
      bench.record(name, { cpu, memory })
    }
    await proxy[Symbol.asyncDispose]()
  }
}

const question: Question = {
  title: 'How does the cost grow with the number of accounts?',
  method: `A mapping file of so many lines in order; logins without TLS of 2,000 accounts, ${CONCURRENCY} in flight, whose routes are cached. Memory is that of all processes once the file is loaded, before the first login.`,
  figures: {
    cpu: { label: 'CPU per session', unit: 'µs', better: 'less' },
    memory: { label: 'memory of all processes', unit: 'MB', better: 'less', chart: true },
  },
  goals: [],
  takes: { full: 56, quick: 0 },
  run,
}

export default question
