/**
 * What flows, and what ends: bodies with back-pressure, server-sent events, informational answers, trailers, WebSockets, the
 * operator's kick and hold, a client that leaves, and backends that do wrong.
 */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Agent, request as httpRequest } from 'node:http'
import type { ClientRequest, IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { systemClock } from '../../src/clock.ts'
import { HttpBackend } from '../support/http-backend.ts'
import type { Answering } from '../support/http-backend.ts'
import { startHttpRig } from '../support/http-rig.ts'
import type { HttpRig } from '../support/http-rig.ts'

const basic = (account: string): string => `Basic ${Buffer.from(`${account}:secret`).toString('base64')}`
const ANN = basic('ann@example.com')
const BOB = basic('bob@example.com')

/** What the servers do beyond saying their name. */
const answering =
  (name: string): Answering =>
  (request, response, body) => {
    response.setHeader('X-Backend', name)
    const path = request.url ?? ''
    if (path.startsWith('/echo')) {
      const [, account = ''] = /:?([^:]*)$/.exec(path) ?? []
      response.setHeader('X-Trailer', JSON.stringify(request.rawTrailers))
      response.setHeader('Trailer', 'X-Sum')
      response.write(body)
      response.addTrailers({ 'X-Sum': createHash('sha256').update(body).digest('hex'), Account: account })
      response.end()
    } else if (path === '/hints') {
      response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' })
      response.end('hinted')
    } else if (path === '/events') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      response.write('data: first\n\n')
    } else if (path === '/hang') {
      // Never answered.
    } else if (path === '/cut') {
      response.writeHead(200, { 'Content-Length': '100' })
      response.write('half')
      response.socket?.destroySoon()
    } else if (path === '/401') {
      response.writeHead(401, { 'WWW-Authenticate': 'Basic' })
      response.end()
    } else response.end(`${name} ${request.method} ${path} ${body.length}`)
  }

interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: string
  readonly trailers: IncomingMessage['trailers']
  readonly informed: readonly number[]
}

