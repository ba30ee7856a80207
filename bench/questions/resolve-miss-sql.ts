/** One question: what does a route cost that a worker must ask a database for? */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createConnection } from 'mysql2/promise'
import { Client } from 'pg'
import { systemClock } from '../../src/clock.ts'
import { parseSqlUrl } from '../../src/config/sql-url.ts'
import type { SqlServer } from '../../src/config/sql-url.ts'
import { openSqlLookup } from '../../src/mapping/sql/lookup.ts'
import { MariadbServer } from '../../test/support/mariadb.ts'
import { PostgresServer } from '../../test/support/postgres.ts'
import { findProgram } from '../../test/support/programs.ts'
import {
  MYSQL_SCHEMA,
  MYSQL_STATEMENTS,
  POSTGRES_SCHEMA,
  POSTGRES_STATEMENTS,
  SQLITE_SCHEMA,
  SQLITE_STATEMENTS,
} from '../../test/support/sql-schemas.ts'
import { ACCOUNTS } from '../lookup/mail.ts'
import { DESTINATION, IN_FLIGHT, MISS_FIGURES, missSubject } from '../lookup/miss.ts'
import type { Bench, Question, Subject } from '../question.ts'

/** A worker's part of the default on two cores. */
const CONNECTIONS = 8
const COUNTS = { alone: 1_000, many: 4_000 }
const ROUNDS = 5
const LOOKUP_MS = 10_000

/** A bare driver's query: the first column of the first row. */
type Ask = (identifier: string) => Promise<string | undefined>

interface Database {
  readonly name: string
  readonly bare: string
  /** What must be installed; undefined: nothing. */
  readonly program: string | undefined
  readonly query: string
  /** Makes the table and fills it; gives the URL. */
  start(bench: Bench): Promise<string>
  /** A connection of the driver's own. */
  connect(bench: Bench, url: string): Promise<Ask>
  /** Of the bare driver; ours takes what it finds right. */
  readonly connections: number
}

const POSTGRES: Database = {
  name: 'lookup in PostgreSQL',
  bare: 'bare pg query',
  program: 'postgres',
  query: POSTGRES_STATEMENTS.query,
  connections: CONNECTIONS,
  async start(bench) {
    const server = bench.use(await PostgresServer.start())
    const hand = await server.hand()
    await hand.query(POSTGRES_SCHEMA)
    // Nobody listens to what the trigger would tell.
    await hand.query('SET session_replication_role = replica')
    await hand.query(`INSERT INTO routes SELECT 'user' || n || '@example.com', '${DESTINATION}' FROM generate_series(0, ${ACCOUNTS - 1}) n`)
    await hand.query('VACUUM ANALYZE routes')
    return server.url('sslmode=disable')
  },
  async connect(bench, url) {
    const { host, port, user, password = '', database } = server(url)
    const client = new Client({ host, port, user, password, database })
    await client.connect()
    bench.use({ [Symbol.asyncDispose]: () => client.end() })
    return async (identifier) => (await client.query<[string]>({ text: POSTGRES.query, values: [identifier], rowMode: 'array' })).rows[0]?.[0]
  },
}

const MARIADB: Database = {
  name: 'lookup in MariaDB',
  bare: 'bare mysql2 execute',
  program: 'mariadbd',
  query: MYSQL_STATEMENTS.query,
  connections: CONNECTIONS,
  async start(bench) {
    const server = bench.use(await MariadbServer.start())
    const hand = await server.hand()
    await hand.query(MYSQL_SCHEMA)
    await hand.query(`INSERT INTO routes SELECT CONCAT('user', seq, '@example.com'), '${DESTINATION}' FROM seq_0_to_${ACCOUNTS - 1}`)
    return server.url('sslmode=disable')
  },
  async connect(bench, url) {
    const { host, port, user, password = '', database } = server(url)
    const connection = await createConnection({ host, port, user, password, database, charset: 'utf8mb4', rowsAsArray: true })
    bench.use({ [Symbol.asyncDispose]: () => connection.end() })
    return async (identifier) => {
      const [rows] = await connection.execute(MARIADB.query, [identifier])
      const row: unknown = Array.isArray(rows) ? rows[0] : undefined
      return Array.isArray(row) ? String(row[0]) : undefined
    }
  },
}

