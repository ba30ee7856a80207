/** Statements that are wrong, at real databases: found when the source is opened, with their key, and without being executed. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, test } from 'node:test'
import { SignalboxError } from '../../../src/errors.ts'
import { openSqlSource, type SqlSourceOptions } from '../../../src/mapping/sql/source.ts'
import { hasCode } from '../../conformance/mapping-source.ts'
import { sqlOptions, type SqlStatements } from '../../conformance/sql-fixture.ts'
import { MariadbServer } from '../../support/mariadb.ts'
import { PostgresServer } from '../../support/postgres.ts'
import { freePort } from '../../support/ports.ts'
import { skipWithout } from '../../support/programs.ts'
import {
  MYSQL_SCHEMA,
  MYSQL_STATEMENTS,
  POSTGRES_SCHEMA,
  POSTGRES_STATEMENTS,
  SQLITE_SCHEMA,
  SQLITE_STATEMENTS,
} from '../../support/sql-schemas.ts'
import { makeTemporary, type Temporary } from '../../support/temporary.ts'

/** Opens and closes it; what it was refused for, one text per statement. */
async function mistakes(options: SqlSourceOptions): Promise<readonly string[]> {
  try {
    await (await openSqlSource(options)).close()
    return []
  } catch (error) {
    assert.ok(error instanceof SignalboxError, String(error))
    assert.equal(error.code, 'CONFIG_INVALID', error.message)
    return error.message.split('; mapping.sql.').map((text, index) => (index === 0 ? text : `mapping.sql.${text}`))
  }
}

interface Place {
  readonly url: string
  readonly statements: SqlStatements
  /** The statement with `?` as placeholders, as this database writes them. */
  write(statement: string): string
  /** All rows of the table. */
  rows(): Promise<unknown>
}

/** The database's words for what all of them find wrong. */
interface Words {
  readonly syntax: RegExp
  readonly table: RegExp
  readonly column: RegExp
}

/** What every database must find. */
function wrongStatements(place: () => Place, words: Words): void {
  const opened = (more: Partial<SqlStatements>, how: Partial<SqlSourceOptions> = {}): Promise<readonly string[]> => {
    const { url, statements, write } = place()
    const changed = Object.fromEntries(Object.entries(more).map(([name, text]) => [name, text === undefined ? undefined : write(text)]))
    return mistakes(sqlOptions(url, { ...statements, ...changed }, how))
  }

  test('the documented statements are right, all of them and the query alone', async () => {
    assert.deepEqual(await opened({}), [])
    assert.deepEqual(await opened({ upsertQuery: undefined, deleteQuery: undefined, listQuery: undefined }), [])
  })

  test('the query: syntax, table, column, placeholders, no rows', async () => {
    const refused = async (query: string, pattern: RegExp): Promise<void> => {
      const [found, ...others] = await opened({ query })
      assert.match(found ?? 'nothing', /^mapping\.sql\.query: /)
      assert.match(found ?? 'nothing', pattern)
      assert.deepEqual(others, [])
    }
    await refused('SELEKT destination FROM routes WHERE identifier = ?', words.syntax)
    await refused('SELECT destination FROM nowhere WHERE identifier = ?', words.table)
    await refused('SELECT server FROM routes WHERE identifier = ?', words.column)
    await refused("SELECT destination FROM routes WHERE identifier = 'x'", /has no placeholders, and is bound to 1 value: identifier$/)
    await refused('SELECT destination FROM routes WHERE identifier = ? OR destination = ?', /has 2 placeholders, and is bound to 1 value: identifier$/)
    await refused('DELETE FROM routes WHERE identifier = ?', /gives no columns instead of 1 column: destination$/)
  })

  test('what writes and lists is looked at as well, everything wrong is told at once, and nothing is executed', async () => {
    const before = await place().rows()
    const found = await opened({
      query: 'SELECT destination FROM nowhere WHERE identifier = ?',
      upsertQuery: "INSERT INTO routes VALUES (?, 'fixed')",
      deleteQuery: 'DELETE FROM nowhere WHERE identifier = ?',
      listQuery: 'SELECT identifier FROM routes WHERE identifier > ? ORDER BY identifier LIMIT ?',
    })
    assert.equal(found.length, 4, found.join('\n'))
    for (const [index, pattern] of [
      /^mapping\.sql\.query: /,
      /^mapping\.sql\.upsert_query: has 1 placeholder, and is bound to 2 values: identifier, destination$/,
      /^mapping\.sql\.delete_query: /,
      /^mapping\.sql\.list_query: gives 1 column instead of 2 columns: identifier, destination$/,
    ].entries()) assert.match(found[index] ?? 'nothing', pattern)
    assert.match(found[0] ?? '', words.table)
    assert.match(found[2] ?? '', words.table)
    assert.deepEqual(await opened({ deleteQuery: 'DELETE FROM routes WHERE identifier <> ?' }), [])
    assert.deepEqual(await place().rows(), before)
  })

  test('also when the file sets on_failure: that is about a store that is away', async () => {
    assert.equal((await opened({ deleteQuery: 'DELETE' }, { allowUnavailable: true })).length, 1)
  })
}

