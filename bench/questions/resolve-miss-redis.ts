/** One question: what does a route cost that a worker must ask Redis for? */
import { Redis } from 'ioredis'
import { systemClock } from '../../src/clock.ts'
import { openRedisLookup } from '../../src/mapping/redis/lookup.ts'
import { account, ACCOUNTS } from '../lookup/mail.ts'
import { rate } from '../lookup/rate.ts'
import type { Bench, Figures, Question, Subject } from '../question.ts'
import { startRedis } from '../redis.ts'

const IN_FLIGHT = 256
const ALONE = 4_000
const MANY = 100_000
const CONNECTIONS = 2
const PREFIX = 'route:'
const OURS = 'lookup in Redis'
const BARE = 'bare ioredis GET'

const question: Question = {
  title: 'What does a cache miss cost with Redis?',
  method: `The worker's lookup over ${CONNECTIONS} connections beside ioredis's own GET over as many, against the same server: one at a time for the median, ${IN_FLIGHT} in flight for the rate and the processor time of this process.`,
  figures: {
    cpu: { label: `CPU per lookup, ${IN_FLIGHT} in flight`, unit: 'µs', better: 'less', chart: true },
    median: { label: 'median of one at a time', unit: 'µs', better: 'less' },
    rate: { label: `lookups a second, ${IN_FLIGHT} in flight`, unit: '/s', better: 'more' },
  },
  goals: [
    { kind: 'goal', subject: OURS, figure: 'median', of: BARE, most: 1.3 },
    { kind: 'goal', subject: OURS, figure: 'cpu', of: BARE, most: 1.3 },
  ],
  takes: { full: 25, quick: 6 },
  async run(bench) {
    const url = await startRedis(bench, OURS)
    if (url === undefined) return
    const filling = new Redis(url, { protocol: 2 })
    for (let n = 0; n < ACCOUNTS; n += 10_000) {
      await filling.mset(Array.from({ length: 10_000 }, (_, more) => [PREFIX + account(n + more), 'backend']).flat())
    }
    filling.disconnect()
    const lookup = await openRedisLookup({
      url,
      ca: undefined,
      keyPrefix: PREFIX,
      connections: CONNECTIONS,
      lookupTimeout: 10_000,
      clock: systemClock,
      log: { warn() {}, info() {} },
      redact: (name) => name,
      allowUnavailable: false,
    })
    bench.use({ [Symbol.asyncDispose]: () => lookup.close() })
    const clients = Array.from({ length: CONNECTIONS }, () => new Redis(url, { protocol: 2, enableAutoPipelining: true }))
    bench.use({
      async [Symbol.asyncDispose]() {
        for (const client of clients) client.disconnect()
      },
    })
    let turn = 0
    await bench.compare([
      subject(bench, OURS, (n) => lookup.lookup(account(n))),
      subject(bench, BARE, async (n) => (await clients[turn++ % CONNECTIONS]?.get(PREFIX + account(n))) ?? undefined),
    ])
  },
}

function subject(bench: Bench, name: string, ask: (n: number) => Promise<string | undefined>): Subject {
  let asked = 0
  const one = async (): Promise<void> => {
    if ((await ask(asked++)) !== 'backend') throw new Error(`${name}: no mapping`)
  }
  const many = bench.quick ? MANY / 5 : MANY
  return {
    name,
    warm: async () => void (await rate(IN_FLIGHT, many, one)),
    async round(): Promise<Figures> {
      const alone = await rate(1, bench.quick ? ALONE / 5 : ALONE, one)
      const full = await rate(IN_FLIGHT, many, one)
      return { cpu: full.cpu / many, median: alone.median * 1_000, rate: full.perSecond }
    },
  }
}

export default question
