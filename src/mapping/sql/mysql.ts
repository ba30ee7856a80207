/**
 * MySQL and MariaDB through `mysql2`. Statements are prepared at the server and bound there (binary protocol); nothing is
 * ever escaped into text. What outlasts its deadline is ended by KILL QUERY over a second connection.
 */
import { createConnection, type Connection, type ConnectionOptions, type QueryError, type ResultSetHeader } from 'mysql2'
import { blamesStatement, SqlRefusal, type Row, type SqlConnection, type SqlDatabase, type StatementShape } from './connection.ts'
import { tlsOf, type TrustedServer } from './tls.ts'

/** Limits of an account: they have the SQLSTATE of a statement that is wrong, and are over after a while. */
const EXHAUSTED = ['ER_USER_LIMIT_REACHED', 'ER_TOO_MANY_USER_CONNECTIONS']

export function mysqlDatabase(server: TrustedServer, timeout: number): SqlDatabase {
  return { text: server.text, connect: async () => new MysqlConnection(await connectMysql(server, timeout), server, timeout) }
}

async function connectMysql(server: TrustedServer, timeout: number): Promise<Connection> {
  const tls = tlsOf(server)
  const options: ConnectionOptions = {
    host: server.host,
    port: server.port,
    user: server.user,
    password: server.password ?? '',
    database: server.database,
    connectTimeout: timeout,
    charset: 'utf8mb4',
    enableKeepAlive: true,
    rowsAsArray: true,
    // As they are in the server: a name is a text, and a number too large for JavaScript stays one.
    dateStrings: true,
    supportBigNumbers: true,
    bigNumberStrings: true,
  }
  if (tls === undefined) return connected(options)
  const ssl = {
    rejectUnauthorized: tls.rejectUnauthorized !== false,
    verifyIdentity: server.sslMode === 'verify-full',
    ...(Array.isArray(tls.ca) ? { ca: tls.ca.map(String) } : {}),
  }
  try {
    return await connected({ ...options, ssl })
  } catch (error) {
    if (server.sslMode !== 'prefer' || codeOf(error) !== 'HANDSHAKE_NO_SSL_SUPPORT') throw error
    return connected(options)
  }
}

function connected(options: ConnectionOptions): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const connection = createConnection(options)
    // Errors of a connection that nobody waits for; onLost hears of its end.
    connection.on('error', () => {})
    connection.connect((error) => {
      if (error === null) return resolve(connection)
      connection.destroy()
      reject(error)
    })
  })
}

class MysqlConnection implements SqlConnection {
  readonly #connection: Connection
  readonly #server: TrustedServer
  readonly #timeout: number
  #ended = false

  constructor(connection: Connection, server: TrustedServer, timeout: number) {
    this.#connection = connection
    this.#server = server
    this.#timeout = timeout
  }

  describe(statement: string): Promise<StatementShape> {
    return new Promise((resolve, reject) => {
      // It stays prepared, for the first use.
      this.#connection.prepare(statement, (error, prepared) => {
        if (error === null) resolve({ parameters: lengthOf(prepared, 'parameters'), columns: lengthOf(prepared, 'columns') })
        else reject(refusal(error))
      })
    })
  }

  async select(statement: string, values: readonly (string | number)[]): Promise<readonly Row[]> {
    const rows = await this.#execute(statement, values)
    return Array.isArray(rows) ? rows.filter((row): row is unknown[] => Array.isArray(row)) : []
  }

  async change(statement: string, values: readonly string[]): Promise<number> {
    const result = await this.#execute(statement, values)
    return isHeader(result) ? result.affectedRows : 0
  }

  async begin(exact: boolean): Promise<void> {
    // For the next transaction only.
    if (exact) await this.#plain('SET TRANSACTION ISOLATION LEVEL SERIALIZABLE')
    await this.#plain('START TRANSACTION')
  }

  commit(): Promise<void> {
    return this.#plain('COMMIT')
  }

  rollback(): Promise<void> {
    return this.#plain('ROLLBACK')
  }

  cancel(): void {
    const id = this.#connection.threadId
    connectMysql(this.#server, this.#timeout).then(
      (other) => {
        other.query(`KILL QUERY ${id}`, () => other.destroy())
      },
      // The server can't be reached: then it can't be told either, and the dropped connection has to do.
      () => {},
    )
  }

  destroy(): void {
    this.#ended = true
    this.#connection.destroy()
  }

  close(): Promise<void> {
    if (this.#ended) return Promise.resolve()
    this.#ended = true
    return new Promise((resolve) => this.#connection.end(() => resolve()))
  }

  onLost(listener: (error: unknown) => void): void {
    let reason: unknown = new Error('the connection was closed')
    const lost = (): void => {
      if (this.#ended) return
      this.#ended = true
      listener(reason)
    }
    this.#connection.on('error', (error) => {
      reason = error
      lost()
    })
    this.#connection.on('end', lost)
  }

  #execute(statement: string, values: readonly (string | number)[]): Promise<unknown> {
    // A number would be sent as a double, which LIMIT does not take.
    const bound = values.map(String)
    return new Promise((resolve, reject) => {
      this.#connection.execute(statement, bound, (error, result: unknown) => {
        if (error === null) resolve(result)
        else reject(refusal(error))
      })
    })
  }

  #plain(statement: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#connection.query(statement, (error) => {
        if (error === null) resolve()
        else reject(refusal(error))
      })
    })
  }
}

/** Errors that the server sent have an SQLSTATE; 08S01 is its way to say that the connection ends. */
function refusal(error: QueryError): Error {
  if (error.sqlState === undefined || error.sqlState === '' || error.fatal || error.sqlState === '08S01') return error
  return new SqlRefusal(error.code, error.message, blamesStatement(error.sqlState) && !EXHAUSTED.includes(error.code))
}

/** Definitions that came with a prepared statement; the driver's types don't show them. */
function lengthOf(prepared: object, name: string): number {
  const definitions: unknown = Reflect.get(prepared, name)
  if (!Array.isArray(definitions)) throw new TypeError(`a prepared statement without ${name}`)
  return definitions.length
}

function isHeader(result: unknown): result is ResultSetHeader {
  return typeof result === 'object' && result !== null && 'affectedRows' in result
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
