/**
 * Tables and statements for tests: those of docs/sql.md, read from there, so that what is documented is what is tested.
 */
import { readFileSync } from 'node:fs'
import type { SqlSourceOptions } from '../../src/mapping/sql/source.ts'

const TEXT = readFileSync(new URL('../../docs/sql.md', import.meta.url), 'utf8')

type Statements = Pick<SqlSourceOptions, 'query' | 'upsertQuery' | 'deleteQuery' | 'listQuery'>

export const POSTGRES_SCHEMA = block('PostgreSQL', 'sql')
export const POSTGRES_STATEMENTS = statements('PostgreSQL')
export const MYSQL_SCHEMA = block('MariaDB and MySQL', 'sql')
export const MYSQL_STATEMENTS = statements('MariaDB and MySQL')
export const SQLITE_SCHEMA = block('SQLite', 'sql')
export const SQLITE_STATEMENTS = statements('SQLite')

/** All blocks of a language under a heading, joined. */
function block(heading: string, language: string): string {
  const section = TEXT.split(/^## /m).find((part) => part.startsWith(`${heading}\n`))
  if (section === undefined) throw new Error(`docs/sql.md has no section "${heading}"`)
  const blocks = [...section.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map((found) => found[1] ?? '')
  if (blocks.length === 0) throw new Error(`docs/sql.md has no ${language} under "${heading}"`)
  return blocks.join('\n')
}

function statements(heading: string): Statements {
  const toml = block(heading, 'toml')
  const value = (key: string): string => {
    const found = new RegExp(`^${key} *= *"(.*)"$`, 'm').exec(toml)?.[1]
    if (found === undefined) throw new Error(`docs/sql.md has no ${key} under "${heading}"`)
    return found
  }
  return { query: value('query'), upsertQuery: value('upsert_query'), deleteQuery: value('delete_query'), listQuery: value('list_query') }
}
