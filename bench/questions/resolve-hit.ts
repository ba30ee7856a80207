/** One question: what does a cached route cost? */
import { LRUCache } from 'lru-cache'
import { systemClock } from '../../src/clock.ts'
import { startResolver } from '../lookup/resolver.ts'
import type { Bench, Figures, Question, Subject } from '../question.ts'

const FEW = 20_000
const MANY = 1_000_000
const FILL = 10_000
/** Names that are looked up over and over, in no order. */
const NAMES = 4_096
const DEADLINE_MS = 600_000
/** Until the code is compiled as well as it gets. */
const WARM_MS = 1_000

const ours = (accounts: number): string => `resolver, ${accounts} accounts`
const bare = (accounts: number): string => `lru-cache alone, ${accounts} accounts`

const question: Question = {
  title: 'What does a route cost that a worker has cached?',
  method: `${NAMES} names at random out of all that are cached, each a string of its own as a login's name is; whoever asks has read the clock once in his turn of the event loop. By the processor time of the thread. Memory: heap and buffers over all entries, names included. lru-cache: names to small integers, no times, no generations.`,
  figures: {
    rate: { label: 'hits a second on one core', unit: '/s', better: 'more', chart: true },
    bytes: { label: 'memory of an entry', unit: 'B', better: 'less' },
  },
  goals: [
    { kind: 'goal', subject: ours(FEW), figure: 'rate', least: 8_000_000 },
    { kind: 'goal', subject: ours(MANY), figure: 'rate', least: 2_000_000 },
    { kind: 'goal', subject: ours(MANY), figure: 'bytes', most: 220 },
    { kind: 'goal', subject: ours(FEW), figure: 'rate', of: bare(FEW), least: 0.57, text: '8 million a second beside 14' },
    { kind: 'goal', subject: ours(MANY), figure: 'rate', of: bare(MANY), least: 0.91, text: '2 million a second beside 2.2' },
  ],
  takes: { full: 28, quick: 4 },
  async run(bench) {
    for (const accounts of bench.quick ? [FEW] : [FEW, MANY]) {
      const measured = [await resolver(bench, accounts), lru(bench, accounts)]
      await bench.compare(measured)
    }
  },
}

/** Made anew for each entry and each lookup: a string that is the cache's own key would be found faster. */
function name(index: number): string {
  return Buffer.from(`user${index}@example.com`).toString()
}

async function resolver(bench: Bench, accounts: number): Promise<Subject> {
  bench.doing(`filling the resolver with ${accounts} accounts`)
  const before = used()
  const { resolver: routes, actor } = startResolver(accounts, { lookup: () => Promise.resolve('backend'), close: () => Promise.resolve() })
  for (let index = 0; index < accounts; index += FILL) {
    const batch = Array.from({ length: Math.min(FILL, accounts - index) }, (_, more) =>
      actor.ref.ask({ type: 'resolve', identifier: name(index + more) }, DEADLINE_MS),
    )
    await Promise.all(batch)
  }
  const bytes = (used() - before) / accounts
  return subject(bench, ours(accounts), accounts, bytes, (names) => {
    const now = systemClock.now()
    for (const identifier of names) if (routes.cached(identifier, now) === undefined) throw new Error(`${identifier} is not cached`)
  })
}

function lru(bench: Bench, accounts: number): Subject {
  const before = used()
  const cache = new LRUCache<string, number>({ max: accounts })
  for (let index = 0; index < accounts; index++) cache.set(name(index), index & 7)
  const bytes = (used() - before) / accounts
  return subject(bench, bare(accounts), accounts, bytes, (names) => {
    for (const key of names) if (cache.get(key) === undefined) throw new Error(`${key} is not cached`)
  })
}

function subject(bench: Bench, called: string, accounts: number, bytes: number, look: (names: readonly string[]) => void): Subject {
  const names = Array.from({ length: NAMES }, () => name(Math.floor(Math.random() * accounts)))
  const hits = (ms: number): number => {
    let count = 0
    const start = processorMs()
    let spent = 0
    while (spent < ms) {
      look(names)
      count += names.length
      spent = processorMs() - start
    }
    return count / (spent / 1_000)
  }
  return {
    name: called,
    warm: async () => void hits(WARM_MS),
    round: (): Promise<Figures> => Promise.resolve({ rate: hits(bench.roundMs / 2), bytes }),
  }
}

/** Processor time of this thread. */
function processorMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}

/** Bytes that are held, what is garbage collected away first. */
function used(): number {
  const collect = globalThis.gc
  if (collect === undefined) throw new Error('run me with --expose-gc')
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

export default question
