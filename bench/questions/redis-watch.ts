/** One question: how long after a `SET` by somebody else is a route not served stale any more? */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Redis } from 'ioredis'
import { freePort } from '../../test/support/ports.ts'
import { answerWith } from '../backend/http-session.ts'
import { HttpAsker } from '../load/http-asker.ts'
import { Management } from '../management.ts'
import type { Bench, Figures, Question, Subject } from '../question.ts'
import { startRedis } from '../redis.ts'
import { Stage } from '../stage.ts'
import { quantile } from '../statistics.ts'
import { signalbox } from '../subjects/signalbox.ts'
import { VoidTimes } from '../void-times.ts'

const OURS = 'SET until void in every worker'
const OUTSIDE = 'SET until seen from outside'
const PUSH = 'bare: until Redis tells a client'
const ASKING = 'asking alone: a cached route'
const CHANGES = 200
const ROUNDS = 5
const PREFIX = 'route:'
const PROBE = join(import.meta.dirname, '..', 'void-probe.ts')
const PUSHED = '__redis__:invalidate'
/** Bytes of an answer: they tell who gave it. */
const BODY = { old: 100, new: 200 }
const FIRST = 'first@example.com'
const UNCHANGED = 'unchanged@example.com'
const FOREVER_MS = 10_000

const question: Question = {
  title: 'How long after a SET by somebody else is a route not served stale any more?',
  method: `One instance with a worker per core, at least two, with Redis as source and its watch on. Every worker has the account's route cached (counted); then another client sets its key. From before the SET is written until the last worker has made the route void, by the system's clock, read in that worker (bench/void-probe.ts): SET, Redis's push to the primary, its word to the workers; each is asked afterwards, and must serve the new server. Seen from outside (not in a quick run): each worker is asked over a kept HTTP connection, one request after the other, until its first answer of the new server has been read; that adds a lookup in Redis and one or two requests, whose price alone stands beside it. Bare: from the SET until a client with CLIENT TRACKING has been told.`,
  figures: {
    median: { label: 'median', unit: 'ms', better: 'less', chart: true },
    p99: { label: '99th percentile', unit: 'ms', better: 'less' },
    stale: { label: 'last stale answer read, median', unit: 'ms', better: 'less' },
  },
  goals: [
    { kind: 'goal', subject: OURS, figure: 'median', most: 2 },
    { kind: 'goal', subject: OURS, figure: 'p99', most: 10 },
  ],
  takes: { full: 26, quick: 5 },
  async run(bench) {
    const url = await startRedis(bench, OURS)
    if (url === undefined) return
    const client = new Redis(url, { protocol: 2 })
    bench.use({ [Symbol.asyncDispose]: async () => client.disconnect() })
    const changes = bench.quick ? CHANGES / 4 : CHANGES
    // Before anybody watches: what has just changed is not cached at once.
    const rounds = Math.min(ROUNDS, bench.rounds)
    const mappings = Array.from({ length: 2 * changes * (rounds + 1) }, (_, n) => [PREFIX + account(n), 'old'])
    for (const user of [FIRST, UNCHANGED]) mappings.push([PREFIX + user, 'old'])
    await client.mset(mappings.flat())
    const workers = Math.max(2, bench.cores)
    const voids = bench.use(await VoidTimes.listen(workers))
    const askers = await open(bench, { url, workers, probe: voids.port })
    let changed = 0
    const ours = async (): Promise<Figures> => {
      const accounts = Array.from({ length: changes }, () => account(changed++))
      await askers.cache(accounts)
      const times: number[] = []
      for (const user of accounts) {
        const last = voids.of(user)
        const start = process.hrtime.bigint()
        const set = client.set(PREFIX + user, 'new')
        times.push(Number((await last) - start) / 1e6)
        await set
      }
      // And so it is: whoever asks now, is served the new one.
      await askers.stayNew(accounts)
      return figuresOf(times)
    }
    const outside = async (): Promise<Figures> => {
      const accounts = Array.from({ length: changes }, () => account(changed++))
      await askers.cache(accounts)
      const stale: number[] = []
      const times = await timed(accounts, async (user) => {
        const start = performance.now()
        const set = client.set(PREFIX + user, 'new')
        stale.push((await askers.untilNew(user)) - start)
        await set
      })
      await askers.stayNew(accounts)
      return { ...times, stale: quantile(stale, 0.5) }
    }
    await askers.cache([UNCHANGED])
    const push = await tracked(bench, url, client)
    const seen = [
      subject(OUTSIDE, outside),
      subject(ASKING, () => timed(Array.from({ length: changes }, () => UNCHANGED), (user) => askers.all(user))),
    ]
    const bare = subject(PUSH, () => timed(Array.from({ length: changes }, (_, n) => `bare:${n}`), push))
    await bench.compare([subject(OURS, ours), bare, ...(bench.quick ? [] : seen)], { rounds })
  },
}

function account(n: number): string {
  return `user${n}@example.com`
}

/** A connection to each worker of an instance that serves two servers. */
class Askers {
  readonly #askers: readonly HttpAsker[]
  readonly #management: Management

  constructor(askers: readonly HttpAsker[], management: Management) {
    this.#askers = askers
    this.#management = management
  }