describe('PostgreSQL', { skip: skipWithout('postgres') }, () => {
  let server: PostgresServer
  before(async () => {
    server = await PostgresServer.start()
    const hand = await server.hand()
    await hand.query(POSTGRES_SCHEMA)
    await hand.query("INSERT INTO routes VALUES ('a', 'alpha'), ('b', 'beta')")
    await hand.query("CREATE ROLE reader LOGIN PASSWORD 'reader'")
  })
  after(() => server[Symbol.asyncDispose]())

  const place = (): Place => ({
    url: server.url(),
    statements: POSTGRES_STATEMENTS,
    write(statement) {
      let count = 0
      return statement.replaceAll('?', () => `$${++count}`)
    },
    rows: async () => (await (await server.hand()).query('SELECT * FROM routes ORDER BY identifier')).rows,
  })
  wrongStatements(place, {
    syntax: /syntax error at or near "SELEKT" \(42601\)$/,
    table: /relation "nowhere" does not exist \(42P01\)$/,
    column: /column "server" does not exist \(42703\)$/,
  })

  test('two statements in one are refused before the first one is executed', async () => {
    const deleteQuery = 'DELETE FROM routes WHERE identifier = $1; DELETE FROM routes'
    const [found] = await mistakes(sqlOptions(server.url(), { ...POSTGRES_STATEMENTS, deleteQuery }))
    assert.match(found ?? 'nothing', /^mapping\.sql\.delete_query: cannot insert multiple commands/)
  })

  test('a value of the wrong type, and a permission that lacks', async () => {
    const query = 'SELECT destination FROM routes WHERE length(identifier) = $1'
    const [typed] = await mistakes(sqlOptions(server.url(), { ...POSTGRES_STATEMENTS, query }))
    assert.match(typed ?? 'nothing', /^mapping\.sql\.query: invalid input syntax for type integer/)
    const url = server.url().replace(/\/\/.*@/, '//reader:reader@')
    const [denied] = await mistakes(sqlOptions(url, { query: POSTGRES_STATEMENTS.query, upsertQuery: undefined, deleteQuery: undefined }))
    assert.match(denied ?? 'nothing', /^mapping\.sql\.query: permission denied for table routes \(42501\)$/)
  })

  test('a server that can’t be reached, and one that is busy, say nothing about statements', async () => {
    const wrong = { ...POSTGRES_STATEMENTS, query: 'SELEKT' }
    const away = server.url('', await freePort())
    await assert.rejects(openSqlSource(sqlOptions(away, wrong)), hasCode('SOURCE_UNAVAILABLE'))
    await (await openSqlSource(sqlOptions(away, wrong, { allowUnavailable: true }))).close()
    const hand = await server.hand()
    await hand.query('BEGIN')
    await hand.query('LOCK TABLE routes')
    await assert.rejects(openSqlSource(sqlOptions(server.url(), POSTGRES_STATEMENTS, { lookupTimeout: 300 })), hasCode('SOURCE_TIMEOUT'))
    await hand.query('ROLLBACK')
  })
})

