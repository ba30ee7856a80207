/** From a URL to a database that can be connected to. */
import type { SqlDatabase } from './connection.ts'
import { mysqlDatabase } from './mysql.ts'
import { postgresDatabase } from './postgres.ts'
import { sqliteDatabase } from './sqlite.ts'
import { parseSqlUrl } from './target.ts'

export interface DatabaseOptions {
  readonly url: string
  /** Milliseconds for connecting, and for another program's lock. */
  readonly timeout: number
  /** Where it can be had (SQLite), refuse writes in the connection itself. */
  readonly readOnly: boolean
}

/** Throws CONFIG_INVALID. Connects to nothing yet. */
export function openDatabase({ url, timeout, readOnly }: DatabaseOptions): SqlDatabase {
  const target = parseSqlUrl(url)
  if (target.kind === 'sqlite') return sqliteDatabase(target, timeout, readOnly)
  return target.kind === 'postgres' ? postgresDatabase(target, timeout) : mysqlDatabase(target, timeout)
}
