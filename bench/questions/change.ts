/** One question: how long does a change take until it is in force in every worker of two instances? */
import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { freePort } from '../../test/support/ports.ts'
import { Management } from '../management.ts'
import type { Figures, Question, Subject } from '../question.ts'
import { startRedis } from '../redis.ts'
import { Stage } from '../stage.ts'
import { quantile } from '../statistics.ts'
import { signalbox } from '../subjects/signalbox.ts'

const OURS = 'PUT, two instances'
const BARE = 'bare SET'
const CHANGES = 500
const TOGETHER_MS = 30_000

const question: Question = {
  title: 'How long does a change take until it is in force in every worker of two instances?',
  method: `PUT /mappings over one kept connection, one after the other, with Redis as source and bus: answered when Redis has it and every worker of both instances has acknowledged. Bare: SET in the same Redis.`,
  figures: {
    median: { label: 'median', unit: 'ms', better: 'less', chart: true },
    p99: { label: '99th percentile', unit: 'ms', better: 'less' },
  },
  goals: [
    { kind: 'goal', subject: OURS, figure: 'median', most: 3 },
    { kind: 'goal', subject: OURS, figure: 'p99', most: 10 },
  ],
  takes: { full: 16, quick: 7 },
  async run(bench) {
    const url = await startRedis(bench, OURS)
    if (url === undefined) return
    const stage = await Stage.open(bench, { legs: 'plain' })
    const token = randomBytes(24).toString('hex')
    const ports: number[] = []
    for (const instance of ['a', 'b']) {
      const port = await freePort()
      ports.push(port)
      await stage.start(
        signalbox('primary', `instance ${instance}`, {
          mapping: { source: 'redis', redis: { url, key_prefix: 'route:' } },
          cluster: { instance, bus: url },
          admin: { bind: `127.0.0.1:${port}`, bearer_token: token },
        }),
      )
    }
    const management = bench.use(new Management(ports[0] ?? 0, token))
    const client = new Redis(url, { protocol: 2 })
    bench.use({
      async [Symbol.asyncDispose]() {
        client.disconnect()
      },
    })
    const put = (n: number): Promise<string> => management.ask('PUT', `/mappings?identifier=user${n}@example.com&destination=backend`)
    bench.doing('until both know each other')
    const end = performance.now() + TOGETHER_MS
    const everywhere = (answer: string): boolean => answer.includes('"b"') && answer.includes(`"workers":${bench.cores},`)
    while (!everywhere(await put(0).catch(() => ''))) {
      if (performance.now() > end) throw new Error('the instances do not find each other')
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    const changes = bench.quick ? CHANGES / 5 : CHANGES
    await bench.compare([
      subject(OURS, changes, async (n) => {
        const answer = await put(n)
        if (!everywhere(answer)) throw new Error(`not in force everywhere: ${answer}`)
      }),
      subject(BARE, changes, async (n) => void (await client.set(`route:bare${n}@example.com`, 'backend'))),
    ])
  },
}

function subject(name: string, changes: number, change: (n: number) => Promise<void>): Subject {
  let made = 0
  const round = async (): Promise<Figures> => {
    const times: number[] = []
    for (let n = 0; n < changes; n++) {
      const start = performance.now()
      await change(made++)
      times.push(performance.now() - start)
    }
    return { median: quantile(times, 0.5), p99: quantile(times, 0.99) }
  }
  return { name, warm: async () => void (await round()), round }
}

export default question
