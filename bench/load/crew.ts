/** The load generator: a thread per core, each with its own event loop, that share a job's concurrency. */
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { merged } from './job.ts'
import type { Job, Outcome } from './job.ts'

export class Crew implements AsyncDisposable {
  readonly #threads: readonly Worker[]

  constructor(threads: number) {
    this.#threads = Array.from({ length: threads }, (_, index) => new Worker(join(import.meta.dirname, 'thread.ts'), { workerData: index }))
  }

  /** Resolves when all threads are through. */
  async run(job: Job): Promise<Outcome> {
    const shares = this.#threads.map((thread, index) => [thread, this.#share(job, index)] as const)
    return merged(await Promise.all(shares.flatMap(([thread, share]) => (share === undefined ? [] : [ask(thread, share)]))))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()))
  }

  /** A thread's part; undefined: there is none for it. */
  #share(job: Job, index: number): Job | undefined {
    const part = (of: number): number => Math.floor((of + index) / this.#threads.length)
    if (job.type === 'release') return job
    const concurrency = part(job.concurrency)
    if (concurrency === 0) return undefined
    return job.type === 'hold' ? { ...job, concurrency, sessions: part(job.sessions) } : { ...job, concurrency }
  }
}

function ask(thread: Worker, job: Job): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const failed = (error: unknown): void => reject(error instanceof Error ? error : new Error(`generator thread: ${String(error)}`))
    thread.once('error', failed)
    thread.once('message', (outcome: Outcome) => {
      thread.off('error', failed)
      resolve(outcome)
    })
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    thread.postMessage(job)
  })
}
