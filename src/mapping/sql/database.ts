/** From a URL to a database that can be connected to. */
import { parseSqlUrl } from '../../config/sql-url.ts'
import type { SqlDatabase } from './connection.ts'
import { mysqlDatabase } from './mysql.ts'
import { postgresDatabase } from './postgres.ts'
import { sqliteDatabase } from './sqlite.ts'

export interface DatabaseOptions {
  readonly url: string
  /** PEM bundle that verifies the server; undefined: the system's store. */
  readonly ca?: string | undefined
  /** Milliseconds for connecting, and for another program's lock. */
  readonly timeout: number
  /** Where it can be had (SQLite), refuse writes in the connection itself. */
  readonly readOnly: boolean
}

/** Throws CONFIG_INVALID. Connects to nothing yet. */
export function openDatabase({ url, ca, timeout, readOnly }: DatabaseOptions): SqlDatabase {
  const target = parseSqlUrl(url)
  if (target.kind === 'sqlite') return sqliteDatabase(target, timeout, readOnly)
  const server = { ...target, ca }
  return target.kind === 'postgres' ? postgresDatabase(server, timeout) : mysqlDatabase(server, timeout)
}
