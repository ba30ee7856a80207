/**
 * What a thread does with an SQLite database: node:sqlite is synchronous, so it must not run where sessions do. One
 * thread holds one connection, opened at its first task. A database is never created by a slip in a path, and where only
 * lookups are wanted it is opened for reading only.
 */
import { existsSync } from 'node:fs'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import type { StatementShape } from './connection.ts'

export interface SqliteTask {
  readonly path: string
  readonly readOnly: boolean
  /** Milliseconds to wait for another program's lock. */
  readonly busyTimeout: number
  readonly kind: 'open' | 'describe' | 'select' | 'change' | 'exec'
  readonly statement: string
  readonly values: readonly (string | number)[]
}

export type SqliteAnswer =
  | { readonly ok: true; readonly rows: readonly (readonly unknown[])[]; readonly changes: number; readonly shape?: StatementShape }
  /** `lost`: the database itself can't be used; otherwise the statement was refused, `wrong`: because of itself. */
  | { readonly ok: false; readonly lost: boolean; readonly code: string; readonly message: string; readonly wrong: boolean }

let database: DatabaseSync | undefined
const statements = new Map<string, StatementSync>()
/** A configuration has a handful. */
const STATEMENTS = 32
/** Placeholders that are counted; no statement of ours takes more than two. */
const PLACEHOLDERS = 10
/** Primary result codes that blame the statement: ERROR, READONLY, MISMATCH, AUTH, RANGE. */
const WRONG = [1, 8, 20, 23, 25]

/** Never throws: an error would reach the other side without its code. */
export function answer(task: SqliteTask): SqliteAnswer {
  try {
    database ??= open(task)
    if (task.kind === 'open') return { ok: true, rows: [], changes: 0 }
    if (task.kind === 'exec') {
      database.exec(task.statement)
      return { ok: true, rows: [], changes: 0 }
    }
    if (task.kind === 'describe') return { ok: true, rows: [], changes: 0, shape: describe(database, task.statement) }
    const statement = prepare(database, task.statement)
    const values: SQLInputValue[] = [...task.values]
    if (task.kind === 'change') return { ok: true, rows: [], changes: Number(statement.run(...values).changes) }
    const rows: unknown = statement.all(...values)
    return { ok: true, rows: Array.isArray(rows) ? rows : [], changes: 0 }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const number = error instanceof Error && 'errcode' in error ? Number(error.errcode) : undefined
    const code = number === undefined ? 'SQLITE' : `SQLITE_${number}`
    // The low byte is the primary code.
    const wrong = number !== undefined && WRONG.includes(number & 0xff)
    return { ok: false, lost: database === undefined, code, message, wrong }
  }
}

function open(task: SqliteTask): DatabaseSync {
  if (!existsSync(task.path)) throw new Error('there is no such file')
  const opened = new DatabaseSync(task.path, { readOnly: task.readOnly, timeout: task.busyTimeout })
  // A file that is no database shows only when it is read.
  opened.prepare('SELECT count(*) FROM sqlite_schema').get()
  return opened
}

/** Its EXPLAIN takes the same values and does nothing; SQLite refuses values beyond the last placeholder. */
function describe(open: DatabaseSync, text: string): StatementShape {
  const columns = open.prepare(text).columns().length
  const explained = open.prepare(`EXPLAIN ${text}`)
  let parameters = 0
  while (parameters < PLACEHOLDERS && takes(explained, parameters + 1)) parameters++
  return { parameters, columns }
}

function takes(statement: StatementSync, count: number): boolean {
  try {
    statement.all(...new Array<string>(count).fill(''))
    return true
  } catch (error) {
    // SQLITE_RANGE
    if (error instanceof Error && 'errcode' in error && error.errcode === 25) return false
    throw error
  }
}

function prepare(open: DatabaseSync, text: string): StatementSync {
  const known = statements.get(text)
  if (known !== undefined) return known
  const made = open.prepare(text)
  made.setReadBigInts(true)
  made.setReturnArrays(true)
  if (statements.size >= STATEMENTS) statements.clear()
  statements.set(text, made)
  return made
}
