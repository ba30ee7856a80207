/**
 * SQLite: each connection is a thread that holds the database open (sqlite-tasks.ts). Nothing can interrupt a statement
 * in it: one that outlasts its deadline is given up, and its thread ends when the statement does. Such threads count, so
 * that a query without end costs two threads and then errors, not a thread per lookup. Other programs may write to the
 * file at any time; their locks are waited for within the deadline.
 */
import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import type { SqlFile } from '../../config/sql-url.ts'
import { SqlRefusal, type Row, type SqlConnection, type SqlDatabase, type StatementShape } from './connection.ts'
import type { SqliteAnswer, SqliteTask } from './sqlite-tasks.ts'

/** Run from source it is .ts, built it is .js. */
const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
const ENTRY = fileURLToPath(new URL(`../../../workers/mapping-sqlite.${EXTENSION}`, import.meta.url))
/** Threads beyond two (one that reads while another writes) only wait for each other. */
const THREADS = 2

export function sqliteDatabase(file: SqlFile, timeout: number, readOnly: boolean): SqlDatabase {
  const base = { path: file.path, readOnly, busyTimeout: Math.max(1, Math.floor(timeout * 0.8)) }
  let alive = 0
  return {
    text: file.text,
    most: THREADS,
    async connect() {
      if (alive >= THREADS) throw new Error('its threads are busy with statements that take too long')
      alive++
      const connection = new SqliteConnection(base, () => alive--)
      await connection.open()
      return connection
    },
  }
}

type Base = Pick<SqliteTask, 'path' | 'readOnly' | 'busyTimeout'>

class SqliteConnection implements SqlConnection {
  readonly #pool = new Piscina({ filename: ENTRY, minThreads: 1, maxThreads: 1, recordTiming: false })
  readonly #base: Base
  readonly #gone: () => void
  #ended = false

  /** @param gone called once, when the thread has ended */
  constructor(base: Base, gone: () => void) {
    this.#base = base
    this.#gone = gone
    // A thread that dies fails the task that it had; there is nobody else to tell.
    this.#pool.on('error', () => {})
  }

  async open(): Promise<void> {
    try {
      await this.#run('open', '', [])
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async describe(statement: string): Promise<StatementShape> {
    const { shape } = await this.#run('describe', statement, [])
    if (shape === undefined) throw new TypeError('a description without a shape')
    return shape
  }

  async select(statement: string, values: readonly (string | number)[]): Promise<readonly Row[]> {
    return (await this.#run('select', statement, values)).rows
  }

  async change(statement: string, values: readonly string[]): Promise<number> {
    return (await this.#run('change', statement, values)).changes
  }

  async begin(): Promise<void> {
    // The lock for writing at once: taken later it can fail where waiting doesn't help.
    await this.#run('exec', 'BEGIN IMMEDIATE', [])
  }

  async commit(): Promise<void> {
    await this.#run('exec', 'COMMIT', [])
  }

  async rollback(): Promise<void> {
    await this.#run('exec', 'ROLLBACK', [])
  }

  /** There is no way to. */
  cancel(): void {}

  destroy(): void {
    if (this.#ended) return
    this.#ended = true
    this.#pool.destroy().then(this.#gone, this.#gone)
  }

  async close(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    await this.#pool.close().finally(this.#gone)
  }

  /** A file can't be lost by itself. */
  onLost(): void {}

  async #run(kind: SqliteTask['kind'], statement: string, values: readonly (string | number)[]): Promise<SqliteAnswer & { ok: true }> {
    const task: SqliteTask = { ...this.#base, kind, statement, values }
    const answer: SqliteAnswer = await this.#pool.run(task)
    if (answer.ok) return answer
    throw answer.lost ? new Error(answer.message) : new SqlRefusal(answer.code, answer.message, answer.wrong)
  }
}
