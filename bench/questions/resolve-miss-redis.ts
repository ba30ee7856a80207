/** One question: what does a route cost that a worker must ask Redis for? */
import { Redis } from 'ioredis'
import { systemClock } from '../../src/clock.ts'
import { openRedisLookup } from '../../src/mapping/redis/lookup.ts'
import { account, ACCOUNTS } from '../lookup/mail.ts'
import { DESTINATION, IN_FLIGHT, MISS_FIGURES, missSubject } from '../lookup/miss.ts'
import type { Question } from '../question.ts'
import { startRedis } from '../redis.ts'

const COUNTS = { alone: 4_000, many: 100_000 }
const CONNECTIONS = 2
const PREFIX = 'route:'
const OURS = 'lookup in Redis'
const BARE = 'bare ioredis GET'

const question: Question = {
  title: 'What does a cache miss cost with Redis?',
  method: `The worker's lookup over ${CONNECTIONS} connections beside ioredis's own GET over as many, against the same server: one at a time for the median, ${IN_FLIGHT} in flight for the rate and the processor time of this process.`,
  figures: MISS_FIGURES,
  goals: [
    { kind: 'goal', subject: OURS, figure: 'median', of: BARE, most: 1.3 },
    { kind: 'goal', subject: OURS, figure: 'cpu', of: BARE, most: 1.3 },
  ],
  takes: { full: 22, quick: 4 },
  async run(bench) {
    const url = await startRedis(bench, OURS)
    if (url === undefined) return
    const filling = new Redis(url, { protocol: 2 })
    for (let n = 0; n < ACCOUNTS; n += 10_000) {
      await filling.mset(Array.from({ length: 10_000 }, (_, more) => [PREFIX + account(n + more), DESTINATION]).flat())
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
      missSubject(bench, { name: OURS, ...COUNTS, ask: (identifier) => lookup.lookup(identifier) }),
      missSubject(bench, { name: BARE, ...COUNTS, ask: async (identifier) => (await clients[turn++ % CONNECTIONS]?.get(PREFIX + identifier)) ?? undefined }),
    ])
  },
}

export default question