const SQLITE: Database = {
  name: 'lookup in SQLite',
  bare: 'bare node:sqlite, in the same thread',
  program: undefined,
  query: SQLITE_STATEMENTS.query,
  connections: 1,
  start(bench) {
    const path = join(bench.directory, 'routes.db')
    const database = new DatabaseSync(path)
    database.exec(SQLITE_SCHEMA)
    const numbers = `WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${ACCOUNTS - 1})`
    database.exec(`${numbers} INSERT INTO routes SELECT 'user' || n || '@example.com', '${DESTINATION}' FROM numbers`)
    database.close()
    return Promise.resolve(`sqlite://${path}`)
  },
  connect(bench, url) {
    const database = new DatabaseSync(url.slice('sqlite://'.length), { readOnly: true })
    bench.use({ [Symbol.asyncDispose]: async () => database.close() })
    const statement = database.prepare(SQLITE.query)
    return Promise.resolve(async (identifier) => {
      const value = statement.get(identifier)?.['destination']
      return typeof value === 'string' ? value : undefined
    })
  },
}

const question: Question = {
  title: 'What does a cache miss cost with a database?',
  method: `The worker's lookup beside the bare driver with the same statement and as many connections (${CONNECTIONS}), each given to one query at a time, against the same server with ${ACCOUNTS} rows: one at a time for the median, ${IN_FLIGHT} in flight for the rate and the processor time of this process; what the server spends is in the rate alone. SQLite has no server: ours asks in at most two threads of its own, so that sessions never wait for a file; bare, the query runs in the same thread, which does nothing else meanwhile.`,
  figures: MISS_FIGURES,
  goals: [POSTGRES, MARIADB].flatMap(({ name: subject, bare: of }) =>
    ['median', 'cpu'].map((figure) => ({ kind: 'goal', subject, figure, of, most: 1.3, text: 'as with Redis' }) as const),
  ),
  takes: { full: 30, quick: 0 },
  async run(bench) {
    const subjects: Subject[] = []
    for (const database of [POSTGRES, MARIADB, SQLITE]) {
      if (database.program === undefined || findProgram(database.program) !== undefined) subjects.push(...(await pair(bench, database)))
      else bench.missing(database.name, `${database.program} is not installed`)
    }
    await bench.compare(subjects, { rounds: Math.min(ROUNDS, bench.rounds) })
  },
}

/** Ours and the bare driver's, side by side. */
async function pair(bench: Bench, { name, bare, query, connections, start, connect }: Database): Promise<Subject[]> {
  bench.doing(`starting: ${name}`)
  const url = await start(bench)
  const lookup = await openSqlLookup({
    url,
    query,
    connections: CONNECTIONS,
    lookupTimeout: LOOKUP_MS,
    clock: systemClock,
    log: { warn() {}, info() {} },
  })
  bench.use({ [Symbol.asyncDispose]: () => lookup.close() })
  const clients: Ask[] = []
  for (let n = 0; n < connections; n++) clients.push(await connect(bench, url))
  return [
    missSubject(bench, { name, ...COUNTS, ask: (identifier) => lookup.lookup(identifier) }),
    missSubject(bench, { name: bare, ...COUNTS, ask: pooled(clients) }),
  ]
}

/** The barest pool that there can be: who finds no free connection waits in line. */
function pooled(clients: readonly Ask[]): Ask {
  const free = [...clients]
  const waiting: ((client: Ask) => void)[] = []
  return async (identifier) => {
    const client = free.pop() ?? (await new Promise<Ask>((resolve) => waiting.push(resolve)))
    const found = await client(identifier)
    const next = waiting.shift()
    if (next === undefined) free.push(client)
    else next(client)
    return found
  }
}

function server(url: string): SqlServer {
  const target = parseSqlUrl(url)
  if (target.kind === 'sqlite') throw new Error('no server')
  return target
}

export default question
