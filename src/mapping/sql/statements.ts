/**
 * The statements of the configuration, as the database reads them: each is prepared at start, and nothing of it is executed
 * but the query, so that a mistake shows then and not at the first write. All mistakes are told at once, each with its key and
 * the database's words. Permissions show as far as preparing asks for them: MariaDB and MySQL do, PostgreSQL only for the query.
 */
import { SignalboxError } from '../../errors.ts'
import { plainWords, SqlRefusal, type SqlConnection, type StatementShape } from './connection.ts'

export interface ConfiguredStatements {
  /** With the database's own placeholder (`$1`, `?`). */
  readonly query: string
  /** Bound to identifier and destination. */
  readonly upsertQuery: string | undefined
  /** Bound to the identifier. */
  readonly deleteQuery: string | undefined
  /**
   * Bound to an identifier and a number: identifier and destination of the next so many mappings behind it, in order.
   * Undefined: no export, no summary, no replacing.
   */
  readonly listQuery?: string | undefined
}

/** Runs `work` with a connection, within the usual deadline. */
type Run = <T>(work: (connection: SqlConnection) => Promise<T>) => Promise<T>

/** What each statement is bound to, and the columns that are read of its rows. */
const STATEMENTS = [
  { name: 'query', key: 'query', values: ['identifier'], columns: ['destination'] },
  { name: 'upsertQuery', key: 'upsert_query', values: ['identifier', 'destination'], columns: [] },
  { name: 'deleteQuery', key: 'delete_query', values: ['identifier'], columns: [] },
  { name: 'listQuery', key: 'list_query', values: ['identifier', 'number'], columns: ['identifier', 'destination'] },
] as const

/** An identifier that nobody has. */
const NOBODY = ' '

/**
 * Rejects with CONFIG_INVALID when the database calls a statement wrong, else with SOURCE_UNAVAILABLE or SOURCE_TIMEOUT when
 * it can't be asked.
 */
export async function checkStatements(statements: ConfiguredStatements, run: Run): Promise<void> {
  const mistakes: string[] = []
  for (const { name, key, values, columns } of STATEMENTS) {
    const statement = statements[name]
    if (statement === undefined) continue
    const mistake = await mistakeIn(async () => {
      const shape = await run((connection) => connection.describe(statement))
      const misfit = misfitOf(shape, values, columns)
      if (misfit === undefined && name === 'query') await run((connection) => connection.select(statement, [NOBODY]))
      return misfit
    })
    if (mistake !== undefined) mistakes.push(`mapping.sql.${key}: ${mistake}`)
  }
  if (mistakes.length > 0) throw new SignalboxError('CONFIG_INVALID', mistakes.join('; '))
}

/** What `check` finds, or the database's words when it calls the statement wrong. */
async function mistakeIn(check: () => Promise<string | undefined>): Promise<string | undefined> {
  try {
    return await check()
  } catch (error) {
    if (!(error instanceof SqlRefusal)) throw error
    // Nothing that is bound here is anybody's: the words may be repeated as they are.
    if (error.wrong) return `${error.message.replaceAll(/\s+/g, ' ').slice(0, 300)} (${error.code})`
    throw new SignalboxError('SOURCE_UNAVAILABLE', `SQL: check: ${plainWords(error)}`)
  }
}

function misfitOf(shape: StatementShape, values: readonly string[], columns: readonly string[]): string | undefined {
  if (shape.parameters !== values.length) {
    return `has ${counted(shape.parameters, 'placeholder')}, and is bound to ${counted(values.length, 'value')}: ${values.join(', ')}`
  }
  if (shape.columns >= columns.length) return undefined
  return `gives ${counted(shape.columns, 'column')} instead of ${counted(columns.length, 'column')}: ${columns.join(', ')}`
}

function counted(count: number, what: string): string {
  return `${count === 0 ? 'no' : count} ${what}${count === 1 ? '' : 's'}`
}