describe('streams and ends of HTTP', () => {
  let oldServer: HttpBackend
  let newServer: HttpBackend
  let rig: HttpRig
  let sockets: WebSocketServer
  let silent: Server
  let rude: Server
  const held = new Set<Socket>()

  before(async () => {
    oldServer = await HttpBackend.start('old', { answering: answering('old') })
    newServer = await HttpBackend.start('new', { answering: answering('new') })
    sockets = new WebSocketServer({ server: newServer.server })
    sockets.on('connection', (socket) => socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })))
    silent = await listening((socket) => socket.resume())
    // Answers what it was asked, and then what nobody asked.
    rude = await listening((socket) => socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned')))
    const closed = await listening(() => {})
    const nowhere = portOf(closed)
    closed.close()
    rig = await startHttpRig({
      destinations: {
        old: { port: oldServer.port },
        new: { port: newServer.port },
        silent: { port: portOf(silent) },
        rude: { port: portOf(rude) },
        nowhere: { port: nowhere },
      },
      accounts: ['ann@example.com'],
      routes: [
        { match: '/silent', destination: 'silent' },
        { match: '/rude', destination: 'rude' },
        { match: '/nowhere', destination: 'nowhere' },
        { match: '/**', extract: { from: 'authorization' } },
      ],
      http: { relay_idle: '2s' },
      tables: { server: { threads: 1, host_down_threshold: 3, host_down_min_clients: 0, backend_connect_retries: 0, host_down_cooldown: '60s' }, limits: { auth_failure_delay: '10ms' } },
    })
  })
  after(async () => {
    await (rig as HttpRig | undefined)?.[Symbol.asyncDispose]()
    for (const socket of held) socket.destroy()
    ;(sockets as WebSocketServer | undefined)?.close()
    ;(silent as Server | undefined)?.close()
    ;(rude as Server | undefined)?.close()
    await (oldServer as HttpBackend | undefined)?.[Symbol.asyncDispose]()
    await (newServer as HttpBackend | undefined)?.[Symbol.asyncDispose]()
  })

  async function listening(serve: (socket: Socket) => void): Promise<Server> {
    const server = createServer((socket) => {
      held.add(socket)
      socket.on('error', () => {})
      serve(socket)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return server
  }
  const portOf = (server: Server): number => (server.address() as AddressInfo).port

  function open(path: string, headers: OutgoingHttpHeaders = {}, method = 'GET', agent?: Agent): ClientRequest {
    return httpRequest({ host: '127.0.0.1', port: rig.plain, path, method, headers: { authorization: ANN, ...headers }, agent: agent ?? false })
  }

  async function ask(path: string, headers: OutgoingHttpHeaders = {}, agent?: Agent): Promise<Answer> {
    const request = open(path, headers, 'GET', agent)
    request.end()
    return answered(request)
  }

  async function answered(request: ClientRequest): Promise<Answer> {
    const informed: number[] = []
    request.on('information', ({ statusCode }) => informed.push(statusCode))
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk as Buffer)
    return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks).toString(), trailers: response.trailers, informed }
  }

  it('trailers pass in both directions, without what only a head may say', async () => {
    const request = open('/echo', { trailer: 'X-Check', 'transfer-encoding': 'chunked' }, 'POST')
    request.write('abc')
    request.addTrailers({ 'X-Check': 'yes', Host: 'victim' })
    request.end()
    const { headers, trailers, body } = await answered(request)
    assert.equal(body, 'abc')
    assert.equal(headers['x-trailer'], '["X-Check","yes"]')
    assert.equal(trailers['x-sum'], createHash('sha256').update('abc').digest('hex'))
  })

  it('informational answers pass', async () => {
    const { informed, body } = await ask('/hints')
    assert.deepEqual([informed, body], [[103], 'hinted'])
  })

  it('a large body comes back as it went', async () => {
    const body = randomBytes(8 * 1024 * 1024)
    const request = open('/echo', {}, 'POST')
    request.end(body)
    const { trailers } = await answered(request)
    assert.equal(trailers['x-sum'], createHash('sha256').update(body).digest('hex'))
  })

  it('events flow as they are sent, and are no reason to hang up', async () => {
    const request = open('/events')
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const [chunk] = (await once(response, 'data')) as [Buffer]
    assert.equal(chunk.toString(), 'data: first\n\n')
    const before = systemClock.now()
    // Longer than relay_idle, which ends other exchanges.
    await systemClock.sleep(3_000)
    assert.equal(response.destroyed, false, `open for ${systemClock.now() - before} ms`)
    request.destroy()
  })

  it('a silent backend is given up, a silent client too', async () => {
    assert.equal((await ask('/silent')).status, 504)
    const request = open('/echo', { 'content-length': '10' }, 'POST')
    request.write('half')
    assert.equal((await answered(request)).status, 408)
  })

  it('a backend that cuts its answer off is seen to have done so', async () => {
    await assert.rejects(ask('/cut'), /aborted|hang up/)
  })

  it('a client that leaves takes its request with it', async () => {
    const [seen, broken] = [newServer.requests.length, newServer.broken.length]
    const request = open('/hang')
    request.on('error', () => {})
    request.end()
    await until(() => newServer.requests.length > seen)
    request.destroy()
    await until(() => newServer.broken.length > broken)
    assert.equal(newServer.broken.at(-1), '/hang')
  })

  it("an answer that nobody asked for is nobody's", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let i = 0; i < 5; i++) {
      const { body } = await ask('/rude', {}, agent).catch(() => ({ body: 'refused' }))
      assert.ok(body === 'ok' || body === 'refused' || body.startsWith('502'), body)
    }
    agent.destroy()
  })

  it("a destination that can't be reached is 502, then known to be down: 503 with Retry-After", async () => {
    const statuses: number[] = []
    for (let i = 0; i < 6; i++) statuses.push((await ask('/nowhere')).status)
    assert.deepEqual(statuses.slice(0, 3), [502, 502, 502])
    assert.equal(statuses.at(-1), 503)
    const { headers } = await ask('/nowhere')
    assert.equal(headers['retry-after'], '5')
    assert.ok((await rig.admin.request('GET', '/destinations')).body.includes('nowhere'))
  })

  it('a refused login is one line of the log', async () => {
    assert.equal((await ask('/401')).status, 401)
    const line = await rig.box.line(({ event }) => event === 'login_refused')
    assert.deepEqual([line['protocol'], line['account'], line['client'], line['destination']], ['http', 'ann@example.com', '127.0.0.1', 'new'])
  })

  it('a WebSocket is bridged, counts as a session of its account, and ends with a kick', async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${rig.plain}/socket`, { headers: { authorization: ANN } })
    await once(socket, 'open')
    let echoed = 0
    const through = new Promise<void>((resolve) =>
      socket.on('message', (data: Buffer) => {
        assert.equal(data.toString(), `message ${echoed++}`)
        if (echoed === 10_000) resolve()
      }),
    )
    for (let i = 0; i < 10_000; i++) socket.send(`message ${i}`)
    await through
    const sessions = await rig.admin.request('GET', '/sessions', { identifier: 'ann@example.com' })
    assert.match(sessions.body, /"protocol":\s?"http"/)
    const gone = once(socket, 'close')
    assert.equal((await rig.admin.kick('ann@example.com')).status, 200)
    await gone
    const closed = await rig.box.line(({ event, protocol }) => event === 'session_closed' && protocol === 'http')
    assert.deepEqual([closed['reason'], closed['account'], closed['destination']], ['kicked', 'ann@example.com', 'new'])
  })

  it('a WebSocket that the backend refuses is refused in its words', async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${rig.plain}/x`, { headers: { authorization: BOB } })
    const [, response] = (await once(socket, 'unexpected-response')) as [ClientRequest, IncomingMessage]
    assert.equal(response.headers['x-backend'], 'old')
    response.destroy()
  })

  it('a kick ends requests in flight', async () => {
    const seen = newServer.requests.length
    const request = open('/hang')
    const broken = once(request, 'error')
    request.end()
    await until(() => newServer.requests.length > seen)
    assert.match((await rig.admin.kick('ann@example.com')).body, /1/)
    await broken
  })

  it('a request of a held account waits, and goes where its account has been moved to, on the same connection', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    assert.match((await ask('/a', { authorization: basic('carol@example.com') }, agent)).body, /^old /)
    assert.equal((await rig.admin.delay('carol@example.com', 2)).status, 200)
    const waiting = ask('/b', { authorization: basic('carol@example.com') }, agent)
    assert.equal((await rig.admin.put('carol@example.com', 'new')).status, 200)
    assert.match((await waiting).body, /^new GET \/b/)
    assert.match((await ask('/c', { authorization: basic('carol@example.com') }, agent)).body, /^new /)
    agent.destroy()
  })

  it('a PROXY header of a trusted balancer comes before the first request, in one piece with it', async () => {
    const socket = connect(rig.trusting, '127.0.0.1')
    socket.write(`PROXY TCP4 192.0.2.9 192.0.2.1 5555 443\r\nGET /401 HTTP/1.1\r\nHost: x\r\nAuthorization: ${ANN}\r\nConnection: close\r\n\r\n`)
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    assert.match(chunk.toString(), /^HTTP\/1\.1 401 /)
    await rig.box.line(({ event, client }) => event === 'login_refused' && client === '192.0.2.9')
    socket.destroy()
  })

  it('kept connections are used again, and one that has closed meanwhile loses no request', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    await ask('/a', {}, agent)
    const { connection } = newServer.last
    await ask('/b', {}, agent)
    assert.equal(newServer.last.connection, connection)
    newServer.server.closeIdleConnections()
    assert.equal((await ask('/c', {}, agent)).status, 200)
    assert.notEqual(newServer.last.connection, connection)
    agent.destroy()
  })
})

async function until(met: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !met(); i++) await systemClock.sleep(10)
  assert.ok(met(), `${met}`)
}
