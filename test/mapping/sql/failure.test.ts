/** What goes wrong with real databases: gone, slow, refusing, telling lies, listened to and cut off. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, test, type TestContext } from 'node:test'
import { MAPPING_VALUE } from '../../../src/limits.ts'
import { openSqlLookup } from '../../../src/mapping/sql/lookup.ts'
import { openSqlSource, type SqlSource, type SqlSourceOptions } from '../../../src/mapping/sql/source.ts'
import type { Changed, MappingLookup } from '../../../src/mapping/source.ts'
import { hasCode } from '../../conformance/mapping-source.ts'
import { sqlOptions } from '../../conformance/sql-fixture.ts'
import { makeAuthority } from '../../support/certificates.ts'
import { closedAfter } from '../../support/closing.ts'
import { MariadbServer } from '../../support/mariadb.ts'
import { PostgresServer } from '../../support/postgres.ts'
import { skipWithout } from '../../support/programs.ts'
import { soon } from '../../support/soon.ts'
import { KeptLog } from '../../support/source-log.ts'
import {
  MYSQL_SCHEMA,
  MYSQL_STATEMENTS,
  POSTGRES_SCHEMA,
  POSTGRES_STATEMENTS,
  SQLITE_SCHEMA,
  SQLITE_STATEMENTS,
} from '../../support/sql-schemas.ts'
import { TcpProxy } from '../../support/tcp-proxy.ts'
import { makeTemporary } from '../../support/temporary.ts'

const opened = (t: TestContext, options: SqlSourceOptions): Promise<SqlSource> => closedAfter(t, openSqlSource(options))
const openedLookup = (t: TestContext, options: SqlSourceOptions): Promise<MappingLookup> => closedAfter(t, openSqlLookup(options))

/** A heard change, and whether it was doubt. */
type Heard = Changed | { readonly doubt: true; readonly reason: string }

