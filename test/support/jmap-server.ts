/**
 * A small JMAP server on loopback (RFC 8620, RFC 8887): session resource, API, upload, download with ranges, event source,
 * WebSocket; accounts log in by Basic or by a token that it has issued. Plain or with TLS, behind PROXY headers or not. What
 * is no JMAP goes to `other`.
 */
import { createHash } from 'node:crypto'
import { createServer as createHttpServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import type { WebSocket } from 'ws'
import type { Issued } from './certificates.ts'
import { answerJmap, CORE, isRecord, MAIL, newAccount, sessionState, WEBSOCKET } from './jmap-api.ts'
import type { JmapAccount } from './jmap-api.ts'
import { readProxyHeader } from './proxied-socket.ts'

export interface JmapOptions {
  readonly name: string
  /** Account → password. */
  readonly users: Readonly<Record<string, string>>
  /** TLS. */
  readonly certificate?: Issued
  /** Every connection begins with a PROXY header. */
  readonly proxied?: boolean
  /** What URLs in the session resource begin with: the public name. */
  readonly origin?: string
  readonly other?: (request: IncomingMessage, response: ServerResponse, body: Buffer) => void
}

export class JmapServer implements AsyncDisposable {
  readonly name: string
  /** Clients as PROXY headers announced them. */
  readonly announced = new Set<string | undefined>()
  /** Requests: method, path, the account that was logged in, Forwarded. */
  readonly requests: { readonly method: string; readonly url: string; readonly account: string | undefined; readonly forwarded: string | undefined }[] = []
  readonly sockets = new Set<WebSocket>()
  /** Connections that could not be read. */
  readonly failures: unknown[] = []
  readonly #options: JmapOptions
  readonly #accounts = new Map<string, JmapAccount>()
  readonly #blobs = new Map<string, { readonly type: string; readonly bytes: Buffer }>()
  readonly #listeners = new Map<string, Set<(change: string) => void>>()
  readonly #outer: Server | ReturnType<typeof createServer>
  readonly #connections = new Set<Socket>()

  private constructor(options: JmapOptions) {
    this.#options = options
    this.name = options.name
    for (const user of Object.keys(options.users)) this.#accounts.set(user, newAccount(`a${createHash('sha256').update(user).digest('hex').slice(0, 8)}`, user, options.name))
    const serve = (request: IncomingMessage, response: ServerResponse): void => {
      const chunks: Buffer[] = []
      request.on('error', (error) => this.failures.push(error))
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => this.#serve(request, response, Buffer.concat(chunks)))
    }
    const server = options.certificate === undefined ? createHttpServer(serve) : createHttpsServer({ ...options.certificate }, serve)
    server.keepAliveTimeout = 60_000
    const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => (offered.has('jmap') ? 'jmap' : false) })
    server.on('upgrade', (request, socket, head) => this.#upgrade(sockets, request, socket, head))
    this.#outer = server
    if (options.proxied === true) {
      this.#outer = createServer({ pauseOnConnect: true }, (socket) => {
        readProxyHeader(socket).then(
          (client) => {
            this.announced.add(client)
            server.emit('connection', socket)
          },
          (error: unknown) => this.failures.push(error),
        )
      })
    }
    this.#outer.on('connection', (socket: Socket) => {
      this.#connections.add(socket)
      socket.on('error', () => socket.destroy())
      socket.once('close', () => this.#connections.delete(socket))
    })
  }

  static async start(options: JmapOptions): Promise<JmapServer> {
    const server = new JmapServer(options)
    await new Promise<void>((resolve) => server.#outer.listen(0, '127.0.0.1', resolve))
    return server
  }

  get port(): number {
    return (this.#outer.address() as AddressInfo).port
  }

  /** How many listen to an account's event source or WebSocket. */
  listeners(user: string): number {
    return this.#listeners.get(user)?.size ?? 0
  }

  /** The number of its connections. */
  get connections(): number {
    return this.#connections.size
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#connections) socket.destroy()
    await new Promise<void>((resolve) => this.#outer.close(() => resolve()))
  }

  // ---- HTTP ----

  #account(request: IncomingMessage): JmapAccount | undefined {
    const [, scheme = '', text = ''] = /^(\w+) (\S+)$/.exec(request.headers.authorization ?? '') ?? []
    if (scheme === 'Basic') {
      const [user = '', ...rest] = Buffer.from(text, 'base64').toString().split(':')
      return this.#options.users[user.toLowerCase()] === rest.join(':') ? this.#accounts.get(user.toLowerCase()) : undefined
    }
    if (scheme !== 'Bearer') return undefined
    const [kind, server, user = ''] = text.split('.')
    return kind === 'sw1' && server === this.name ? this.#accounts.get(Buffer.from(user, 'base64url').toString()) : undefined
  }

  /** A token of this server's: others know nothing of it, and a proxy can read whose it is. */
  token(user: string): string {
    return `sw1.${this.name}.${Buffer.from(user).toString('base64url')}`
  }

  #serve(request: IncomingMessage, response: ServerResponse, body: Buffer): void {
    const { method = '', url = '' } = request
    const account = this.#account(request)
    const { forwarded } = request.headers
    this.requests.push({ method, url, account: account?.name, forwarded: typeof forwarded === 'string' ? forwarded : undefined })
    const { pathname, searchParams } = new URL(url, 'http://server')
    response.setHeader('X-Server', this.name)
    if (pathname === '/.well-known/jmap') return void response.writeHead(307, { location: '/jmap/session', 'content-length': 0 }).end()
    if (!pathname.startsWith('/jmap')) {
      if (this.#options.other !== undefined) return this.#options.other(request, response, body)
      response.end(`${this.name} ${method} ${url} ${account?.name ?? '-'}\n`)
      return
    }
    if (account === undefined) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="jmap"', 'content-type': 'application/problem+json' })
      response.end(JSON.stringify({ type: 'about:blank', status: 401 }))
      return
    }
    const [, , resource, accountId = '', blobId = ''] = pathname.split('/')
    if (pathname === '/jmap' || pathname === '/jmap/') this.#api(response, body, account)
    else if (resource === 'session') json(response, 200, this.#session(account, request.headers.host ?? ''))
    else if (resource === 'upload' && accountId === account.id) this.#upload(request, response, body, account)
    else if (resource === 'download' && accountId === account.id) this.#download(request, response, blobId, searchParams.get('accept'))
    else if (resource === 'eventsource') this.#events(response, account, searchParams)
    else json(response, 404, { type: 'about:blank', status: 404 })
  }

  /** RFC 8620 §2, RFC 8887 §3. */
  #session(account: JmapAccount, host: string): object {
    const origin = this.#options.origin ?? `http://${host}`
    return {
      capabilities: {
        [CORE]: { maxSizeUpload: 50_000_000, maxConcurrentUpload: 4, maxSizeRequest: 10_000_000, maxConcurrentRequests: 4, maxCallsInRequest: 16, maxObjectsInGet: 500, maxObjectsInSet: 500, collationAlgorithms: [] },
        [MAIL]: {},
        [WEBSOCKET]: { url: `${origin.replace(/^http/, 'ws')}/jmap/ws`, supportsPush: true },
      },
      accounts: { [account.id]: { name: account.name, isPersonal: true, isReadOnly: false, accountCapabilities: { [MAIL]: {} } } },
      primaryAccounts: { [MAIL]: account.id },
      username: account.name,
      apiUrl: `${origin}/jmap/`,
      downloadUrl: `${origin}/jmap/download/{accountId}/{blobId}/{name}?accept={type}`,
      uploadUrl: `${origin}/jmap/upload/{accountId}/`,
      eventSourceUrl: `${origin}/jmap/eventsource/?types={types}&closeafter={closeafter}&ping={ping}`,
      state: sessionState(account),
    }
  }

  #api(response: ServerResponse, body: Buffer, account: JmapAccount): void {
    const answer = answerJmap(body.toString('utf8'), account, (changed) => this.#push(changed))
    if ('status' in answer) json(response, 400, answer, 'application/problem+json')
    else json(response, 200, answer)
  }

  /** RFC 8620 §6.1. */
  #upload(request: IncomingMessage, response: ServerResponse, bytes: Buffer, account: JmapAccount): void {
    const type = request.headers['content-type'] ?? 'application/octet-stream'
    const blobId = createHash('sha256').update(bytes).digest('hex')
    this.#blobs.set(blobId, { type, bytes })
    json(response, 201, { accountId: account.id, blobId, type, size: bytes.length })
  }

  /** RFC 8620 §6.2, one range (RFC 9110 §14). */
  #download(request: IncomingMessage, response: ServerResponse, blobId: string, accept: string | null): void {
    const blob = this.#blobs.get(blobId)
    if (blob === undefined) return json(response, 404, { type: 'about:blank', status: 404 })
    const headers = { 'content-type': accept ?? blob.type, 'accept-ranges': 'bytes', etag: `"${blobId}"`, 'cache-control': 'private, immutable, max-age=31536000' }
    if (request.headers['if-none-match'] === headers.etag) return void response.writeHead(304, headers).end()
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
    const from = Number(range?.[1] ?? 0)
    const to = range?.[2] === undefined || range[2] === '' ? blob.bytes.length - 1 : Number(range[2])
    if (from > to) return void response.writeHead(416, { 'content-range': `bytes */${blob.bytes.length}` }).end()
    const part = blob.bytes.subarray(from, to + 1)
    response.writeHead(range === null ? 200 : 206, { ...headers, 'content-length': part.length, ...(range === null ? {} : { 'content-range': `bytes ${from}-${to}/${blob.bytes.length}` }) })
    response.end(request.method === 'HEAD' ? undefined : part)
  }

  /** RFC 8620 §7.3. Pings come only when asked for, once at the beginning: time is the test's. */
  #events(response: ServerResponse, account: JmapAccount, parameters: URLSearchParams): void {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    const interval = Number(parameters.get('ping') ?? 0)
    response.write(interval > 0 ? `event: ping\ndata: ${JSON.stringify({ interval })}\n\n` : ':\n\n')
    const off = this.#listen(account, (change) => {
      response.write(`event: state\ndata: ${change}\n\n`)
      if (parameters.get('closeafter') === 'state') response.end()
    })
    response.once('close', off)
  }

  #listen({ name }: JmapAccount, listener: (change: string) => void): () => void {
    const all = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, all.add(listener))
    return () => all.delete(listener)
  }

  /** RFC 8620 §7.1. */
  #push(account: JmapAccount): void {
    const change = JSON.stringify({ '@type': 'StateChange', changed: { [account.id]: { Mailbox: String(account.state) } } })
    for (const listener of this.#listeners.get(account.name) ?? []) listener(change)
  }

  // ---- WebSocket ----

  #upgrade(sockets: WebSocketServer, request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const account = this.#account(request)
    this.requests.push({ method: 'WS', url: request.url ?? '', account: account?.name, forwarded: undefined })
    if (account === undefined) return void socket.end(`HTTP/1.1 401 Unauthorized\r\nX-Server: ${this.name}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`)
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      this.sockets.add(webSocket)
      let off = (): unknown => undefined
      webSocket.on('close', () => {
        off()
        this.sockets.delete(webSocket)
      })
      webSocket.on('error', (error) => this.failures.push(error))
      webSocket.on('message', (data: Buffer) => {
        const message = parsed(data.toString('utf8'))
        const kind = message['@type']
        if (kind === 'WebSocketPushEnable') off = this.#listen(account, (change) => webSocket.send(change))
        else if (kind === 'WebSocketPushDisable') off()
        else webSocket.send(JSON.stringify(this.#overWebSocket(message, account)))
      })
    })
  }

  /** RFC 8887 §4.3.2, §4.3.4. */
  #overWebSocket(message: Readonly<Record<string, unknown>>, account: JmapAccount): object {
    const requestId = message['id'] ?? null
    if (message['@type'] !== 'Request') return { '@type': 'RequestError', requestId, type: 'urn:ietf:params:jmap:error:notRequest', status: 400 }
    const answer = answerJmap(JSON.stringify(message), account, (changed) => this.#push(changed))
    return { '@type': 'status' in answer ? 'RequestError' : 'Response', requestId, ...answer }
  }
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return isRecord(value) ? value : {}
  } catch {
    // Answered with RequestError, as what has no type is.
    return {}
  }
}

function json(response: ServerResponse, status: number, body: object, type = 'application/json'): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-cache, no-store, must-revalidate' })
  response.end(JSON.stringify(body))
}
