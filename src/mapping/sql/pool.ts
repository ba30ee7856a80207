/**
 * A few connections to one database, made when they are needed. Who asks waits for a free one no longer than its own
 * deadline, in order; nobody waits for a database that is away: after a failed connection everything fails at once
 * until the next try is due. A statement that outlasts its deadline is cancelled at the server and its connection
 * dropped. What reads is tried once more when the connection it was given turns out to be dead.
 */
import type { Clock } from '../../clock.ts'
import { SignalboxError } from '../../errors.ts'
import { LOOKUPS_IN_FLIGHT } from '../../limits.ts'
import { reconnectPause } from '../backoff.ts'
import { within } from '../deadline.ts'
import { plainWords, SqlRefusal, type SqlConnection, type SqlDatabase } from './connection.ts'

export interface SqlPoolOptions {
  readonly database: SqlDatabase
  /** At least one. */
  readonly size: number
  readonly clock: Clock
  /** Milliseconds for one statement, waiting for a connection included. */
  readonly timeout: number
}

/** The statements of a transaction, each within the pool's deadline. */
export type Statements = Pick<SqlConnection, 'select' | 'change'>

/** Somebody who waits for a connection. */
interface Waiter {
  readonly take: (connection: SqlConnection) => void
  readonly fail: (error: SignalboxError) => void
}

export class SqlPool {
  readonly #options: SqlPoolOptions
  readonly #size: number
  readonly #idle: SqlConnection[] = []
  readonly #all = new Set<SqlConnection>()
  readonly #waiting = new Set<Waiter>()
  #connecting = 0
  #failures = 0
  #nextTry = 0
  #lastError = 'not connected yet'
  #closing: Promise<void> | undefined
  #underWay = 0
  #drained: (() => void) | undefined

  constructor(options: SqlPoolOptions) {
    this.#options = options
    this.#size = Math.max(1, Math.min(options.size, options.database.most ?? options.size))
  }

  /** Connects once. Rejects with SOURCE_UNAVAILABLE or SOURCE_TIMEOUT. */
  async open(): Promise<void> {
    await this.run('connect', true, () => Promise.resolve())
  }

