/** A running management API for tests, with a certificate made on the spot, and ways to ask it: properly and as raw bytes. */
import { Agent, request as httpsRequest } from 'node:https'
import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import type { IncomingHttpHeaders } from 'node:http'
import { once } from 'node:events'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { generate } from 'selfsigned'
import type { AdminConfig } from '../../src/config/config.ts'
import { startManagement } from '../../src/management/server.ts'
import type { ManagementServer, ManagementTls } from '../../src/management/server.ts'
import type { AuditEntry } from '../../src/observe/audit.ts'
import { FakeClock } from './fake-clock.ts'
import { MemoryOperations } from './operations.ts'

let certificate: Promise<ManagementTls> | undefined

/** One certificate for all tests of a process. */
export function testCertificate(): Promise<ManagementTls> {
  certificate ??= generate([{ name: 'commonName', value: 'localhost' }], { keyType: 'ec' }).then((made) => ({
    cert: made.cert,
    key: made.private,
  }))
  return certificate
}

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  readonly json: unknown
}

export interface Ask {
  /** Undefined: the right one; null: none. */
  readonly token?: string | null
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  readonly body?: string | Buffer
}

export class TestManagement {
  readonly operations: MemoryOperations
  readonly clock: FakeClock
  readonly audits: AuditEntry[]
  /** Log lines, parsed. */
  readonly lines: Record<string, unknown>[]
  readonly token: string
  readonly server: ManagementServer
  readonly #cert: string
  readonly #agent = new Agent({ keepAlive: true })

  private constructor(parts: {
    operations: MemoryOperations
    clock: FakeClock
    audits: AuditEntry[]
    lines: Record<string, unknown>[]
    token: string
    server: ManagementServer
    cert: string
  }) {
    this.operations = parts.operations
    this.clock = parts.clock
    this.audits = parts.audits
    this.lines = parts.lines
    this.token = parts.token
    this.server = parts.server
    this.#cert = parts.cert
  }

  static async start(admin: Partial<AdminConfig> = {}): Promise<TestManagement> {
    const tls = await testCertificate()
    const operations = new MemoryOperations()
    const clock = new FakeClock()
    const audits: AuditEntry[] = []
    const lines: Record<string, unknown>[] = []
    const token = crypto.randomUUID() + crypto.randomUUID()
    const log = pino(
      { level: 'debug' },
      new Writable({
        write(chunk: Buffer, _encoding, done) {
          lines.push(JSON.parse(chunk.toString()))
          done()
        },
      }),
    )
    const server = await startManagement({
      admin: {
        bind: { host: '127.0.0.1', port: 0, family: 4, text: '127.0.0.1:0' },
        token,
        lockoutThreshold: 3,
        lockoutDuration: 60_000,
        certificate: undefined,
        metricsOpen: false,
        ...admin,
      },
      tls,
      operations,
      clock,
      log,
      audit: (entry) => audits.push(entry),
    })
    return new TestManagement({ operations, clock, audits, lines, token, server, cert: tls.cert })
  }

  get port(): number {
    return this.server.address.port
  }

  async ask(method: string, path: string, how: Ask = {}): Promise<Reply> {
    const token = how.token === undefined ? this.token : how.token
    const request = httpsRequest({
      host: '127.0.0.1',
      port: this.port,
      method,
      path,
      agent: this.#agent,
      ca: this.#cert,
      servername: 'localhost',
      checkServerIdentity: () => undefined,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        // Node frames the body of a GET or DELETE in no way of its own: it would be garbage behind the request.
        ...(how.body === undefined || how.headers?.['transfer-encoding'] !== undefined
          ? {}
          : { 'content-length': String(Buffer.byteLength(how.body)) }),
        ...how.headers,
      },
    })
    request.end(how.body)
    const [response] = await once(request, 'response')
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk)
    const text = Buffer.concat(chunks).toString()
    const isJson = String(response.headers['content-type']).startsWith('application/json') && text !== ''
    return {
      status: response.statusCode,
      headers: response.headers,
      text,
      json: isJson ? JSON.parse(text) : undefined,
    }
  }

  /** The same, answered as JSON. */
  askJson(method: string, path: string, how: Ask = {}): Promise<Reply> {
    return this.ask(method, path, { ...how, headers: { accept: 'application/json', ...how.headers } })
  }

  async connect(): Promise<TLSSocket> {
    const socket = connect({ host: '127.0.0.1', port: this.port, ca: this.#cert, checkServerIdentity: () => undefined })
    await once(socket, 'secureConnect')
    return socket
  }

  /** Sends bytes as they are and gives everything that comes until the other side closes. */
  async raw(bytes: string | Buffer): Promise<string> {
    const socket = await this.connect()
    socket.write(bytes)
    return readAll(socket)
  }

  async stop(): Promise<void> {
    this.#agent.destroy()
    await this.server.destroy()
  }
}

/** Everything a socket gives until it is closed; a reset counts as an end. */
export async function readAll(socket: TLSSocket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('error', () => {})
  if (!socket.closed) await once(socket, 'close').catch(() => undefined)
  return Buffer.concat(chunks).toString()
}
