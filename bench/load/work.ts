/**
 * The jobs of a generator thread. Each keeps so many sessions in flight, begins the next where one ends, and answers
 * when the last one is over. A failed session is counted by what went wrong; too many end the job.
 */
import { HttpClient } from './http-client.ts'
import { ImapClient } from './imap-client.ts'
import type { Slot } from './imap-client.ts'
import type { Job, Outcome } from './job.ts'

const TOO_MANY_FAILURES = 200
const LATENCIES_KEPT = 50_000

type Of<T extends Job['type']> = Extract<Job, { type: T }>

export class Work {
  /** The first account of this thread: threads begin apart from one another. */
  #user: number
  #held: ImapClient[] = []
  /** Held sessions that ended by themselves. */
  #lost = 0

  constructor(thread: number) {
    this.#user = thread * 1_009
  }

  run(job: Job): Promise<Outcome> {
    switch (job.type) {
      case 'login':
        return this.#login(job)
      case 'hold':
        return this.#hold(job)
      case 'release':
        return this.#release()
      case 'bulk':
        return this.#bulk(job)
      case 'http':
        return this.#http(job)
    }
  }

  #login({ target, concurrency, ms }: Of<'login'>): Promise<Outcome> {
    const tally = new Tally()
    const end = performance.now() + ms
    let running = 0
    return new Promise((resolve) => {
      const begin = (slot: Slot): void => {
        const started = performance.now()
        running++
        const client = new ImapClient(target, this.#user++, slot, {
          loggedIn: () => {
            tally.took(performance.now() - started)
            return 'logout'
          },
          over: (failure) => {
            running--
            tally.over(failure, client.resumed)
            if (performance.now() < end && tally.failures < TOO_MANY_FAILURES) begin(slot)
            else if (running === 0) resolve(tally.outcome())
          },
        })
      }
      for (let index = 0; index < concurrency; index++) begin({ session: undefined })
    })
  }

  #hold({ target, concurrency, sessions }: Of<'hold'>): Promise<Outcome> {
    const tally = new Tally()
    return new Promise((resolve) => {
      let begun = 0
      let settled = 0
      const next = (): void => {
        settled++
        if (begun < sessions && tally.failures < TOO_MANY_FAILURES) begin()
        else if (settled === begun) resolve(tally.outcome())
      }
      const begin = (): void => {
        const started = performance.now()
        let up = false
        begun++
        const client = new ImapClient(target, this.#user++, { session: undefined }, {
          loggedIn: () => {
            tally.took(performance.now() - started)
            tally.over(undefined, false)
            up = true
            next()
            return 'keep'
          },
          over: (failure) => {
            const left = this.#held.filter((other) => other !== client)
            if (up && left.length < this.#held.length) this.#lost++
            this.#held = left
            if (up) return
            tally.over(failure ?? 'ended', false)
            next()
          },
        })
        this.#held.push(client)
      }
      for (let index = 0; index < Math.min(concurrency, sessions); index++) begin()
      if (sessions === 0) resolve(tally.outcome())
    })
  }

  #release(): Promise<Outcome> {
    const tally = new Tally()
    const held = this.#held
    this.#held = []
    for (const client of held) {
      client.drop()
      tally.over(undefined, false)
    }
    for (; this.#lost > 0; this.#lost--) tally.over('ended while it was held', false)
    return Promise.resolve(tally.outcome())
  }

  #bulk({ target, concurrency, bytes }: Of<'bulk'>): Promise<Outcome> {
    const tally = new Tally()
    return new Promise((resolve) => {
      let left = concurrency
      for (let index = 0; index < concurrency; index++) {
        const client = new ImapClient(target, this.#user++, { session: undefined }, {
          loggedIn: () => ({ fetch: bytes }),
          fetched: () => {
            tally.bytes += bytes
            client.logout()
          },
          over: (failure) => {
            tally.over(failure, false)
            if (--left === 0) resolve(tally.outcome())
          },
        })
      }
    })
  }

  #http({ target, concurrency, ms }: Of<'http'>): Promise<Outcome> {
    const tally = new Tally()
    const end = performance.now() + ms
    let running = concurrency
    return new Promise((resolve) => {
      for (let index = 0; index < concurrency; index++) {
        let asked = performance.now()
        new HttpClient(target.port, `user${this.#user++ % target.users}@example.com`, {
          answered: () => {
            const now = performance.now()
            tally.took(now - asked)
            tally.over(undefined, false)
            asked = now
            return now < end
          },
          over: (failure) => {
            if (failure !== undefined) tally.over(failure, false)
            if (--running === 0) resolve(tally.outcome())
          },
        })
      }
    })
  }
}

class Tally {
  bytes = 0
  failures = 0
  #done = 0
  #resumed = 0
  readonly #failed: Record<string, number> = {}
  readonly #latencies: number[] = []
  readonly #start = performance.now()
  readonly #cpu = process.threadCpuUsage()

  took(ms: number): void {
    if (this.#latencies.length < LATENCIES_KEPT) this.#latencies.push(Math.round(ms * 1_000))
  }

  over(failure: string | undefined, resumed: boolean): void {
    if (failure === undefined) this.#done++
    else {
      this.failures++
      this.#failed[failure] = (this.#failed[failure] ?? 0) + 1
    }
    if (resumed) this.#resumed++
  }

  outcome(): Outcome {
    const { user, system } = process.threadCpuUsage(this.#cpu)
    return {
      done: this.#done,
      failed: this.#failed,
      bytes: this.bytes,
      resumed: this.#resumed,
      seconds: (performance.now() - this.#start) / 1_000,
      latencies: this.#latencies,
      cpuSeconds: (user + system) / 1e6,
    }
  }
}