  /** Every worker then has the route of every account; throws unless each has looked it up, and found it in its cache next time. */
  async cache(accounts: readonly string[]): Promise<void> {
    const wanted = accounts.length * this.#askers.length
    for (const counter of ['cache_misses', 'cache_hits']) {
      const before = await counted(this.#management, counter)
      for (const user of accounts) {
        // In turn: two that asked one worker at once would both miss, and look like two workers.
        for (const asker of this.#askers) {
          if ((await asker.ask(user)) !== BODY.old) throw new Error(`${user} is not where it was put`)
        }
      }
      const more = (await counted(this.#management, counter)) - before
      if (more !== wanted) throw new Error(`${more} ${counter} instead of ${wanted}: not every worker has been asked`)
    }
  }

  all(user: string): Promise<number[]> {
    return Promise.all(this.#askers.map((asker) => asker.ask(user)))
  }

  /** Resolves when every worker gives the new server's answer; with the time when the last of the old one's was read, or of the call. */
  async untilNew(user: string): Promise<number> {
    const start = performance.now()
    let last = start
    const until = async (asker: HttpAsker): Promise<void> => {
      while ((await asker.ask(user)) !== BODY.new) {
        last = performance.now()
        if (last > start + FOREVER_MS) throw new Error(`${user} is served stale for ever`)
      }
    }
    await Promise.all(this.#askers.map(until))
    return last
  }

  /** Whoever has served the new server once does not go back. */
  async stayNew(accounts: readonly string[]): Promise<void> {
    for (const user of accounts) {
      if ((await this.all(user)).some((length) => length !== BODY.new)) throw new Error(`${user} is served stale again`)
    }
  }
}

async function counted(management: Management, counter: string): Promise<number> {
  const stats: Record<string, unknown> = JSON.parse(await management.ask('GET', '/stats'))
  return Number(stats[counter])
}

async function open(bench: Bench, { url, workers, probe }: { readonly url: string; readonly workers: number; readonly probe: number }): Promise<Askers> {
  const proxyArguments = [...bench.proxyArguments, '--import', `${pathToFileURL(PROBE).href}?port=${probe}`]
  const stage = await Stage.open(bench, { legs: 'plain', protocol: 'http' })
  const destination = { old: await server(bench, BODY.old), new: await server(bench, BODY.new) }
  const token = randomBytes(24).toString('hex')
  const port = await freePort()
  const kind = signalbox('primary', 'Signalbox', {
    mapping: { source: 'redis', redis: { url, key_prefix: PREFIX, watch: true } },
    destination,
    routing: { default_destination: 'old' },
    admin: { bind: `127.0.0.1:${port}`, bearer_token: token },
  })
  const proxy = await stage.launch(kind, { workers, proxyArguments })
  const management = bench.use(new Management(port, token))
  const end = performance.now() + FOREVER_MS
  while ((await counted(management, 'workers').catch(() => 0)) < workers) {
    if (performance.now() > end) throw new Error('not every worker starts')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const askers: HttpAsker[] = []
  // One after the other: each goes to the worker that has the fewest connections.
  for (let n = 0; n < workers; n++) {
    const asker = bench.use(await HttpAsker.connect(proxy.port))
    await asker.ask(FIRST)
    askers.push(asker)
  }
  return new Askers(askers, management)
}

/** A server within this process, as a table of the configuration. */
async function server(bench: Bench, bodySize: number): Promise<object> {
  const listening = createServer({ noDelay: true }, answerWith(bodySize)).listen(0, '127.0.0.1')
  await once(listening, 'listening')
  bench.use({ [Symbol.asyncDispose]: async () => void listening.close() })
  const { port } = listening.address() as AddressInfo
  return { host: '127.0.0.1', forwarding: 'none', allow_plaintext_auth: true, protocol: { http: { port, tls: 'plain' } } }
}

/** Sets a key and waits until Redis has told another client of it. */
async function tracked(bench: Bench, url: string, client: Redis): Promise<(key: string) => Promise<void>> {
  const [subscriber, tracker] = [new Redis(url, { protocol: 2 }), new Redis(url, { protocol: 2 })]
  bench.use({
    async [Symbol.asyncDispose]() {
      subscriber.disconnect()
      tracker.disconnect()
    },
  })
  const id = await subscriber.client('ID')
  await subscriber.subscribe(PUSHED)
  await tracker.call('CLIENT', 'TRACKING', 'ON', 'REDIRECT', String(id), 'BCAST', 'PREFIX', 'bare:')
  return async (key) => {
    const told = once(subscriber, 'messageBuffer')
    await client.set(key, 'new')
    await told
  }
}

/** Milliseconds of each, one after the other. */
async function timed(names: readonly string[], one: (name: string) => Promise<unknown>): Promise<Figures> {
  const times: number[] = []
  for (const name of names) {
    const start = performance.now()
    await one(name)
    times.push(performance.now() - start)
  }
  return figuresOf(times)
}

function figuresOf(times: readonly number[]): Figures {
  return { median: quantile(times, 0.5), p99: quantile(times, 0.99) }
}

function subject(name: string, round: () => Promise<Figures>): Subject {
  return { name, warm: async () => void (await round()), round }
}

export default question
