/** A real MariaDB for tests: its own data in a temporary directory, on a free loopback port, with a password. */
import { writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { createConnection, type Connection, type ConnectionOptions } from 'mysql2/promise'
import { freePort } from './ports.ts'
import { findProgram, programPath } from './programs.ts'
import { runProgram, ServerProcess } from './server-process.ts'
import { makeTemporary, type Temporary } from './temporary.ts'

export interface MariadbOptions {
  /** PEM texts; the server then offers TLS. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string }
}

const USER = 'signalbox'
/** Not a secret: it is the server's for the length of a test. */
const PASSWORD = 'p@ss/w:rd'

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
    await runProgram(install, ['--no-defaults', user, `--datadir=${data}`, '--auth-root-authentication-method=normal', '--skip-test-db'])
    const port = await freePort()
    const socket = join(temporary.path, 'socket')
    const args = ['--no-defaults', user, `--datadir=${data}`, `--port=${port}`, `--socket=${socket}`, '--bind-address=127.0.0.1']
    args.push(`--pid-file=${join(temporary.path, 'pid')}`, '--innodb-flush-log-at-trx-commit=0', '--innodb-buffer-pool-size=16M')
    if (options.tls !== undefined) {
      for (const [name, text] of Object.entries(options.tls)) {
        const path = join(temporary.path, `${name}.pem`)
        await writeFile(path, text, { mode: 0o600 })
        args.push(`--ssl-${name}=${path}`)
      }
    }
    const server = new MariadbServer(port, temporary, new ServerProcess({ program, args, port }))
    await server.start()
    const root = await createConnection({ socketPath: socket, user: 'root' })
    await root.query('CREATE DATABASE mail CHARACTER SET utf8mb4')
    await root.query(`CREATE USER '${USER}'@'%' IDENTIFIED BY '${PASSWORD}'`)
    await root.query(`GRANT ALL ON mail.* TO '${USER}'@'%'`)
    await root.end()
    return server
  }

  /** `parameters`: "sslmode=…" */
  url(parameters = '', port = this.port): string {
    return `mysql://${USER}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/mail${parameters === '' ? '' : `?${parameters}`}`
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