describe('PostgreSQL', { skip: skipWithout('postgres') }, () => {
  let server: PostgresServer
  before(async () => {
    server = await PostgresServer.start()
    const hand = await server.hand()
    await hand.query(POSTGRES_SCHEMA)
    await hand.query(`INSERT INTO routes VALUES ('a', 'alpha'), ('empty', ''), ('long', repeat('x', ${MAPPING_VALUE + 1}))`)
  })
  after(() => server[Symbol.asyncDispose]())

  const options = (more: Partial<SqlSourceOptions> = {}, port?: number): SqlSourceOptions => {
    return sqlOptions(server.url('', port), POSTGRES_STATEMENTS, more)
  }

  test('the first column of the first row counts; empty, NULL and no row are no mapping; too long is an error', async (t) => {
    const log = new KeptLog()
    const lookup = await openedLookup(t, options({ log }))
    assert.equal(await lookup.lookup('a'), 'alpha')
    assert.equal(await lookup.lookup('empty'), undefined)
    assert.equal(await lookup.lookup('none'), undefined)
    await assert.rejects(lookup.lookup('long'), hasCode('SOURCE_INVALID'))
    assert.equal(log.of('mapping_unreadable').length, 1)
    const query = "SELECT CASE WHEN $1 = 'null' THEN NULL ELSE 42 END, 'second' UNION ALL SELECT 43, ''"
    const numbers = await openedLookup(t, options({ query }))
    assert.equal(await numbers.lookup('null'), undefined)
    assert.equal(await numbers.lookup('x'), '42')
  })

  test('without both writing statements the source is read-only; without a list nothing is listed', async (t) => {
    const half = await opened(t, options({ deleteQuery: undefined }))
    assert.equal(half.writable, false)
    await assert.rejects(half.put('b', 'beta'), hasCode('SOURCE_READ_ONLY'))
    await assert.rejects(half.delete('a'), hasCode('SOURCE_READ_ONLY'))
    await assert.rejects(half.import([], 'merge'), hasCode('SOURCE_READ_ONLY'))
    const listless = await opened(t, options({ listQuery: undefined }))
    await assert.rejects(listless.summary(), hasCode('SOURCE_READ_ONLY'))
    await assert.rejects(listless.export().next(), hasCode('SOURCE_READ_ONLY'))
    await assert.rejects(listless.import([], 'replace'), hasCode('SOURCE_READ_ONLY'))
    const { added } = await listless.import([{ identifier: 'merged', destination: 'beta' }], 'merge')
    assert.equal(added, 1)
    assert.equal(await listless.lookup('a'), 'alpha')
  })

  test('a mistake in the query shows when the source is opened, a refused write says SOURCE_WRITE without the account', async (t) => {
    await assert.rejects(openSqlLookup(options({ query: 'SELECT nothing FROM nowhere WHERE x = $1' })), (error) => {
      return hasCode('SOURCE_UNAVAILABLE')(error) && /42P01/.test(String(error))
    })
    const upsertQuery = "INSERT INTO routes VALUES ($1, CASE WHEN $2 = 'x' THEN NULL END)"
    const source = await opened(t, options({ upsertQuery }))
    await assert.rejects(source.put('secret-account@example.com', 'x'), (error) => {
      assert.doesNotMatch(String(error), /secret-account/)
      return hasCode('SOURCE_WRITE')(error)
    })
    assert.equal(await source.lookup('a'), 'alpha')
  })

  test('a list that repeats itself ends with an error', async (t) => {
    const listQuery = "SELECT identifier, destination FROM routes WHERE $1 <> '?' AND identifier = 'a' LIMIT $2"
    const source = await opened(t, options({ listQuery }))
    await assert.rejects(source.summary(), hasCode('SOURCE_INVALID'))
  })

  test('a slow query fails in time and is cancelled at the server', async (t) => {
    const query = "SELECT pg_sleep(CASE WHEN $1 = 'slow' THEN 600 ELSE 0 END)::text"
    const lookup = await openedLookup(t, options({ query, lookupTimeout: 500 }))
    await assert.rejects(lookup.lookup('slow'), hasCode('SOURCE_TIMEOUT'))
    const hand = await server.hand()
    await soon('the end of the query at the server', async () => {
      const { rows } = await hand.query("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(CASE%' AND state = 'active' AND pid <> pg_backend_pid()")
      return rows.length === 0
    })
    await lookup.lookup('fast')
  })

  test('a wrong password: refused at start, the password in no word of it', async () => {
    const url = server.url().replace(encodeURIComponent(server.password), 'Wr0ngOne')
    const log = new KeptLog()
    await assert.rejects(openSqlLookup(sqlOptions(url, POSTGRES_STATEMENTS, { log })), (error) => {
      assert.doesNotMatch(String(error) + log.text, /Wr0ngOne/)
      return hasCode('SOURCE_UNAVAILABLE')(error)
    })
  })

  test('the network cut under idle connections: the next lookup has a new one', async (t) => {
    await using proxy = await TcpProxy.open({ port: server.port })
    const lookup = await openedLookup(t, options({}, proxy.port))
    assert.equal(await lookup.lookup('a'), 'alpha')
    proxy.cut()
    await soon('a lookup', () => lookup.lookup('a').then((found) => found === 'alpha', () => false))
  })

  test('a network that swallows everything: in time an error, afterwards an answer', async (t) => {
    await using proxy = await TcpProxy.open({ port: server.port })
    const lookup = await openedLookup(t, options({ lookupTimeout: 500 }, proxy.port))
    proxy.pause()
    await assert.rejects(lookup.lookup('a'), hasCode('SOURCE_TIMEOUT'))
    proxy.cut()
    proxy.resume()
    assert.equal(await soon('a lookup', () => lookup.lookup('a').catch(() => undefined)), 'alpha')
  })

  test('sslmode: prefer takes what there is, require and verify insist', async (t) => {
    const plain = await openedLookup(t, options())
    assert.equal(await plain.lookup('a'), 'alpha')
    await assert.rejects(openSqlLookup(sqlOptions(server.url('sslmode=require'), POSTGRES_STATEMENTS)), hasCode('SOURCE_UNAVAILABLE'))

    const authority = await makeAuthority()
    const stranger = await makeAuthority('Stranger')
    await using secure = await PostgresServer.start({ tls: await authority.issue({ names: ['127.0.0.1'] }) })
    const encrypted = 'SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND $1 <> $1::text || $1'
    const tries = async (parameters: string, ca?: string): Promise<string | undefined> => {
      const lookup = await openSqlLookup(sqlOptions(secure.url(parameters), { ...POSTGRES_STATEMENTS, query: encrypted }, { ca }))
      try {
        return await lookup.lookup('x')
      } finally {
        await lookup.close()
      }
    }
    assert.equal(await tries(''), 'true')
    assert.equal(await tries('sslmode=disable'), 'false')
    assert.equal(await tries('sslmode=require'), 'true')
    await assert.rejects(tries('sslmode=require', stranger.cert), hasCode('SOURCE_UNAVAILABLE'))
    assert.equal(await tries('sslmode=verify-full', authority.cert), 'true')
    await assert.rejects(tries('sslmode=verify-full', stranger.cert), hasCode('SOURCE_UNAVAILABLE'))
    await assert.rejects(tries('sslmode=verify-ca', stranger.cert), hasCode('SOURCE_UNAVAILABLE'))
    await assert.rejects(tries('sslmode=verify-full'), hasCode('SOURCE_UNAVAILABLE'))

    await using misnamed = await PostgresServer.start({ tls: await authority.issue({ names: ['elsewhere.example.com'] }) })
    const at = (mode: string): Promise<MappingLookup> => {
      return openSqlLookup(sqlOptions(misnamed.url(`sslmode=${mode}`), { ...POSTGRES_STATEMENTS, query: encrypted }, { ca: authority.cert }))
    }
    await assert.rejects(at('verify-full'), hasCode('SOURCE_UNAVAILABLE'))
    await (await at('verify-ca')).close()
  })

  test('a channel: rows changed by hand, a truncated table, an empty payload; and the loss of the connection is doubt', async (t) => {
    await using proxy = await TcpProxy.open({ port: server.port })
    const hand = await server.hand()
    const heard: Heard[] = []
    const source = await opened(t, options({ listen: 'routes_changed', heartbeat: 100 }, proxy.port))
    source.onChange((change) => heard.push(change))
    assert.equal(source.watch, 'on')
    const names = (): string[] => heard.flatMap((change) => ('identifiers' in change ? change.identifiers : []))
    const doubts = (): string[] => heard.flatMap((change) => ('doubt' in change ? [change.reason] : []))

    await hand.query("INSERT INTO routes VALUES ('listen-1', 'x')")
    await soon('the insert', () => names().includes('listen-1'))
    await hand.query("UPDATE routes SET identifier = 'listen-2' WHERE identifier = 'listen-1'")
    await soon('both names', () => names().filter((name) => name === 'listen-1').length === 2 && names().includes('listen-2'))
    await hand.query("DELETE FROM routes WHERE identifier = 'listen-2'")
    await soon('the removal', () => names().filter((name) => name === 'listen-2').length === 2)
    await hand.query('NOTIFY routes_changed')
    await soon('everything', () => heard.some((change) => 'all' in change && change.all))
    assert.deepEqual(doubts(), [])

    proxy.cut()
    await soon('doubt, twice', () => doubts().length === 2)
    assert.equal(source.watch, 'on')
    await hand.query("INSERT INTO routes VALUES ('listen-3', 'x')")
    await soon('the insert', () => names().includes('listen-3'))

    heard.length = 0
    proxy.pause()
    await soon('the silence', () => doubts().length === 1)
    assert.equal(source.watch, 'unavailable')
    proxy.cut()
    proxy.resume()
    await soon('the way back', () => doubts().length === 2)
    await hand.query("SELECT pg_notify('routes_changed', 'listen-4')")
    await soon('a notification', () => names().includes('listen-4'))

    heard.length = 0
    await hand.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'signalbox-listen'")
    await soon('doubt', () => doubts().length === 2)
  })

  test('a channel written in capitals hears both ways of naming it', async (t) => {
    const hand = await server.hand()
    const names: string[] = []
    const source = await opened(t, options({ listen: 'Routes_Changed' }))
    source.onChange((change) => names.push(...('identifiers' in change ? change.identifiers : [])))
    await hand.query("NOTIFY Routes_Changed, 'folded'")
    await hand.query("SELECT pg_notify('Routes_Changed', 'exact')")
    await soon('both', () => names.includes('folded') && names.includes('exact'))
  })

  test('an import that fails at the server changes nothing', async (t) => {
    const upsertQuery = "INSERT INTO routes SELECT $1::text, CASE WHEN $1::text = 'bad' THEN NULL ELSE $2::text END"
    const source = await opened(t, options({ upsertQuery }))
    const mappings = ['tx-1', 'tx-2', 'bad'].map((identifier) => ({ identifier, destination: 'beta' }))
    await assert.rejects(source.import(mappings, 'merge'), hasCode('SOURCE_WRITE'))
    assert.equal(await source.lookup('tx-1'), undefined)
  })

  test('stopped: lookups fail at once with the reason; started again: they work', async (t) => {
    await using own = await PostgresServer.start()
    await (await own.hand()).query(POSTGRES_SCHEMA)
    const source = await opened(t, sqlOptions(own.url(), POSTGRES_STATEMENTS, { listen: 'routes_changed' }))
    const doubts: string[] = []
    source.onChange((change) => doubts.push(...('doubt' in change ? [change.reason] : [])))
    await source.put('a', 'alpha')
    await own.stop()
    await soon('the loss', () => source.lookup('a').then(() => false, hasCode('SOURCE_UNAVAILABLE')))
    await soon('doubt', () => doubts.length > 0)
    await own.start()
    assert.equal(await soon('a lookup', () => source.lookup('a').catch(() => undefined)), 'alpha')
    await soon('the channel', () => source.watch === 'on')
  })
})

