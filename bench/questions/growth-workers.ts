/** One question: how does the cost grow with the number of workers? */
import { loginSubject } from '../login.ts'
import { treePss } from '../process-tree.ts'
import type { Bench, Question, Subject } from '../question.ts'
import { Stage } from '../stage.ts'
import { signalbox } from '../subjects/signalbox.ts'

const CONCURRENCY = 64
const ROUNDS = 2

async function run(bench: Bench): Promise<void> {
  const stage = await Stage.open(bench, { legs: 'plain' })
  const subjects: Subject[] = []
  for (const distribution of ['kernel', 'primary'] as const) {
    // One, two, four … up to the cores that there are.
    for (let workers = 1; workers <= bench.cores; workers *= 2) {
      const name = `${workers} ${workers === 1 ? 'worker' : 'workers'}, ${distribution}`
      bench.doing(`starting ${name}`)
      const proxy = await stage.launch(signalbox(distribution, name), { workers })
      const logins = loginSubject(bench, stage, proxy, { concurrency: CONCURRENCY, resume: false, warmth: 0, ms: bench.roundMs })
      subjects.push({ ...logins, round: async (round) => ({ ...(await logins.round(round)), memory: treePss([proxy.pid]) / 1_024 }) })
    }
  }
  await bench.compare(subjects, { rounds: Math.min(ROUNDS, bench.rounds) })
}

const question: Question = {
  title: 'How does the cost grow with the number of workers?',
  method: `Logins without TLS, ${CONCURRENCY} in flight, over as many workers as there are cores and fewer. Load, backend and proxy share the machine, so throughput says little here.`,
  figures: {
    cpu: { label: 'CPU per session', unit: 'µs', better: 'less' },
    memory: { label: 'memory of all processes', unit: 'MB', better: 'less', chart: true },
    rate: { label: 'sessions a second', unit: '/s', better: 'more' },
    latency: { label: 'connect to login OK, median', unit: 'ms', better: 'less' },
  },
  goals: [],
  takes: { full: 40, quick: 0 },
  run,
}

export default question
