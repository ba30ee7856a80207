/**
 * A mail protocol of four words, and servers that speak it on loopback, for tests of what lies below the protocols.
 * The server greets with HELLO; STARTTLS is answered with GO; `LOGIN name` with YES, NO or ASK (a challenge, answered
 * by `ANSWER …`). Anything else is trouble.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { TLSSocket, createSecureContext, type SecureContextOptions } from 'node:tls'
import type { DestinationConfig, LegConfig, ServerConfig } from '../../src/config/config.ts'
import type { DialRequest } from '../../src/destination/backend.ts'
import { SignalboxError } from '../../src/errors.ts'
import { imapClaims } from '../../src/protocol/imap/claims.ts'
import type { ClientAnnouncement, BackendDialogue, BackendOptions, BackendPort, Login, LoginProtocol } from '../../src/protocol/protocol.ts'

class TalkDialogue implements BackendDialogue {
  readonly capabilities = []
  readonly #port: BackendPort
  readonly #options: BackendOptions
  #buffer = Buffer.alloc(0)
  #upgraded = false

  constructor(port: BackendPort, options: BackendOptions) {
    this.#port = port
    this.#options = options
  }

  start(): void {}

  receive(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk])
    const end = this.#buffer.indexOf(0x0a)
    if (end < 0) return
    const line = this.#buffer.toString('latin1', 0, end)
    const rest = this.#buffer.subarray(end + 1)
    const whole = this.#buffer
    this.#buffer = Buffer.alloc(0)
    const [word] = line.split(' ')
    if (word === 'HELLO' && this.#options.startTls && !this.#upgraded) this.#port.write(Buffer.from('STARTTLS\n'))
    else if (word === 'HELLO') this.#port.announced()
    else if (word === 'GO' && rest.length > 0) this.#port.trouble(new SignalboxError('BACKEND_INJECTION', 'bytes behind GO'))
    else if (word === 'GO') this.#port.startTls()
    else if (word === 'YES') this.#port.accepted(whole)
    else if (word === 'NO') this.#port.refused({ text: Buffer.from(line) })
    else if (word === 'ASK') this.#port.challenge(Buffer.from(line.slice(4)))
    else if (word === 'BUSY') this.#port.trouble(new SignalboxError('BACKEND_GREETING', 'busy'))
    else this.#port.trouble(new SignalboxError('BACKEND_PROTOCOL', `unexpected ${word}`))
  }

  secured(): void {
    this.#upgraded = true
    this.#port.write(Buffer.from('AGAIN\n'))
  }

  replay(login: Login): void {
    const name = login.credentials.kind === 'password' ? login.credentials.authcid : login.credentials.user
    this.#port.write(Buffer.from(`LOGIN ${name}\n`))
  }

  respond(answer: Buffer | undefined): void {
    this.#port.write(Buffer.from(`ANSWER ${answer?.toString() ?? '*'}\n`))
  }
}

export const talk: LoginProtocol = {
  kind: 'login',
  name: 'imap',
  claims: imapClaims,
  prepare() {
    throw new SignalboxError('INTERNAL', 'talk has no client side')
  },
  backend: (port, options) => new TalkDialogue(port, options),
}

export function loginOf(authcid: string): Login {
  return {
    mechanism: 'PLAIN',
    credentials: { kind: 'password', authzid: '', authcid, password: Buffer.from('secret') },
    facts: {},
  }
}

/** Logins that are not simply let in. */
const ANSWERS: Readonly<Record<string, string>> = { ask: 'ASK why\n', bad: 'NO never\n' }

export interface TalkServerOptions {
  readonly host?: string
  readonly tls?: 'implicit' | 'starttls' | 'plain'
  readonly context?: SecureContextOptions
  /** Takes the connection over instead of the usual conversation; after the handshake with implicit TLS. */
  readonly take?: (socket: Socket) => void
  /** What is answered to `LOGIN name`, besides the usual. */
  readonly onLogin?: (socket: Socket, name: string) => void
  readonly port?: number
  readonly requestCert?: boolean
}

/** A listening server; `lines` is everything that was said to it, `sockets` are its open connections. */
export interface TalkServer {
  readonly port: number
  readonly lines: string[]
  readonly sockets: Set<Socket>
  /** Per TLS handshake, whether a session was resumed. */
  readonly resumed: boolean[]
  connections: number
  close(): Promise<void>
}

