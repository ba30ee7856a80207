/**
 * Leases of accounts as rows of a table of our own, `signalbox_leases` (docs/sql.md). It is made when the first lease finds
 * it missing; where the database user may not create tables, an operator does. The primary key decides between two takers,
 * and the database's own clock says when a lease ends, so that those of the instances don't matter.
 */
import { SignalboxError } from '../../errors.ts'
import type { LeaseHolder, Leases } from '../lease.ts'
import { plainWords, SqlRefusal, textOf, type SqlConnection } from './connection.ts'
import type { SqlPool } from './pool.ts'

interface LeaseStatements {
  readonly create: string
  /** Bound to the account. */
  readonly expire: string
  /** Bound to account, holder, who, since, milliseconds. Touches one row, or none when there is a lease. */
  readonly take: string
  readonly holder: string
  /** Bound to account and holder. */
  readonly end: string
}

type Kind = 'postgres' | 'mysql' | 'sqlite'

const COLUMNS = 'account, holder, who, since, expires'

const STATEMENTS: Readonly<Record<Kind, LeaseStatements>> = {
  postgres: {
    create:
      'CREATE TABLE IF NOT EXISTS signalbox_leases (account varchar(512) COLLATE "C" PRIMARY KEY, holder varchar(64) NOT NULL, ' +
      'who varchar(255) NOT NULL, since bigint NOT NULL, expires bigint NOT NULL)',
    expire: 'DELETE FROM signalbox_leases WHERE account = $1 AND expires <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint',
    take:
      `INSERT INTO signalbox_leases (${COLUMNS}) VALUES ($1, $2, $3, $4::bigint, ` +
      '(extract(epoch FROM clock_timestamp()) * 1000)::bigint + $5::bigint) ON CONFLICT (account) DO NOTHING',
    holder: 'SELECT holder, who, since FROM signalbox_leases WHERE account = $1',
    end: 'DELETE FROM signalbox_leases WHERE account = $1 AND holder = $2',
  },
  mysql: {
    create:
      'CREATE TABLE IF NOT EXISTS signalbox_leases (account varchar(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, ' +
      'holder varchar(64) NOT NULL, who varchar(255) CHARACTER SET utf8mb4 NOT NULL, since bigint NOT NULL, expires bigint NOT NULL) ENGINE = InnoDB',
    expire: 'DELETE FROM signalbox_leases WHERE account = ? AND expires <= CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)',
    take:
      `INSERT IGNORE INTO signalbox_leases (${COLUMNS}) VALUES (?, ?, ?, ?, ` +
      'CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) + CAST(? AS SIGNED))',
    holder: 'SELECT holder, who, since FROM signalbox_leases WHERE account = ?',
    end: 'DELETE FROM signalbox_leases WHERE account = ? AND holder = ?',
  },
  sqlite: {
    create:
      'CREATE TABLE IF NOT EXISTS signalbox_leases (account text PRIMARY KEY, holder text NOT NULL, who text NOT NULL, ' +
      'since integer NOT NULL, expires integer NOT NULL) WITHOUT ROWID',
    expire: "DELETE FROM signalbox_leases WHERE account = ? AND expires <= CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    take:
      `INSERT OR IGNORE INTO signalbox_leases (${COLUMNS}) VALUES (?, ?, ?, CAST(? AS INTEGER), ` +
      "CAST(unixepoch('subsec') * 1000 AS INTEGER) + CAST(? AS INTEGER))",
    holder: 'SELECT holder, who, since FROM signalbox_leases WHERE account = ?',
    end: 'DELETE FROM signalbox_leases WHERE account = ? AND holder = ?',
  },
}

/** How often a lease that ends while we look at it is tried for again. */
const TRIES = 5

export class SqlLeases implements Leases {
  readonly #pool: SqlPool
  readonly #statements: LeaseStatements

  constructor(pool: SqlPool, kind: Kind) {
    this.#pool = pool
    this.#statements = STATEMENTS[kind]
  }

  async lease(identifier: string, holder: LeaseHolder, ms: number): Promise<LeaseHolder | undefined> {
    return this.#withTable('lease', async (connection) => {
      for (let tries = 0; tries < TRIES; tries++) {
        await connection.change(this.#statements.expire, [identifier])
        const taken = [identifier, holder.id, holder.who, String(holder.since), String(Math.ceil(ms))]
        if ((await connection.change(this.#statements.take, taken)) > 0) return undefined
        const [row] = await connection.select(this.#statements.holder, [identifier])
        if (row !== undefined) return { id: textOf(row[0]), who: textOf(row[1]), since: Number(textOf(row[2])) }
      }
      throw new SignalboxError('SOURCE_UNAVAILABLE', 'SQL: lease: it keeps changing hands')
    })
  }

  async endLease(identifier: string, id: string): Promise<void> {
    await this.#withTable('end of a lease', (connection) => connection.change(this.#statements.end, [identifier, id]))
  }

  async #withTable<T>(doing: string, work: (connection: SqlConnection) => Promise<T>): Promise<T> {
    try {
      return await this.#pool.run(doing, false, work)
    } catch (first) {
      if (!(first instanceof SqlRefusal)) throw first
      try {
        await this.#pool.run(doing, false, (connection) => connection.change(this.#statements.create, []))
      } catch (created) {
        if (!(created instanceof SqlRefusal)) throw created
      }
    }
    try {
      return await this.#pool.run(doing, false, work)
    } catch (error) {
      if (!(error instanceof SqlRefusal)) throw error
      throw new SignalboxError('SOURCE_WRITE', `SQL: ${doing}: the table signalbox_leases cannot be used: ${plainWords(error)}`)
    }
  }
}