  /**
   * Runs `work`, one statement, with a connection of its own. Rejects with SqlRefusal when the server says no, else with
   * SOURCE_UNAVAILABLE or SOURCE_TIMEOUT. `again`: it only reads, and may be done twice.
   */
  async run<T>(doing: string, again: boolean, work: (connection: SqlConnection) => Promise<T>): Promise<T> {
    this.#enter()
    try {
      const { clock, timeout } = this.#options
      const until = clock.now() + timeout
      for (let triesLeft = again ? 1 : 0; ; triesLeft--) {
        const connection = await this.#acquire(doing, until - clock.now())
        try {
          const result = await this.#bounded(connection, doing, until - clock.now(), work(connection))
          this.#giveBack(connection)
          return result
        } catch (error) {
          if (!this.#lost(connection, error)) throw error
          if (triesLeft <= 0) throw this.#unavailable()
        }
      }
    } finally {
      this.#leave()
    }
  }

  /**
   * Runs `work` in one transaction; whatever it throws rolls back. Rejects as `run` does, or with what `work` throws.
   * @param exact what it has read nobody else may change before its end (SqlConnection.begin)
   */
  async transaction<T>(doing: string, work: (statements: Statements) => Promise<T>, exact = false): Promise<T> {
    this.#enter()
    const { timeout } = this.#options
    try {
      const connection = await this.#acquire(doing, timeout)
      // What `work` throws of its own is no word about the connection: only statements are.
      const step = async <R>(statement: Promise<R>): Promise<R> => {
        try {
          return await this.#bounded(connection, doing, timeout, statement)
        } catch (error) {
          if (!isLost(error)) throw error
          this.#lastError = plainWords(error)
          this.#drop(connection)
          throw this.#unavailable()
        }
      }
      try {
        await step(connection.begin(exact))
        const result = await work({
          select: (statement, values) => step(connection.select(statement, values)),
          change: (statement, values) => step(connection.change(statement, values)),
        })
        await step(connection.commit())
        this.#giveBack(connection)
        return result
      } catch (error) {
        // Dropped when it was lost or overran; then the server rolls back by itself.
        if (this.#all.has(connection)) {
          await step(connection.rollback()).then(
            () => this.#giveBack(connection),
            () => this.#drop(connection),
          )
        }
        throw error
      }
    } finally {
      this.#leave()
    }
  }

  /** Lets what is under way end, then disconnects. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    if (this.#underWay > 0) await new Promise<void>((resolve) => (this.#drained = resolve))
    const all = [...this.#all]
    this.#all.clear()
    await Promise.all(all.map((connection) => connection.close()))
  }

  #enter(): void {
    if (this.#closing !== undefined) throw new SignalboxError('SOURCE_UNAVAILABLE', 'SQL: the source is closed')
    if (this.#underWay >= LOOKUPS_IN_FLIGHT) {
      throw new SignalboxError('SOURCE_UNAVAILABLE', `SQL: ${LOOKUPS_IN_FLIGHT} statements are under way already`)
    }
    this.#underWay++
  }

  #leave(): void {
    if (--this.#underWay === 0) this.#drained?.()
  }

  /** A statement within its deadline; beyond it the server is asked to give up, and the connection is dropped. */
  #bounded<T>(connection: SqlConnection, doing: string, ms: number, statement: Promise<T>): Promise<T> {
    return within(this.#options.clock, Math.max(1, Math.round(ms)), `SQL: ${doing}`, statement, () => {
      connection.cancel()
      this.#drop(connection)
    })
  }

  /** Whether the error is the end of the connection, which is then dropped; otherwise it goes back. */
  #lost(connection: SqlConnection, error: unknown): boolean {
    if (!isLost(error)) {
      this.#giveBack(connection)
      return false
    }
    this.#lastError = plainWords(error)
    this.#drop(connection)
    return true
  }

  #acquire(doing: string, ms: number): Promise<SqlConnection> {
    return new Promise((resolve, reject) => {
      const free = this.#idle.pop()
      if (free !== undefined) return resolve(free)
      const timer = this.#options.clock.after(Math.max(1, ms), () => {
        this.#waiting.delete(waiter)
        reject(new SignalboxError('SOURCE_TIMEOUT', `SQL: ${doing}: no connection within ${this.#options.timeout} ms`))
      })
      const waiter: Waiter = {
        take: (connection) => {
          timer.cancel()
          resolve(connection)
        },
        fail: (error) => {
          timer.cancel()
          reject(error)
        },
      }
      this.#waiting.add(waiter)
      this.#serve()
    })
  }

  /** Makes a connection for those who wait, or tells them that there will be none. */
  #serve(): void {
    if (this.#waiting.size === 0) return
    const { clock } = this.#options
    const made = this.#all.size + this.#connecting
    if (made < this.#size && this.#connecting < this.#waiting.size && clock.now() >= this.#nextTry) this.#connect()
    else if (made === 0) this.#failAll()
  }

  #connect(): void {
    this.#connecting++
    const { clock, timeout, database } = this.#options
    const connecting = database.connect()
    within(clock, timeout, 'connect', connecting).then(
      (connection) => {
        this.#connecting--
        this.#failures = 0
        this.#nextTry = 0
        this.#all.add(connection)
        connection.onLost((error) => {
          this.#lastError = plainWords(error)
          this.#drop(connection)
        })
        this.#giveBack(connection)
        this.#serve()
      },
      (error: unknown) => {
        this.#connecting--
        this.#lastError = plainWords(error)
        this.#nextTry = clock.now() + reconnectPause(++this.#failures)
        // What comes too late is of no use.
        connecting.then((late) => late.destroy()).catch(() => {})
        if (this.#all.size + this.#connecting === 0) this.#failAll()
      },
    )
  }

  #giveBack(connection: SqlConnection): void {
    if (!this.#all.has(connection)) return
    const [next] = this.#waiting
    if (next === undefined) {
      this.#idle.push(connection)
      return
    }
    this.#waiting.delete(next)
    next.take(connection)
  }

  #drop(connection: SqlConnection): void {
    if (!this.#all.delete(connection)) return
    const at = this.#idle.indexOf(connection)
    if (at >= 0) this.#idle.splice(at, 1)
    connection.destroy()
    this.#serve()
  }

  #failAll(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const waiter of waiting) waiter.fail(this.#unavailable())
  }

  #unavailable(): SignalboxError {
    return new SignalboxError('SOURCE_UNAVAILABLE', `${this.#options.database.text} is not available: ${this.#lastError}`)
  }
}

function isLost(error: unknown): boolean {
  return !(error instanceof SqlRefusal) && !(error instanceof SignalboxError)
}
