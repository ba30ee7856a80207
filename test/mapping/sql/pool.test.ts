/** The pool over connections that do as they are told. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SqlRefusal, type Row, type SqlConnection, type SqlDatabase, type StatementShape } from '../../../src/mapping/sql/connection.ts'
import { SqlPool } from '../../../src/mapping/sql/pool.ts'
import { LOOKUPS_IN_FLIGHT } from '../../../src/limits.ts'
import { hasCode } from '../../conformance/mapping-source.ts'
import { FakeClock } from '../../support/fake-clock.ts'

class FakeConnection implements SqlConnection {
  readonly calls: string[] = []
  lost: (error: unknown) => void = () => {}
  answer: () => Promise<readonly Row[]> = () => Promise.resolve([['x']])

  describe(): Promise<StatementShape> {
    return Promise.resolve({ parameters: 1, columns: 1 })
  }
  select(): Promise<readonly Row[]> {
    return this.answer()
  }
  async change(): Promise<number> {
    await this.answer()
    return 1
  }
  async #note(call: string): Promise<void> {
    this.calls.push(call)
  }
  begin = (): Promise<void> => this.#note('begin')
  commit = (): Promise<void> => this.#note('commit')
  rollback = (): Promise<void> => this.#note('rollback')
  close = (): Promise<void> => this.#note('close')
  cancel(): void {
    this.calls.push('cancel')
  }
  destroy(): void {
    this.calls.push('destroy')
  }
  onLost(listener: (error: unknown) => void): void {
    this.lost = listener
  }
}

class FakeDatabase implements SqlDatabase {
  readonly text = 'fake://db'
  readonly made: FakeConnection[] = []
  refuse: Error | undefined
  hang = false

  async connect(): Promise<SqlConnection> {
    if (this.hang) await new Promise(() => {})
    if (this.refuse !== undefined) throw this.refuse
    const connection = new FakeConnection()
    this.made.push(connection)
    return connection
  }
}

function setUp(size = 2): { clock: FakeClock; database: FakeDatabase; pool: SqlPool } {
  const clock = new FakeClock()
  const database = new FakeDatabase()
  return { clock, database, pool: new SqlPool({ database, size, clock, timeout: 100 }) }
}

const never = (): Promise<never> => new Promise(() => {})
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const select = (pool: SqlPool): Promise<readonly Row[]> => pool.run('lookup', true, (connection) => connection.select('q', []))

test('connections are made when they are needed, and never more than allowed', async () => {
  const { database, pool } = setUp(2)
  assert.equal(database.made.length, 0)
  await Promise.all(Array.from({ length: 20 }, () => select(pool)))
  assert.ok(database.made.length <= 2)
  await select(pool)
  assert.ok(database.made.length <= 2)
})

test('who waits longer than its deadline is told so, and takes no connection afterwards', async () => {
  const { clock, database, pool } = setUp(1)
  await select(pool)
  const [only] = database.made
  assert.ok(only)
  let free: (rows: readonly Row[]) => void = () => {}
  only.answer = () => new Promise((resolve) => (free = resolve))
  const first = select(pool)
  await turn()
  clock.advance(60)
  const second = select(pool)
  const third = assert.rejects(second, hasCode('SOURCE_TIMEOUT'))
  free([['late']])
  assert.deepEqual(await first, [['late']])
  await turn()
  clock.advance(100)
  await third
  assert.deepEqual(only.calls, ['cancel', 'destroy'])
})

test('so many statements are under way and no more: the next one fails at once, and there is room when one is over', async () => {
  const { database, pool } = setUp(1)
  await select(pool)
  const [connection] = database.made
  assert.ok(connection !== undefined)
  const gate = Promise.withResolvers<readonly Row[]>()
  connection.answer = () => gate.promise
  const held = Array.from({ length: LOOKUPS_IN_FLIGHT }, () => select(pool))
  await assert.rejects(select(pool), hasCode('SOURCE_UNAVAILABLE'))
  gate.resolve([['x']])
  assert.equal((await Promise.all(held)).length, LOOKUPS_IN_FLIGHT)
  assert.deepEqual(await select(pool), [['x']])
})

test('a statement beyond its deadline is cancelled at the server, its connection dropped, and the next one gets a new one', async () => {
  const { clock, database, pool } = setUp(1)
  await select(pool)
  const [slow] = database.made
  assert.ok(slow)
  slow.answer = never
  const timedOut = assert.rejects(select(pool), hasCode('SOURCE_TIMEOUT'))
  await turn()
  clock.advance(100)
  await timedOut
  assert.deepEqual(slow.calls, ['cancel', 'destroy'])
  assert.deepEqual(await select(pool), [['x']])
  assert.equal(database.made.length, 2)
})

test('a dead connection costs a read nothing and a write an error, because a write may have happened', async () => {
  const { database, pool } = setUp(1)
  await select(pool)
  const breaks = (): Promise<never> => Promise.reject(new Error('gone'))
  const [first] = database.made
  assert.ok(first)
  first.answer = breaks
  assert.deepEqual(await select(pool), [['x']])
  const [, second] = database.made
  assert.ok(second)
  second.answer = breaks
  await assert.rejects(pool.run('put', false, (connection) => connection.change('q', [])), hasCode('SOURCE_UNAVAILABLE'))
  assert.deepEqual(second.calls, ['destroy'])
})

test('a refusal of the server keeps the connection', async () => {
  const { database, pool } = setUp(1)
  await select(pool)
  const [only] = database.made
  assert.ok(only)
  only.answer = () => Promise.reject(new SqlRefusal('42P01', 'no such table', true))
  await assert.rejects(select(pool), SqlRefusal)
  only.answer = () => Promise.resolve([['again']])
  assert.deepEqual(await select(pool), [['again']])
  assert.equal(database.made.length, 1)
})

test('while the database is away everything fails at once, and it is tried again after a pause', async () => {
  const { clock, database, pool } = setUp()
  database.refuse = new Error('connection refused')
  await assert.rejects(select(pool), (error) => hasCode('SOURCE_UNAVAILABLE')(error) && /connection refused/.test(String(error)))
  database.refuse = undefined
  await assert.rejects(select(pool), hasCode('SOURCE_UNAVAILABLE'))
  assert.equal(database.made.length, 0)
  clock.advance(60)
  assert.deepEqual(await select(pool), [['x']])
})

test('a server that accepts and says nothing is given up after the deadline', async () => {
  const { clock, database, pool } = setUp()
  database.hang = true
  const given = assert.rejects(select(pool), (error) => hasCode('SOURCE_TIMEOUT')(error) || hasCode('SOURCE_UNAVAILABLE')(error))
  await turn()
  clock.advance(100)
  await given
  database.hang = false
  await turn()
  clock.advance(100)
  assert.deepEqual(await select(pool), [['x']])
})

test('an idle connection that is lost is forgotten', async () => {
  const { database, pool } = setUp(1)
  await select(pool)
  database.made[0]?.lost(new Error('server shut down'))
  assert.deepEqual(await select(pool), [['x']])
  assert.equal(database.made.length, 2)
})

test('a transaction commits, or rolls back what threw, and gives its connection back', async () => {
  const { database, pool } = setUp(1)
  assert.equal(await pool.transaction('import', async (statements) => statements.change('q', [])), 1)
  await assert.rejects(
    pool.transaction('import', async () => {
      throw new TypeError('a mistake')
    }),
  )
  assert.deepEqual(database.made[0]?.calls, ['begin', 'commit', 'begin', 'rollback'])
  assert.deepEqual(await select(pool), [['x']])
  assert.equal(database.made.length, 1)
})

test('a transaction whose statement overruns is not committed', async () => {
  const { clock, database, pool } = setUp(1)
  await select(pool)
  const [only] = database.made
  assert.ok(only)
  only.answer = never
  const failed = assert.rejects(pool.transaction('import', (statements) => statements.change('q', [])), hasCode('SOURCE_TIMEOUT'))
  await turn()
  clock.advance(100)
  await failed
  assert.deepEqual(only.calls, ['begin', 'cancel', 'destroy'])
})

test('close waits for what is under way, closes connections, refuses what comes after', async () => {
  const { database, pool } = setUp(1)
  await select(pool)
  const [only] = database.made
  assert.ok(only)
  let free: (rows: readonly Row[]) => void = () => {}
  only.answer = () => new Promise((resolve) => (free = resolve))
  const running = select(pool)
  await turn()
  const closed = pool.close()
  await turn()
  assert.deepEqual(only.calls, [])
  free([['done']])
  assert.deepEqual(await running, [['done']])
  await closed
  assert.deepEqual(only.calls, ['close'])
  await assert.rejects(select(pool), hasCode('SOURCE_UNAVAILABLE'))
  await pool.close()
})