describe('MariaDB', { skip: skipWithout('mariadbd') }, () => {
  let server: MariadbServer
  before(async () => {
    server = await MariadbServer.start()
    const hand = await server.hand()
    await hand.query(MYSQL_SCHEMA)
    await hand.query("INSERT INTO routes VALUES ('a', 'alpha'), ('b', 'beta')")
  })
  after(() => server[Symbol.asyncDispose]())

  wrongStatements(() => ({
    url: server.url(),
    statements: MYSQL_STATEMENTS,
    write: (statement) => statement,
    rows: async () => (await (await server.hand()).query('SELECT * FROM routes ORDER BY identifier'))[0],
  }), {
    syntax: /You have an error in your SQL syntax.*SELEKT.*\(ER_PARSE_ERROR\)$/,
    table: /Table 'mail\.nowhere' doesn't exist \(ER_NO_SUCH_TABLE\)$/,
    column: /Unknown column 'server'.*\(ER_BAD_FIELD_ERROR\)$/,
  })

  test('a permission that lacks', async () => {
    const upsertQuery = 'INSERT INTO mysql.user VALUES (?, ?)'
    const [denied] = await mistakes(sqlOptions(server.url(), { ...MYSQL_STATEMENTS, upsertQuery }))
    assert.match(denied ?? 'nothing', /^mapping\.sql\.upsert_query: INSERT command denied/)
  })

  test('a server that can’t be reached says nothing about statements', async () => {
    const away = server.url('', await freePort())
    await assert.rejects(openSqlSource(sqlOptions(away, { ...MYSQL_STATEMENTS, query: 'SELEKT' })), hasCode('SOURCE_UNAVAILABLE'))
  })
})

describe('SQLite', () => {
  let directory: Temporary
  let hand: DatabaseSync
  let path: string
  before(async () => {
    directory = await makeTemporary('sqlite')
    path = join(directory.path, 'mail.db')
    hand = new DatabaseSync(path)
    hand.exec(SQLITE_SCHEMA)
    hand.exec("INSERT INTO routes VALUES ('a', 'alpha'), ('b', 'beta')")
  })
  after(async () => {
    hand.close()
    await directory.remove()
  })

  wrongStatements(() => ({
    url: `sqlite://${path}`,
    statements: SQLITE_STATEMENTS,
    write: (statement) => statement,
    rows: () => Promise.resolve(hand.prepare('SELECT * FROM routes').all()),
  }), {
    syntax: /near "SELEKT": syntax error \(SQLITE_1\)$/,
    table: /no such table: nowhere \(SQLITE_1\)$/,
    column: /no such column: server \(SQLITE_1\)$/,
  })

  test('numbered placeholders count once', async () => {
    const upsertQuery = 'INSERT INTO routes VALUES (?1, ?2) ON CONFLICT (identifier) DO UPDATE SET destination = ?2'
    const options = sqlOptions(`sqlite://${path}`, { ...SQLITE_STATEMENTS, upsertQuery })
    assert.deepEqual(await mistakes(options), [])
    const source = await openSqlSource(options)
    await source.put('b', 'gamma')
    assert.equal(await source.lookup('b'), 'gamma')
    await source.close()
  })

  test('a query that writes is refused where only lookups are wanted', async () => {
    const query = "INSERT INTO routes VALUES (?, 'smuggled') RETURNING destination"
    const [found] = await mistakes(sqlOptions(`sqlite://${path}`, { query, upsertQuery: undefined, deleteQuery: undefined }))
    assert.match(found ?? 'nothing', /^mapping\.sql\.query: attempt to write a readonly database/)
  })

  test('a file that is missing says nothing about statements', async () => {
    await assert.rejects(openSqlSource(sqlOptions(`sqlite://${path}.absent`, { ...SQLITE_STATEMENTS, query: 'SELEKT' })), hasCode('SOURCE_UNAVAILABLE'))
  })
})