export async function talkServer(options: TalkServerOptions = {}): Promise<TalkServer> {
  const mode = options.tls ?? 'plain'
  const secureContext = options.context === undefined ? undefined : createSecureContext(options.context)
  const sockets = new Set<Socket>()
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true })
  const state = { lines: [] as string[], sockets, resumed: [] as boolean[], connections: 0 }

  const secure = (socket: Socket, then: (secured: Socket) => void): void => {
    if (secureContext === undefined) throw new SignalboxError('INTERNAL', 'no certificate for the server')
    const requestCert = options.requestCert === true
    const secured = new TLSSocket(socket, { isServer: true, secureContext, requestCert, rejectUnauthorized: false })
    secured.on('_tlsError', () => secured.destroy())
    secured.on('error', () => secured.destroy())
    // A client that dislikes the certificate closes without a word.
    const onEnd = (): void => void secured.destroy()
    secured.once('end', onEnd)
    secured.once('secure', () => {
      secured.off('end', onEnd)
      state.resumed.push(secured.isSessionReused())
      if (requestCert && !secured.isSessionReused() && secured.getPeerX509Certificate() === undefined) secured.destroy()
      else then(secured)
    })
  }

  const converse = (socket: Socket): void => {
    let text = ''
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1')
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const line = text.slice(0, end)
        text = text.slice(end + 1)
        state.lines.push(line)
        const [word, argument = ''] = line.split(' ')
        if (word === 'STARTTLS') {
          socket.off('data', onData)
          socket.pause()
          socket.write('GO\n', () => secure(socket, converse))
          return
        }
        if (word === 'AGAIN') socket.write('HELLO again\n')
        else if (word === 'LOGIN' && options.onLogin !== undefined) options.onLogin(socket, argument)
        else if (word === 'LOGIN') socket.write(ANSWERS[argument] ?? 'YES\n')
        else if (word === 'ANSWER') socket.write(argument === 'because' ? 'YES\n' : 'NO final\n')
      }
    }
    socket.on('data', onData)
    socket.on('end', () => socket.end())
    socket.resume()
  }

  const greet = (socket: Socket): void => {
    if (options.take !== undefined) {
      // Read on, or the client's end would never be noticed.
      socket.on('end', () => socket.end())
      socket.resume()
      options.take(socket)
      return
    }
    converse(socket)
    socket.write('HELLO there\n')
  }

  server.on('connection', (socket) => {
    state.connections++
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    if (mode === 'implicit') secure(socket, greet)
    else greet(socket)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  return Object.assign(state, {
    port,
    close: () =>
      new Promise<void>((resolve) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resolve())
      }),
  })
}

export function destinationOf(overrides: Partial<DestinationConfig> = {}): DestinationConfig {
  return {
    name: 'one',
    host: '127.0.0.1',
    tlsServerName: 'mail.example.com',
    forwarding: 'none',
    forwarded: false,
    allowInvalidCerts: false,
    pinnedCertSha256: undefined,
    clientCert: undefined,
    clientKey: undefined,
    ca: undefined,
    sourceIps: [],
    hideAuthErrors: false,
    allowPlaintextAuth: true,
    maxConnections: 0,
    legs: {},
    ...overrides,
  }
}

/** The client of every request. */
export const CLIENT: ClientAnnouncement = {
  clientAddress: '192.0.2.7',
  clientPort: 50_007,
  localAddress: '192.0.2.1',
  localPort: 143,
  session: 's1',
  ttl: 6,
  clientTls: undefined,
}

export function requestOf(
  port: number,
  tls: LegConfig['tls'] = 'plain',
  destination: Partial<DestinationConfig> = {},
  rest: Partial<DialRequest> = {},
): DialRequest {
  const leg: LegConfig = { protocol: 'imap', port, tls, forwarding: 'none' }
  return {
    destination: destinationOf({ legs: { imap: leg }, ...destination }),
    leg,
    protocol: talk,
    client: CLIENT,
    facts: {},
    ...rest,
  }
}

export function serverConfigOf(overrides: Partial<ServerConfig> = {}): ServerConfig {
  return {
    threads: 1,
    hostname: undefined,
    shutdownGrace: 30_000,
    rollGrace: 86_400_000,
    bridgeIdle: 1_800_000,
    backendTimeout: 10_000,
    backendConnectRetries: 1,
    hostDownThreshold: 5,
    hostDownMinClients: 2,
    hostDownCooldown: 30_000,
    proxyTtl: 7,
    logLevel: 'info',
    logFormat: 'json',
    distribution: 'primary',
    user: undefined,
    group: undefined,
    ...overrides,
  }
}
