/** What the suites over the databases have in common: a source with all statements, and the way to make a fixture of it. */
import { systemClock } from '../../src/clock.ts'
import { openSqlSource, type SqlSource, type SqlSourceOptions } from '../../src/mapping/sql/source.ts'
import { KeptLog } from '../support/source-log.ts'
import type { SourceFixture } from './mapping-source.ts'

export type SqlStatements = Pick<SqlSourceOptions, 'query' | 'upsertQuery' | 'deleteQuery' | 'listQuery'>

export function sqlOptions(url: string, statements: SqlStatements, more: Partial<SqlSourceOptions> = {}): SqlSourceOptions {
  return {
    url,
    ...statements,
    connections: 4,
    lookupTimeout: 10_000,
    clock: systemClock,
    log: new KeptLog(),
    listen: undefined,
    heartbeat: 1_000,
    ...more,
  }
}

export async function sqlFixture(options: SqlSourceOptions, outside: SourceFixture['outside']): Promise<SourceFixture> {
  const source = await openSqlSource(options)
  const others: SqlSource[] = []
  return {
    source,
    async reopen() {
      const other = await openSqlSource(options)
      others.push(other)
      return other
    },
    outside,
    async dispose() {
      for (const one of [source, ...others]) await one.close()
    },
  }
}