describe('MariaDB', { skip: skipWithout('mariadbd') }, () => {
  let server: MariadbServer
  before(async () => {
    server = await MariadbServer.start()
    await (await server.hand()).query(MYSQL_SCHEMA)
    await (await server.hand()).query("INSERT INTO routes VALUES ('a', 'alpha'), ('A', 'other')")
  })
  after(() => server[Symbol.asyncDispose]())

  test('upper and lower case are two accounts with the documented table', async (t) => {
    const lookup = await openedLookup(t, sqlOptions(server.url(), MYSQL_STATEMENTS))
    assert.deepEqual([await lookup.lookup('a'), await lookup.lookup('A')], ['alpha', 'other'])
  })

  test('a slow query fails in time and is ended at the server', async (t) => {
    const query = "SELECT SLEEP(IF(? = 'slow', 600, 0))"
    const lookup = await openedLookup(t, sqlOptions(server.url(), { ...MYSQL_STATEMENTS, query }, { lookupTimeout: 500 }))
    await assert.rejects(lookup.lookup('slow'), hasCode('SOURCE_TIMEOUT'))
    const hand = await server.hand()
    await soon('the end of the query at the server', async () => {
      const [rows] = await hand.query("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP(IF%'")
      return Array.isArray(rows) && rows.length === 0
    })
    await lookup.lookup('fast')
  })

  test('a wrong password, a mistake in the query, and a write that is refused', async (t) => {
    const url = server.url().replace(encodeURIComponent(server.password), 'Wr0ngOne')
    await assert.rejects(openSqlLookup(sqlOptions(url, MYSQL_STATEMENTS)), (error) => {
      assert.doesNotMatch(String(error), /Wr0ngOne/)
      return hasCode('SOURCE_UNAVAILABLE')(error)
    })
    const wrong = { ...MYSQL_STATEMENTS, query: 'SELECT nothing FROM nowhere WHERE x = ?' }
    await assert.rejects(openSqlLookup(sqlOptions(server.url(), wrong)), (error) => /ER_NO_SUCH_TABLE/.test(String(error)))
    const upsertQuery = 'INSERT INTO routes VALUES (?, ?)'
    const source = await opened(t, sqlOptions(server.url(), { ...MYSQL_STATEMENTS, upsertQuery }))
    await source.put('secret-account', 'alpha')
    await assert.rejects(source.put('secret-account', 'beta'), (error) => {
      assert.doesNotMatch(String(error), /secret-account/)
      return hasCode('SOURCE_WRITE')(error)
    })
  })

  test('the network cut and swallowed: errors in time, answers afterwards', async (t) => {
    await using proxy = await TcpProxy.open({ port: server.port })
    const lookup = await openedLookup(t, sqlOptions(server.url('', proxy.port), MYSQL_STATEMENTS, { lookupTimeout: 500 }))
    assert.equal(await lookup.lookup('a'), 'alpha')
    proxy.cut()
    assert.equal(await soon('a lookup', () => lookup.lookup('a').catch(() => undefined)), 'alpha')
    proxy.pause()
    await assert.rejects(lookup.lookup('a'), hasCode('SOURCE_TIMEOUT'))
    proxy.cut()
    proxy.resume()
    assert.equal(await soon('a lookup', () => lookup.lookup('a').catch(() => undefined)), 'alpha')
  })

  test('an import that fails at the server changes nothing', async (t) => {
    const upsertQuery = "INSERT INTO routes SELECT ?, NULLIF(?, 'bad')"
    const source = await opened(t, sqlOptions(server.url(), { ...MYSQL_STATEMENTS, upsertQuery }))
    const mappings = [{ identifier: 'tx-1', destination: 'beta' }, { identifier: 'tx-2', destination: 'bad' }]
    await assert.rejects(source.import(mappings, 'merge'), hasCode('SOURCE_WRITE'))
    assert.equal(await source.lookup('tx-1'), undefined)
  })

  test('sslmode: prefer takes what there is, require insists, verify verifies', async () => {
    await assert.rejects(openSqlLookup(sqlOptions(server.url('sslmode=require'), MYSQL_STATEMENTS)), hasCode('SOURCE_UNAVAILABLE'))
    const authority = await makeAuthority()
    const stranger = await makeAuthority('Stranger')
    const leaf = await authority.issue({ names: ['127.0.0.1'] })
    await using secure = await MariadbServer.start({ tls: { ...leaf, ca: authority.cert } })
    const query = "SELECT IF(VARIABLE_VALUE = '', 'plain', 'encrypted') FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher' AND ? <> ''"
    const tries = async (parameters: string, ca?: string): Promise<string | undefined> => {
      const lookup = await openSqlLookup(sqlOptions(secure.url(parameters), { ...MYSQL_STATEMENTS, query }, { ca }))
      try {
        return await lookup.lookup('x')
      } finally {
        await lookup.close()
      }
    }
    assert.equal(await tries(''), 'encrypted')
    assert.equal(await tries('sslmode=disable'), 'plain')
    assert.equal(await tries('sslmode=verify-ca', authority.cert), 'encrypted')
    await assert.rejects(tries('sslmode=verify-ca', stranger.cert), hasCode('SOURCE_UNAVAILABLE'))
    await assert.rejects(tries('sslmode=verify-full', stranger.cert), hasCode('SOURCE_UNAVAILABLE'))
  })
})

