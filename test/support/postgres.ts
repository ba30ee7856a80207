/**
 * A real PostgreSQL for tests: its own cluster in a temporary directory, on a free loopback port, with a password. It
 * refuses to run as root, so then it runs as the user that its package made.
 */
import { chown, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from 'pg'
import { databaseUrl, PASSWORD, USER } from './database-account.ts'
import { freePort } from './ports.ts'
import { programPath } from './programs.ts'
import { runProgram, ServerProcess, startedWhole, systemUser, type SystemUser } from './server-process.ts'
import { soon } from './soon.ts'
import { makeTemporary, type Temporary } from './temporary.ts'

export interface PostgresOptions {
  /** PEM texts; the server then offers TLS. */
  readonly tls?: { readonly cert: string; readonly key: string }
}

export class PostgresServer implements AsyncDisposable {
  readonly port: number
  readonly #temporary: Temporary
  readonly #process: ServerProcess
  readonly #hands: Client[] = []

  private constructor(port: number, temporary: Temporary, process: ServerProcess) {
    this.port = port
    this.#temporary = temporary
    this.#process = process
  }

  static async start(options: PostgresOptions = {}): Promise<PostgresServer> {
    const program = programPath('postgres')
    const user = systemUser('postgres')
    const temporary = await makeTemporary('postgres', 0o755)
    if (user !== undefined) await chown(temporary.path, user.uid, user.gid)
    const data = join(temporary.path, 'data')
    await put(temporary, 'password', PASSWORD, user)
    await runProgram(
      join(program, '..', 'initdb'),
      ['-D', data, '-U', USER, '-A', 'scram-sha-256', '--pwfile', join(temporary.path, 'password'), '-E', 'UTF8', '--locale=C', '--no-sync'],
      { user },
    )
    const port = await freePort()
    const settings = ['listen_addresses=127.0.0.1', `unix_socket_directories=${temporary.path}`, 'fsync=off', 'shared_buffers=16MB']
    if (options.tls !== undefined) {
      const cert = await put(temporary, 'cert.pem', options.tls.cert, user)
      const key = await put(temporary, 'key.pem', options.tls.key, user)
      settings.push('ssl=on', `ssl_cert_file=${cert}`, `ssl_key_file=${key}`)
    }
    const args = ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])]
    return startedWhole(new PostgresServer(port, temporary, new ServerProcess({ program, args, port, user })))
  }

  /** `parameters`: "sslmode=…" */
  url(parameters = '', port = this.port): string {
    return databaseUrl({ scheme: 'postgres', database: 'postgres', port }, parameters)
  }

  get password(): string {
    return PASSWORD
  }

  /** Starts it, also after a stop; what was committed is still there. */
  async start(): Promise<void> {
    await this.#process.start()
    // The port answers before the server takes logins.
    await soon('a login at PostgreSQL', () => this.hand().catch(() => undefined))
  }

  /** SIGQUIT: at once, without a word to anybody. */
  stop(): Promise<void> {
    return this.#process.stop('SIGQUIT')
  }

  /** A client for the test's own hand. */
  async hand(): Promise<Client> {
    const client = new Client({ host: '127.0.0.1', port: this.port, user: USER, password: PASSWORD, database: 'postgres' })
    client.on('error', () => {})
    await client.connect()
    this.#hands.push(client)
    return client
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#hands.map((client) => client.end().catch(() => {})))
    await this.stop()
    await this.#temporary.remove()
  }
}

async function put(temporary: Temporary, name: string, text: string, user: SystemUser | undefined): Promise<string> {
  const path = join(temporary.path, name)
  await writeFile(path, text, { mode: 0o600 })
  if (user !== undefined) await chown(path, user.uid, user.gid)
  return path
}
