/**
 * The legs of HTTP as they are configured: TLS towards backends with everything that can be wrong about it, PROXY headers, HTTP/2 in
 * both directions, limits, a kernel that hands out connections, and connections that outlive configurations and workers.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { Agent, request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import type { ClientHttp2Session, IncomingHttpHeaders } from 'node:http2'
import { createServer as createSecureServer } from 'node:https'
import { createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { TLSSocket } from 'node:tls'
import { WebSocket, WebSocketServer } from 'ws'
import { HTTP2_SESSION_WINDOW, HTTP2_STREAM_WINDOW, HTTP2_STREAMS } from '../../src/limits.ts'
import { makeAuthority, pinOf } from '../support/certificates.ts'
import { HttpBackend } from '../support/http-backend.ts'
import { startHttpRig } from '../support/http-rig.ts'
import type { HttpRig } from '../support/http-rig.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'

const ANN = `Basic ${Buffer.from('ann@example.com:secret').toString('base64')}`
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

describe('legs of HTTP', () => {
  let temporary: Temporary
  let plain: HttpBackend
  let secure: HttpBackend
  let rig: HttpRig
  let sockets: WebSocketServer
  let mutual: Server
  let proxied: Server
  /** What each connection of the backend behind PROXY headers carried, by its number. */
  const heads: string[] = []
  let presented: string | undefined
  const opened = new Set<Socket>()

  before(async () => {
    temporary = await makeTemporary('http-legs')
    const authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost'] })
    const client = await authority.issue({ names: ['proxy'], client: true })
    await writeFile(`${temporary.path}/client.pem`, client.cert)
    await writeFile(`${temporary.path}/client.key`, client.key, { mode: 0o600 })
    await writeFile(`${temporary.path}/other.pem`, (await makeAuthority()).cert)
    plain = await HttpBackend.start('plain', {
      answering: (request, response, body) => {
        response.setHeader('X-Seen', JSON.stringify(request.rawTrailers))
        response.setHeader('Trailer', 'X-Sum')
        response.write(`plain ${request.url} ${body.length}`)
        response.addTrailers({ 'X-Sum': String(body.length) })
        response.end()
      },
    })
    secure = await HttpBackend.start('secure', { certificate })
    sockets = new WebSocketServer({ server: plain.server })
    const mutualServer = createSecureServer({ ...certificate, ca: authority.cert, requestCert: true, rejectUnauthorized: true }, (request, response) => {
      presented = request.socket instanceof TLSSocket ? String(request.socket.getPeerCertificate().subject.CN) : undefined
      response.end('mutual')
    })
    mutual = mutualServer
    // Takes a PROXY header off, notes it, and answers whatever is asked.
    proxied = createServer((socket) => {
      opened.add(socket)
      const number = heads.push('') - 1
      socket.on('error', () => {})
      socket.on('data', (chunk) => {
        heads[number] += chunk.toString('latin1')
        const body = `connection ${number}`
        if (heads[number]?.endsWith('\r\n\r\n')) socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
      })
    })
    for (const server of [mutual, proxied]) await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const portOf = (server: Server): number => (server.address() as AddressInfo).port
    rig = await startHttpRig({
      authority,
      destinations: {
        old: { port: plain.port },
        new: { port: plain.port },
        secure: { port: secure.port, tls: 'implicit' },
        pinned: { port: secure.port, tls: 'implicit', keys: { tls_pinned_cert_sha256: pinOf(certificate.cert), tls_server_name: 'whatever' } },
        mispinned: { port: secure.port, tls: 'implicit', keys: { tls_pinned_cert_sha256: pinOf(client.cert) } },
        stranger: { port: secure.port, tls: 'implicit', keys: { tls_ca: `${temporary.path}/other.pem` } },
        misnamed: { port: secure.port, tls: 'implicit', keys: { tls_server_name: 'else.example.com' } },
        mutual: { port: portOf(mutual), tls: 'implicit', keys: { tls_client_cert: `${temporary.path}/client.pem`, tls_client_key: `${temporary.path}/client.key` } },
        anonymous: { port: portOf(mutual), tls: 'implicit' },
        proxied: { port: portOf(proxied), keys: { forwarding: 'proxy' } },
        narrow: { port: plain.port, keys: { max_connections: 1 } },
      },
      accounts: ['ann@example.com'],
      http: { max_keepalive_requests: 950 },
      routes: [
        ...['secure', 'pinned', 'mispinned', 'stranger', 'misnamed', 'mutual', 'anonymous', 'proxied', 'narrow'].map((name) => ({ match: `/${name}`, destination: name })),
        { match: '/**', extract: { from: 'authorization' } },
      ],
      tables: { server: { threads: 1, distribution: 'kernel', backend_connect_retries: 0, host_down_threshold: 100, roll_grace: '20s' }, limits: { max_sessions_per_account: 1 } },
    })
  })
  after(async () => {
    await (rig as HttpRig | undefined)?.[Symbol.asyncDispose]()
    ;(sockets as WebSocketServer | undefined)?.close()
    for (const socket of opened) socket.destroy()
    ;(mutual as Server | undefined)?.close()
    ;(proxied as Server | undefined)?.close()
    await (plain as HttpBackend | undefined)?.[Symbol.asyncDispose]()
    await (secure as HttpBackend | undefined)?.[Symbol.asyncDispose]()
    await (temporary as Temporary | undefined)?.remove()
  })

  async function ask(path: string, agent: Agent | false = false): Promise<{ status: number; body: string; connection: string | undefined }> {
    const request = httpRequest({ host: '127.0.0.1', port: rig.plain, path, agent, headers: { authorization: ANN } })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk as Buffer)
    return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString(), connection: response.headers.connection }
  }

  it('TLS towards a backend: certificate, name and pin are checked before a request goes out', async () => {
    assert.equal((await ask('/secure')).body, 'secure GET /secure 0\n')
    assert.equal((await ask('/pinned')).status, 200)
    const seen = secure.requests.length
    for (const path of ['/mispinned', '/stranger', '/misnamed']) assert.equal((await ask(path)).status, 502, path)
    assert.equal(secure.requests.length, seen)
  })

  it('a client certificate is shown to a backend that asks for one', async () => {
    assert.equal((await ask('/mutual')).body, 'mutual')
    assert.equal(presented, 'proxy')
    assert.equal((await ask('/anonymous')).status, 502)
  })

  it('with forwarding = "proxy" a backend connection never carries two clients', async () => {
    const [one, two] = [new Agent({ keepAlive: true, maxSockets: 1 }), new Agent({ keepAlive: true, maxSockets: 1 })]
    const said: string[] = []
    for (const agent of [one, two, one, two, one]) said.push((await ask('/proxied', agent)).body)
    assert.equal(said[0], said[2])
    assert.equal(said[0], said[4])
    assert.equal(said[1], said[3])
    assert.notEqual(said[0], said[1])
    for (const head of heads) assert.equal(head.split(SIGNATURE.toString('latin1')).length, 2, 'one header, before all')
    one.destroy()
    two.destroy()
  })

  it('a destination with max_connections has so many, WebSockets and kept ones included', async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${rig.plain}/narrow`)
    await once(socket, 'open')
    assert.equal((await ask('/narrow')).status, 503)
    const closed = once(socket, 'close')
    socket.close()
    await closed
    let statuses: number[] = []
    for (let i = 0; i < 500 && !statuses.includes(200); i++) statuses = [...statuses, (await ask('/narrow')).status]
    assert.equal(statuses.at(-1), 200, 'the place is free again')
    assert.equal((await ask('/narrow')).status, 200, 'the kept connection is used')
  })

  async function overHttp2<T>(use: (session: ClientHttp2Session) => Promise<T>): Promise<T> {
    const session = connectHttp2(`https://localhost:${rig.tls}`, { ca: rig.authority.cert })
    try {
      await once(session, 'remoteSettings')
      return await use(session)
    } finally {
      session.destroy()
    }
  }

  it('HTTP/2 allows so many streams and such windows', async () => {
    await overHttp2(async (session) => {
      assert.equal(session.remoteSettings.maxConcurrentStreams, HTTP2_STREAMS)
      assert.equal(session.remoteSettings.initialWindowSize, HTTP2_STREAM_WINDOW)
      await new Promise<void>((resolve) => session.ping(() => resolve()))
      assert.equal(session.state.remoteWindowSize, HTTP2_SESSION_WINDOW)
    })
  })

  it('trailers pass in HTTP/2 in both directions', async () => {
    await overHttp2(async (session) => {
      const stream = session.request({ ':method': 'POST', ':path': '/x', authorization: ANN, te: 'trailers', trailer: 'x-check' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-check': 'yes', host: 'victim' }))
      const trailers = once(stream, 'trailers') as Promise<[IncomingHttpHeaders]>
      stream.end('abc')
      const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders]
      stream.resume()
      assert.equal(headers['x-seen'], '["x-check","yes"]')
      const [got] = await trailers
      assert.equal(got['x-sum'], '3')
    })
  })

  it('an account has as many WebSockets as it may have sessions', async () => {
    const open = (): WebSocket => new WebSocket(`ws://127.0.0.1:${rig.plain}/socket`, { headers: { authorization: ANN } })
    const first = open()
    await once(first, 'open')
    const second = open()
    const [, response] = (await once(second, 'unexpected-response')) as [unknown, IncomingMessage]
    assert.equal(response.statusCode, 503)
    response.destroy()
    assert.equal((await ask('/plain')).status, 200, 'requests are not counted')
    const closed = once(first, 'close')
    first.close()
    await closed
    await rig.box.line(({ event, protocol }) => event === 'session_closed' && protocol === 'http')
    const third = open()
    await once(third, 'open')
    third.terminate()
  })

  it('a reload and new workers end connections with their next answer, and lose no request', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    assert.match((await ask('/before', agent)).connection ?? '', /keep-alive/)
    await overHttp2(async (session) => {
      const stream = session.request({ ':path': '/h2', authorization: ANN })
      stream.resume()
      await once(stream, 'end')
      const goaway = once(session, 'goaway')
      const config = await readFile(rig.box.path, 'utf8')
      await writeFile(rig.box.path, config.replace('max_keepalive_requests = 950', 'max_keepalive_requests = 900'))
      const { status, body } = await rig.admin.request('POST', '/config/reload')
      assert.equal(status, 200, body)
      await goaway
    })
    assert.deepEqual(await ask('/after', agent), { status: 200, body: 'plain /after 0', connection: 'close' })
    assert.match((await ask('/again', agent)).connection ?? '', /keep-alive/)
    const from = rig.box.lines.length
    rig.box.signal('SIGUSR2')
    await rig.box.line(({ event }) => event === 'worker_ready', 15_000, from)
    let lastOne = false
    for (let i = 0; i < 200 && !lastOne; i++) {
      const { status, connection } = await ask('/rolling', agent)
      assert.equal(status, 200)
      lastOne = connection === 'close'
    }
    assert.equal(lastOne, true, 'the old worker says that it ends')
    assert.equal((await ask('/rolled', agent)).status, 200)
    agent.destroy()
  })
})