describe('SQLite', () => {
  async function database(): Promise<{ path: string; hand: DatabaseSync } & AsyncDisposable> {
    const directory = await makeTemporary('sqlite')
    const path = join(directory.path, 'mail.db')
    const hand = new DatabaseSync(path)
    hand.exec(SQLITE_SCHEMA)
    hand.exec("INSERT INTO routes VALUES ('a', 'alpha')")
    const dispose = async (): Promise<void> => {
      hand.close()
      await directory.remove()
    }
    return { path, hand, [Symbol.asyncDispose]: dispose }
  }

  test('a path without a file is refused, and no file is made', async () => {
    await using directory = await makeTemporary('sqlite')
    const path = join(directory.path, 'absent.db')
    await assert.rejects(openSqlSource(sqlOptions(`sqlite://${path}`, SQLITE_STATEMENTS)), (error) => {
      return hasCode('SOURCE_UNAVAILABLE')(error) && /no such file/.test(String(error))
    })
    await assert.rejects(openSqlSource(sqlOptions(`sqlite://${directory.path}`, SQLITE_STATEMENTS)), hasCode('SOURCE_UNAVAILABLE'))
    await writeFile(path, 'this is no database, however long one looks at it'.repeat(100))
    await assert.rejects(openSqlSource(sqlOptions(`sqlite://${path}`, SQLITE_STATEMENTS)), hasCode('SOURCE_UNAVAILABLE'))
  })

  test('lookups have it open for reading only', async (t) => {
    await using db = await database()
    const query = "INSERT INTO routes VALUES (?, 'smuggled') RETURNING destination"
    await assert.rejects(openSqlLookup(sqlOptions(`sqlite://${db.path}`, { ...SQLITE_STATEMENTS, query })), hasCode('SOURCE_UNAVAILABLE'))
    const lookup = await openedLookup(t, sqlOptions(`sqlite://${db.path}`, SQLITE_STATEMENTS))
    assert.equal(await lookup.lookup('a'), 'alpha')
    db.hand.exec("UPDATE routes SET destination = 'beta'")
    assert.equal(await lookup.lookup('a'), 'beta')
  })

  test('a query that takes too long fails in time; its threads are counted until they end', async (t) => {
    await using db = await database()
    // It ends by itself after a while: nothing else can end it.
    const query = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000000)
      SELECT CASE WHEN ?1 = 'slow' THEN (SELECT max(i) FROM n) ELSE (SELECT destination FROM routes WHERE identifier = ?1) END`
    const lookup = await openedLookup(t, sqlOptions(`sqlite://${db.path}`, { ...SQLITE_STATEMENTS, query }, { lookupTimeout: 1_000 }))
    await assert.rejects(lookup.lookup('slow'), hasCode('SOURCE_TIMEOUT'))
    assert.equal(await soon('the other thread', () => lookup.lookup('a').catch(() => undefined)), 'alpha')
    await assert.rejects(lookup.lookup('slow'), hasCode('SOURCE_TIMEOUT'))
    await assert.rejects(lookup.lookup('a'), (error) => hasCode('SOURCE_UNAVAILABLE')(error) && /take too long/.test(String(error)))
    assert.equal(await soon('a thread that is free again', () => lookup.lookup('a').catch(() => undefined)), 'alpha')
  })

  test('another program’s lock: a write fails within its time, lookups go on', async (t) => {
    await using db = await database()
    const source = await opened(t, sqlOptions(`sqlite://${db.path}`, SQLITE_STATEMENTS, { lookupTimeout: 5_000 }))
    db.hand.exec('BEGIN IMMEDIATE')
    const write = assert.rejects(source.put('b', 'beta'), (error) => hasCode('SOURCE_WRITE')(error) || hasCode('SOURCE_TIMEOUT')(error))
    assert.equal(await source.lookup('a'), 'alpha')
    await write
    db.hand.exec('COMMIT')
    await source.put('b', 'beta')
    assert.equal(await source.lookup('b'), 'beta')
  })

  test('numbers and blobs are read as text, and only PostgreSQL has a channel', async (t) => {
    await using db = await database()
    const query = "SELECT CASE ? WHEN 'n' THEN 9007199254740993 WHEN 'b' THEN CAST('blob' AS BLOB) END"
    const lookup = await openedLookup(t, sqlOptions(`sqlite://${db.path}`, { ...SQLITE_STATEMENTS, query }))
    assert.equal(await lookup.lookup('n'), '9007199254740993')
    assert.equal(await lookup.lookup('b'), 'blob')
    assert.equal(await lookup.lookup('x'), undefined)
    await assert.rejects(openSqlSource(sqlOptions(`sqlite://${db.path}`, SQLITE_STATEMENTS, { listen: 'x' })), hasCode('CONFIG_INVALID'))
  })
})
