/**
 * The primary's side of the threads that work on mapping files. Two at most: a rewrite need not wait for a table that
 * is being built. They end when they have been idle for a while, which also lets go of the memory of replaced tables.
 *
 * A pool does not start another thread for a task that waited for one which died as it started: the task would wait
 * for ever. Such a pool is given up with what waits in it, and the next task gets a new one.
 */
import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import { SignalboxError } from '../../errors.ts'
import type { Answer, ResultOf, TaskName, TaskOf } from './tasks.ts'

/** Run from source it is .ts, built it is .js. */
const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
const ENTRY = fileURLToPath(new URL(`../../../workers/mapping-file.${EXTENSION}`, import.meta.url))
const IDLE_MS = 2_000

export class Threads {
  readonly #warn: (message: string) => void
  #pool: Piscina

  constructor(warn: (message: string) => void) {
    this.#warn = warn
    this.#pool = this.#makePool()
  }

  /** Rejects with the task's own SignalboxError; with SOURCE_UNAVAILABLE when the thread died. */
  async run<Name extends TaskName>(name: Name, task: TaskOf<Name>): Promise<ResultOf<Name>> {
    let answer: Answer<ResultOf<Name>>
    try {
      answer = await this.#pool.run({ name, task })
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new SignalboxError('SOURCE_UNAVAILABLE', `the thread for mapping files ended: ${reason}`, { cause })
    }
    if (answer.ok) return answer.result
    throw new SignalboxError(answer.code, answer.message, answer.mistakes === undefined ? {} : { cause: answer.mistakes })
  }

  /** Threads running now. */
  get count(): number {
    return this.#pool.threads.length
  }

  /** Ends every thread at once, as its death would; what it was doing rejects. For tests of exactly that. */
  async kill(): Promise<void> {
    await Promise.all(this.#pool.threads.map((thread) => thread.terminate()))
  }

  /** Ends the threads. The caller has waited for what it asked of them. */
  async close(): Promise<void> {
    await this.#pool.destroy()
  }

  #makePool(): Piscina {
    const pool = new Piscina({ filename: ENTRY, minThreads: 0, maxThreads: 2, idleTimeout: IDLE_MS, recordTiming: false })
    // An idle thread that fails has no task to tell it; without a listener it would end the process.
    pool.on('error', (error: unknown) => this.#warn(`a thread for mapping files failed while idle: ${String(error)}`))
    // When this is called the pool still counts the thread.
    pool.on('workerDestroy', () => queueMicrotask(() => this.#giveUpStuck(pool)))
    return pool
  }

  #giveUpStuck(pool: Piscina): void {
    if (pool !== this.#pool || pool.threads.length > 0 || pool.queueSize === 0) return
    this.#pool = this.#makePool()
    pool.destroy().catch((error: unknown) => this.#warn(`threads for mapping files did not end: ${String(error)}`))
  }
}
