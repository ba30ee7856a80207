/**
 * The primary's side of the threads that work on mapping files. Two at most: a rewrite need not wait for a table that
 * is being built. They end when they have been idle for a while, which also lets go of the memory of replaced tables.
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
  readonly #pool = new Piscina({
    filename: ENTRY,
    minThreads: 0,
    maxThreads: 2,
    idleTimeout: IDLE_MS,
    recordTiming: false,
  })

  /** Rejects with the task's own SignalboxError; with INTERNAL when the thread died. */
  async run<Name extends TaskName>(name: Name, task: TaskOf<Name>): Promise<ResultOf<Name>> {
    let answer: Answer<ResultOf<Name>>
    try {
      answer = await this.#pool.run({ name, task })
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new SignalboxError('INTERNAL', `the thread for mapping files ended: ${reason}`, { cause })
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

  /** Waits for what is running. */
  async close(): Promise<void> {
    await this.#pool.close()
  }
}
