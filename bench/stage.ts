/**
 * The setting of a question about proxies: certificates, the stub backend, the load generator, and the proxies that are
 * compared, all up at once and measured in turn. What is missing on this machine is named and left out.
 */
import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../test/support/ports.ts'
import { Backend } from './backend/backend.ts'
import { makeCredentials } from './credentials.ts'
import type { Credentials } from './credentials.ts'
import { Crew } from './load/crew.ts'
import type { Job, Outcome, Target } from './load/job.ts'
import { TreeSample } from './process-tree.ts'
import type { TreeCost } from './process-tree.ts'
import type { Bench } from './question.ts'
import { Unavailable } from './subjects/proxy.ts'
import type { Legs, Proxy, ProxyKind } from './subjects/proxy.ts'

/** In the mapping of every proxy. */
export const ACCOUNTS = 20_000
/** Accounts that log in: few enough that all routes are cached after the warm-up. */
const USERS = 2_000
/** Until what follows a session's end has been done: log lines, counts. */
const SETTLE_MS = 100

export interface Measured {
  readonly outcome: Outcome
  readonly cost: TreeCost
}

export interface StageOptions {
  readonly legs: Legs
  readonly protocol?: 'imap' | 'http'
}

export interface LaunchOptions {
  readonly workers?: number
  readonly accounts?: number
  /** In place of the run's own. */
  readonly proxyArguments?: readonly string[]
}

export class Stage {
  readonly backend: Backend
  readonly credentials: Credentials
  readonly crew: Crew
  readonly #bench: Bench
  readonly #options: Required<StageOptions>
  #proxies = 0

  private constructor(bench: Bench, options: Required<StageOptions>, parts: { backend: Backend; credentials: Credentials; crew: Crew }) {
    this.#bench = bench
    this.#options = options
    this.backend = parts.backend
    this.credentials = parts.credentials
    this.crew = parts.crew
  }

  static async open(bench: Bench, { legs, protocol = 'imap' }: StageOptions): Promise<Stage> {
    const credentials = await makeCredentials(bench.directory)
    const backend = bench.use(await Backend.start(credentials))
    const crew = bench.use(new Crew(Math.min(2, bench.cores)))
    return new Stage(bench, { legs, protocol }, { backend, credentials, crew })
  }

  /** Starts a proxy, which ends with the question unless the caller ends it; undefined: it is missing, and that is noted. */
  async start(kind: ProxyKind): Promise<Proxy | undefined> {
    try {
      return await this.launch(kind)
    } catch (error) {
      if (!(error instanceof Unavailable || kind.peer === true)) throw error
      this.#bench.missing(kind.name, error instanceof Error ? error.message : String(error))
      return undefined
    }
  }

  /** Several at once, in the given order; those that are missing are left out. Beside an earlier state of the project there is nobody else. */
  async startAll(kinds: readonly ProxyKind[]): Promise<Proxy[]> {
    this.#bench.doing('starting')
    const { against, peers } = this.#bench
    const wanted =
      against === undefined
        ? kinds.filter(({ peer }) => peers || peer !== true)
        : kinds.flatMap((kind) => (kind.earlier === undefined ? [] : [kind, kind.earlier(against)]))
    const proxies = await Promise.all(wanted.map((kind) => this.start(kind)))
    return proxies.filter((proxy) => proxy !== undefined)
  }

  /** As `start`; throws when it is missing. */
  async launch(kind: ProxyKind, options: LaunchOptions = {}): Promise<Proxy> {
    const { workers = this.#bench.cores, accounts = ACCOUNTS, proxyArguments = this.#bench.proxyArguments } = options
    const { legs, protocol } = this.#options
    const directory = join(this.#bench.directory, `proxy-${++this.#proxies}`)
    await mkdir(directory)
    await chmod(directory, 0o755)
    const { ports } = this.backend
    const proxy = await kind.start({
      legs,
      protocol,
      port: await freePort(),
      ...(legs === 'plain' ? {} : { plainPort: await freePort() }),
      backendPort: protocol === 'http' ? ports.http : legs === 'both' ? ports.imaps : ports.imap,
      credentials: this.credentials,
      directory,
      workers,
      accounts,
      proxyArguments,
    })
    return this.#bench.use(proxy)
  }

  /** Where the load goes. */
  target(port: number, resume = false): Target {
    return { port, tls: this.#options.legs !== 'plain', resume, users: USERS }
  }

  /** A job straight to the backend, without any proxy: what load and backend can do by themselves on this machine. */
  async straight(job: Extract<Job, { target: Target }>): Promise<Outcome> {
    const { imap, imaps, http } = this.backend.ports
    const port = this.#options.protocol === 'http' ? http : this.#options.legs === 'plain' ? imap : imaps
    return this.crew.run({ ...job, target: { ...job.target, port } })
  }

  /** Runs a job against a proxy; what its processes used meanwhile is its cost. Throws when a session failed. */
  async measure(proxy: Proxy, job: Job): Promise<Measured> {
    const before = TreeSample.of([proxy.pid])
    const outcome = await this.crew.run(job)
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
    const cost = TreeSample.of([proxy.pid]).since(before)
    check(outcome)
    return { outcome, cost }
  }

  /** Closes what is held. Throws when some of it had ended by itself. */
  async release(): Promise<void> {
    check(await this.crew.run({ type: 'release' }))
  }
}

/** Figures of a proxy that turns sessions away, or loses them, would flatter it. */
function check({ done, failed: byCause }: Outcome): void {
  const failures = Object.entries(byCause)
  const failed = failures.reduce((sum, [, count]) => sum + count, 0)
  if (failed > done / 1_000) {
    throw new Error(`${failed} of ${failed + done} failed: ${failures.map(([what, count]) => `${what} ×${count}`).join(', ')}`)
  }
}
