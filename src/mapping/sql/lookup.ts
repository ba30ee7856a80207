/**
 * A database as a worker asks it: the configured query with the identifier as its one bound value; the first column of
 * the first row is the destination. No row, NULL and the empty text are no mapping. A value longer than any name is the
 * store's failure and not "no mapping", as with Redis.
 */
import type { Clock } from '../../clock.ts'
import { SignalboxError } from '../../errors.ts'
import { mappingUnreadable } from '../../observe/events.ts'
import { OnceAMinute, type SourceLog } from '../notice.ts'
import type { MappingLookup } from '../source.ts'
import { destinationOf, isName, plainWords, SqlRefusal, type Row } from './connection.ts'
import { openDatabase } from './database.ts'
import { SqlPool } from './pool.ts'

export interface SqlLookupOptions {
  readonly url: string
  /** PEM bundle that verifies the server; undefined: the system's store. */
  readonly ca?: string | undefined
  /** With the database's own placeholder (`$1`, `?`). */
  readonly query: string
  /** At most this many; made when they are needed. SQLite: at most two. */
  readonly connections: number
  /** Milliseconds that one lookup may take. */
  readonly lookupTimeout: number
  readonly clock: Clock
  readonly log: SourceLog
  /** What a log may say of an account. Default: nothing. */
  readonly redact?: (account: string) => string
  /** Open although the database is away. */
  readonly allowUnavailable?: boolean
}

/** Connects, and tries the query. Rejects with CONFIG_INVALID for the URL, SOURCE_UNAVAILABLE unless `allowUnavailable`. */
export async function openSqlLookup(options: SqlLookupOptions): Promise<MappingLookup> {
  const { url, ca, lookupTimeout: timeout, clock, connections: size } = options
  const database = openDatabase({ url, ca, timeout, readOnly: true })
  const lookup = new SqlLookup(options, new SqlPool({ database, size, clock, timeout }))
  await lookup.open()
  return lookup
}

export class SqlLookup implements MappingLookup {
  readonly #options: SqlLookupOptions
  readonly #pool: SqlPool
  readonly #notices: OnceAMinute

  constructor(options: SqlLookupOptions, pool: SqlPool) {
    this.#options = options
    this.#pool = pool
    this.#notices = new OnceAMinute(options.clock)
  }

  /** Tries the query with an identifier that nobody has, so that a mistake in it shows at start. */
  async open(): Promise<void> {
    try {
      await this.lookup(' ')
    } catch (error) {
      const wrong = error instanceof SignalboxError && error.code === 'SOURCE_INVALID'
      if (wrong || this.#options.allowUnavailable === true) return
      await this.close()
      throw error
    }
  }

  async lookup(identifier: string): Promise<string | undefined> {
    // Half a surrogate pair would be sent as U+FFFD, and so find somebody else.
    const answerable = identifier.isWellFormed()
    let rows: readonly Row[]
    try {
      rows = await this.#pool.run('lookup', true, (connection) => {
        return answerable ? connection.select(this.#options.query, [identifier]) : Promise.resolve([])
      })
    } catch (error) {
      if (error instanceof SqlRefusal) throw new SignalboxError('SOURCE_UNAVAILABLE', `SQL: lookup: ${plainWords(error)}`)
      throw error
    }
    const destination = destinationOf(rows)
    if (destination === undefined || isName(destination)) return destination
    throw this.#unreadable(identifier, `its value has ${Buffer.byteLength(destination)} bytes`)
  }

  close(): Promise<void> {
    return this.#pool.close()
  }

  #unreadable(identifier: string, reason: string): SignalboxError {
    const { log, redact } = this.#options
    if (this.#notices.allows(identifier)) {
      mappingUnreadable(log, { reason, ...(redact === undefined ? {} : { account: redact(identifier) }) })
    }
    return new SignalboxError('SOURCE_INVALID', `SQL: a mapping cannot be read: ${reason}`)
  }
}
