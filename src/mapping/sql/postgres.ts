/**
 * PostgreSQL through `pg`. Statements are unnamed and bound (extended query protocol), so a transaction-pooling proxy in
 * between does no harm. What outlasts its deadline is cancelled by a CancelRequest (PostgreSQL, "Message Formats"), which
 * needs no permission and no setting of the session.
 */
import { connect as connectSocket } from 'node:net'
import { Client, DatabaseError, type ClientConfig } from 'pg'
import { blamesStatement, SqlRefusal, type Row, type SqlConnection, type SqlDatabase, type StatementShape } from './connection.ts'
import { PostgresDescription } from './postgres-description.ts'
import { tlsOf, type TrustedServer } from './tls.ts'

const CANCEL_CODE = 80_877_102
/** Every column as text, as the server writes it. */
const AS_TEXT = { getTypeParser: () => (value: string | Buffer) => value }

export function postgresDatabase(server: TrustedServer, timeout: number): SqlDatabase {
  return { text: server.text, connect: async () => new PostgresConnection(await connectPostgres(server, timeout, 'signalbox'), server) }
}

/** A connected client. Rejects with what `pg` or the server says. */
export async function connectPostgres(server: TrustedServer, timeout: number, name: string): Promise<Client> {
  const tls = tlsOf(server)
  const config: ClientConfig = {
    host: server.host,
    port: server.port,
    user: server.user,
    password: server.password ?? '',
    database: server.database,
    application_name: name,
    connectionTimeoutMillis: timeout,
    keepAlive: true,
    types: AS_TEXT,
  }
  try {
    return await connected({ ...config, ssl: tls ?? false })
  } catch (error) {
    // The server has no TLS, or none that works: what "prefer" allows for. Its own words and the system's have codes.
    if (tls === undefined || server.sslMode !== 'prefer' || hasCode(error)) throw error
    return connected({ ...config, ssl: false })
  }
}

async function connected(config: ClientConfig): Promise<Client> {
  const client = new Client(config)
  // Errors of a connection that nobody waits for; onLost hears of its end.
  client.on('error', () => {})
  try {
    await client.connect()
    return client
  } catch (error) {
    await client.end().catch(() => {})
    throw error
  }
}

function hasCode(error: unknown): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code !== ''
}

class PostgresConnection implements SqlConnection {
  readonly #client: Client
  readonly #server: TrustedServer
  #ended = false

  constructor(client: Client, server: TrustedServer) {
    this.#client = client
    this.#server = server
  }

  describe(statement: string): Promise<StatementShape> {
    return refusing(this.#client.query(new PostgresDescription(statement)).shape)
  }

  async select(statement: string, values: readonly (string | number)[]): Promise<readonly Row[]> {
    const { rows } = await refusing(this.#client.query<unknown[]>({ text: statement, values: [...values], rowMode: 'array' }))
    return rows
  }

  async change(statement: string, values: readonly string[]): Promise<number> {
    const { rowCount } = await refusing(this.#client.query({ text: statement, values: [...values] }))
    return rowCount ?? 0
  }

  async begin(exact: boolean): Promise<void> {
    await refusing(this.#client.query(exact ? 'BEGIN ISOLATION LEVEL REPEATABLE READ' : 'BEGIN'))
  }

  async commit(): Promise<void> {
    await refusing(this.#client.query('COMMIT'))
  }

  async rollback(): Promise<void> {
    await refusing(this.#client.query('ROLLBACK'))
  }

  cancel(): void {
    const key = backendKey(this.#client)
    if (key === undefined) return
    const request = Buffer.alloc(16)
    for (const [index, word] of [16, CANCEL_CODE, key.process, key.secret].entries()) request.writeInt32BE(word | 0, index * 4)
    const socket = connectSocket({ host: this.#server.host, port: this.#server.port })
    // Nobody waits for it: the server closes without an answer, and the connection concerned is dropped anyway.
    socket.setTimeout(5_000, () => socket.destroy())
    socket.on('error', () => socket.destroy())
    socket.end(request)
  }

  destroy(): void {
    if (this.#ended) return
    this.#ended = true
    this.#client.connection.stream.destroy()
  }

  async close(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    await this.#client.end()
  }

  onLost(listener: (error: unknown) => void): void {
    let reason: unknown = new Error('the connection was closed')
    this.#client.on('error', (error) => (reason = error))
    this.#client.once('end', () => {
      if (this.#ended) return
      this.#ended = true
      listener(reason)
    })
  }
}

/** Process and secret of the server's end (BackendKeyData); the driver's types don't show them. */
function backendKey(client: Client): { readonly process: number; readonly secret: number } | undefined {
  const process: unknown = Reflect.get(client, 'processID')
  const secret: unknown = Reflect.get(client, 'secretKey')
  return typeof process === 'number' && typeof secret === 'number' ? { process, secret } : undefined
}

async function refusing<T>(query: Promise<T>): Promise<T> {
  try {
    return await query
  } catch (error) {
    // Class 57P: the server ends the connection (shutdown, crash, terminated by an administrator).
    if (error instanceof DatabaseError && error.code?.startsWith('57P') !== true) {
      const code = error.code ?? 'XX000'
      throw new SqlRefusal(code, error.message, blamesStatement(code))
    }
    throw error
  }
}
