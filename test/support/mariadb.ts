/** A real MariaDB for tests: its own data in a temporary directory, on a free loopback port, with a password. */
import { writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { createConnection, type Connection, type ConnectionOptions } from 'mysql2/promise'
import { databaseUrl, PASSWORD, USER } from './database-account.ts'
import { freePort } from './ports.ts'
import { findProgram, programPath } from './programs.ts'
import { runProgram, ServerProcess, startedWhole } from './server-process.ts'
import { soon } from './soon.ts'
import { makeTemporary, type Temporary } from './temporary.ts'

export interface MariadbOptions {
  /** PEM texts; the server then offers TLS. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string }
}

export class MariadbServer implements AsyncDisposable {
  readonly port: number
  readonly #temporary: Temporary
  readonly #process: ServerProcess
  readonly #hands: Connection[] = []

  private constructor(port: number, temporary: Temporary, process: ServerProcess) {
    this.port = port
    this.#temporary = temporary
    this.#process = process
  }

  static async start(options: MariadbOptions = {}): Promise<MariadbServer> {
    const program = programPath('mariadbd')
    const temporary = await makeTemporary('mariadb')
    const data = join(temporary.path, 'data')
    const user = `--user=${userInfo().username}`
    const install = findProgram('mariadb-install-db')
    if (install === undefined) throw new Error('mariadb-install-db is missing')
    // Its temporary tables are named by process id: in a directory that others use too they could be somebody else's.
    const env = { TMPDIR: temporary.path }
    const installing = ['--no-defaults', user, `--datadir=${data}`, '--auth-root-authentication-method=normal', '--skip-test-db']
    await runProgram(install, installing, { env })
    const port = await freePort()
    const socket = join(temporary.path, 'socket')
    const args = ['--no-defaults', user, `--datadir=${data}`, `--port=${port}`, `--socket=${socket}`, '--bind-address=127.0.0.1']
    args.push(`--tmpdir=${temporary.path}`, `--pid-file=${join(temporary.path, 'pid')}`, '--innodb-flush-log-at-trx-commit=0', '--innodb-buffer-pool-size=16M')
    if (options.tls !== undefined) {
      for (const [name, text] of Object.entries(options.tls)) {
        const path = join(temporary.path, `${name}.pem`)
        await writeFile(path, text, { mode: 0o600 })
        args.push(`--ssl-${name}=${path}`)
      }
    }
    const server = new MariadbServer(port, temporary, new ServerProcess({ program, args, port }))
    return startedWhole(server, () => server.#makeUser(socket))
  }

  async #makeUser(socket: string): Promise<void> {
    // The port answers before the socket is there.
    const root = await soon('the socket of MariaDB', () => createConnection({ socketPath: socket, user: 'root' }).catch(() => undefined))
    await root.query('CREATE DATABASE mail CHARACTER SET utf8mb4')
    await root.query(`CREATE USER '${USER}'@'%' IDENTIFIED BY '${PASSWORD}'`)
    await root.query(`GRANT ALL ON mail.* TO '${USER}'@'%'`)
    await root.end()
  }

  /** `parameters`: "sslmode=…" */
  url(parameters = '', port = this.port): string {
    return databaseUrl({ scheme: 'mysql', database: 'mail', port }, parameters)
  }

  get password(): string {
    return PASSWORD
  }

  start(): Promise<void> {
    return this.#process.start()
  }

  /** At once, without a word to anybody. */
  stop(): Promise<void> {
    return this.#process.stop()
  }

  /** A client for the test's own hand. */
  async hand(): Promise<Connection> {
    const options: ConnectionOptions = { host: '127.0.0.1', port: this.port, user: USER, password: PASSWORD, database: 'mail', charset: 'utf8mb4' }
    const connection = await createConnection(options)
    connection.on('error', () => {})
    this.#hands.push(connection)
    return connection
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#hands) connection.destroy()
    await this.stop()
    await this.#temporary.remove()
  }
}
