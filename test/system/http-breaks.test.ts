/**
 * What goes wrong with HTTP, on the wire: servers that die in their answer or break the rules of framing, clients that leave,
 * heads that are too large or never end, idle connections by the hundred. Whoever is served next must notice nothing of it.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as http2Connect, constants } from 'node:http2'
import type { ClientHttp2Session, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import { after, before, describe, it } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { frame, literal, PREFACE } from '../support/http2-frames.ts'
import { startHttpRig } from '../support/http-rig.ts'
import type { HttpRig } from '../support/http-rig.ts'

/** Connections that have said nothing, or that are kept. */
const IDLE = Number(process.env['SIGNALBOX_HTTP_IDLE'] ?? 300)

/** A field that has one value, twice in many answers: the application's and its web server's. */
const NOSNIFF = 'X-Content-Type-Options: nosniff\r\n'

/** What the server says to a request for this path; a function does it by hand. */
const ANSWERS: Readonly<Record<string, string | ((socket: Socket) => void)>> = {
  '/fine': 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine',
  '/204': 'HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison',
  '/304': 'HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\nETag: "x"\r\n\r\npoison',
  '/head': 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
  '/hints': 'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nContent-Length: 5\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
  '/trailers': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=b\r\n\r\n',
  '/twice': `HTTP/1.1 103 Early Hints\r\n${NOSNIFF}${NOSNIFF}\r\nHTTP/1.1 200 OK\r\n${NOSNIFF}${NOSNIFF}ETag: "a"\r\nETag: "b"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n${NOSNIFF}${NOSNIFF}\r\n`,
  '/700': 'HTTP/1.1 700 What\r\nContent-Length: 2\r\n\r\nok',
  '/099': 'HTTP/1.1 099 What\r\nContent-Length: 2\r\n\r\nok',
  '/101-bare': 'HTTP/1.1 101 Switching Protocols\r\n\r\n',
  '/gzip-chunked': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  '/chunked-gzip': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  '/gzip': (socket) => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok'),
  '/chunked-1.0': 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  '/version': 'HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok',
  '/101': 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  '/reason': 'HTTP/1.1 200 caf\u00e9\x01\x7f\r\nContent-Length: 2\r\nX-A: caf\u00e9\r\n\r\nok',
  '/both': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  '/lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!',
  '/garbage': 'SSH-2.0-OpenSSH_9.2p1\r\n',
  '/bad-chunk': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
  '/large-head': `HTTP/1.1 200 OK\r\nX-Large: ${'x'.repeat(100_000)}\r\nContent-Length: 2\r\n\r\nok`,
  '/old-style': (socket) => socket.end('HTTP/1.0 200 OK\r\n\r\nuntil the end'),
  '/cut-length': (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', () => socket.end()),
  '/cut-chunks': (socket) => socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', () => socket.end()),
  '/reset-length': (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', () => systemClock.after(100, () => socket.resetAndDestroy())),
  '/reset-old-style': (socket) => socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf', () => systemClock.after(100, () => socket.resetAndDestroy())),
  '/close': (socket) => socket.end(),
  '/reset': (socket) => socket.resetAndDestroy(),
  '/early-413': (socket) => socket.write('HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig', () => socket.end()),
  '/early-413-kept': 'HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig',
}
/** Paths whose answer comes before the body of the request. */
const EARLY = new Set(['/early-413', '/early-413-kept', '/close', '/reset'])

interface Answer {
  readonly status: number | undefined
  readonly body: string
  readonly headers: IncomingHttpHeaders
  readonly trailers: IncomingHttpHeaders
  readonly informed: readonly number[]
  /** Its end was that of a whole answer. */
  readonly whole: boolean
}

describe('HTTP when something breaks', () => {
  let server: Server
  let rig: HttpRig
  let session: ClientHttp2Session
  const held = new Set<Socket>()
  /** Requests that came to the server: their first lines. */
  const asked: string[] = []
  /** Connections of the server that were cut in a request's body. */
  let cut = 0

  before(async () => {
    server = createServer((socket) => {
      held.add(socket)
      socket.on('error', () => {})
      let read = ''
      let left: number | 'chunks' | undefined
      let path = ''
      const answer = (): void => {
        const say = ANSWERS[path] ?? ANSWERS['/fine']
        if (typeof say === 'string') socket.write(say, 'latin1')
        else say?.(socket)
      }
      socket.on('data', (chunk: Buffer) => {
        read += chunk.toString('latin1')
        for (;;) {
          if (left === undefined) {
            const end = read.indexOf('\r\n\r\n')
            if (end < 0) return
            const head = read.slice(0, end)
            read = read.slice(end + 4)
            path = / (\S+) /.exec(head)?.[1] ?? ''
            asked.push(head.slice(0, head.indexOf('\r\n')))
            left = /^transfer-encoding: chunked/im.test(head) ? 'chunks' : Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)
            if (EARLY.has(path)) answer()
          }
          if (left === 'chunks') {
            const end = /(^|\r\n)0\r\n\r\n/.exec(read)
            if (end === null) return
            read = read.slice(end.index + end[0].length)
          } else {
            const taken = Math.min(left, read.length)
            read = read.slice(taken)
            left -= taken
            if (left > 0) return
          }
          left = undefined
          if (!EARLY.has(path)) answer()
        }
      })
      socket.on('close', () => {
        held.delete(socket)
        if (left !== undefined) cut++
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    rig = await startHttpRig({
      destinations: { old: { port: (server.address() as AddressInfo).port } },
      routes: [{ match: '/**', extract: { from: 'authorization' } }],
      http: { relay_idle: '5s', keepalive_timeout: '3s', max_head_size: '16kb' },
      listener: { preauth_timeout: '2s', max_connections: 4000 },
      tables: { server: { threads: 1, host_down_threshold: 100 }, limits: { max_connections_per_ip: 5_000 } },
    })
    session = http2Session()
  })
  after(async () => {
    ;(session as ClientHttp2Session | undefined)?.destroy()
    await (rig as HttpRig | undefined)?.[Symbol.asyncDispose]()
    for (const socket of held) socket.destroy()
    ;(server as Server | undefined)?.close()
  })

  // What a client has written and not sent counts, in Node's: a large body goes in one piece here.
  const http2Session = (): ClientHttp2Session => http2Connect(`https://localhost:${rig.tls}`, { ca: rig.authority.cert, maxSessionMemory: 100 })
  /** An HTTP/2 session; another one when it was idle for too long. */
  function http2(): ClientHttp2Session {
    if (session.destroyed || session.closed) session = http2Session()
    return session
  }

  async function ask2(path: string, method = 'GET', body?: Buffer, fields: OutgoingHttpHeaders = {}): Promise<Answer> {
    const stream = http2().request({ ':path': path, ':method': method, ...fields }, { endStream: body === undefined })
    const informed: number[] = []
    let headers: IncomingHttpHeaders = {}
    let trailers: IncomingHttpHeaders = {}
    let text = ''
    stream.on('headers', (informational) => informed.push(Number(informational[':status'])))
    stream.on('response', (response) => (headers = response))
    stream.on('trailers', (behind) => (trailers = behind))
    stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
    stream.on('error', () => {})
    let ended = false
    stream.on('end', () => (ended = true))
    if (body !== undefined) stream.end(body)
    await new Promise<void>((resolve) => stream.on('close', resolve))
    return { status: headers[':status'] === undefined ? undefined : Number(headers[':status']), body: text, headers, trailers, informed, whole: ended && stream.rstCode === 0 }
  }

  /** Over HTTP/1.1, by hand: everything up to the end of the connection. */
  async function wire(...pieces: readonly (string | Buffer)[]): Promise<string> {
    const socket = connect(rig.plain, '127.0.0.1')
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
    socket.on('error', () => {})
    const patience = systemClock.after(15_000, () => socket.destroy())
    for (const piece of pieces) socket.write(piece)
    await new Promise<void>((resolve) => socket.on('close', () => resolve()))
    patience.cancel()
    return text
  }
  /** Requests under way, as the operator sees them. */
  const listed = async (): Promise<number> => (await rig.admin.request('GET', '/sessions')).body.match(/"destination":\s?"old"/g)?.length ?? 0
  const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: mail\r\n${more}\r\n`
  const LAST = 'Connection: close\r\n'

  for (const path of ['/204', '/304', '/head']) {
    it(`bytes behind an answer that has no body (${path.slice(1)}) are nobody's answer`, async () => {
      const method = path === '/head' ? 'HEAD' : 'GET'
      const said = await wire(`${method} ${path} HTTP/1.1\r\nHost: mail\r\n\r\n`, get('/fine', LAST))
      assert.match(said, new RegExp(`^HTTP/1\\.1 ${path === '/head' ? '200' : path.slice(1)} `))
      assert.match(said, /\r\n\r\nHTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nfine$/)
      assert.doesNotMatch(said, /poison/)
      const { status, body, whole } = await ask2(path, method)
      assert.deepEqual([status, body, whole], [path === '/head' ? 200 : Number(path.slice(1)), '', true])
      assert.equal((await ask2('/fine')).body, 'fine')
    })
  }

  it('informational answers pass, several of them, in both versions; trailers too, but none that frames', async () => {
    assert.match(await wire(get('/hints', LAST)), /^HTTP\/1\.1 103 .*\r\nLink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 102 .*\r\n\r\nHTTP\/1\.1 200 OK\r\n[^]*ok$/)
    assert.deepEqual((await ask2('/hints')).informed, [103, 102])
    const said = await wire(get('/trailers', LAST))
    assert.match(said, /\r\n0\r\nX-Sum: 7\r\n\r\n$/)
    assert.equal((await ask2('/trailers')).trailers['x-sum'], '7')
    assert.equal((await ask2('/trailers')).trailers['set-cookie'], undefined)
  })

  it('a server that contradicts itself, or speaks something else, or at too great length, is 502', async () => {
    for (const path of ['/both', '/lengths', '/garbage', '/large-head', '/bad-chunk', '/close', '/reset']) {
      assert.match(await wire(get(path, LAST)), /^HTTP\/1\.1 502 /, path)
      assert.equal((await ask2(path)).status, 502, path)
    }
  })

  it('a field twice where one is right passes as it is: in what is said before, in the head, behind the body', async () => {
    const said = await wire(get('/twice', LAST))
    assert.match(said, /^HTTP\/1\.1 103 [^]*HTTP\/1\.1 200 OK[^]*\r\nok\r\n0\r\n/)
    assert.equal(said.split(NOSNIFF).length, 7)
    const { body, headers, informed, status, trailers, whole } = await ask2('/twice')
    assert.deepEqual([status, body, whole, informed], [200, 'ok', true, [103]])
    assert.deepEqual([headers['x-content-type-options'], trailers['x-content-type-options']], ['nosniff', 'nosniff'])
  })

  it('a status or version that is none is 502, and so is an agreement that nobody asked for, or a coding that is unknown', async () => {
    for (const path of ['/700', '/099', '/101', '/101-bare', '/version', '/gzip-chunked', '/chunked-gzip', '/gzip', '/chunked-1.0']) {
      assert.match(await wire(get(path, LAST)), /^HTTP\/1\.1 502 /, path)
      assert.equal((await ask2(path)).status, 502, path)
    }
  })

  it('words that are no words in a reason phrase change nothing', async () => {
    assert.match(await wire(get('/reason', LAST)), /^HTTP\/1\.1 200 [^]*\r\n\r\nok$/)
    const { body, headers, status } = await ask2('/reason')
    assert.deepEqual([status, body, headers['x-a']], [200, 'ok', 'caf\u00e9'])
  })

  it('an answer without a length goes on to its end', async () => {
    assert.match(await wire(get('/old-style', LAST)), /^HTTP\/1\.1 200 OK\r\n[^]*until the end/)
    const { body, whole } = await ask2('/old-style')
    assert.deepEqual([body, whole], ['until the end', true])
  })

  it('an answer that was broken off is never taken for a whole one', async () => {
    for (const path of ['/cut-length', '/cut-chunks', '/reset-length', '/reset-old-style']) {
      const said = await wire(get(path))
      assert.match(said, /half/, path)
      // In chunks, the last one must not have come; with a length, that length.
      assert.doesNotMatch(said, /\r\n0\r\n\r\n/, path)
      assert.ok(/content-length: 100|transfer-encoding: chunked/i.test(said), said)
      const { status, whole } = await ask2(path)
      assert.deepEqual([status, whole], [200, false], path)
    }
  })

  it('a client of HTTP/1.0 gets what was broken off as an error of the connection, if at all it can be told', async () => {
    const said = await wire('GET /old-style HTTP/1.0\r\nHost: mail\r\n\r\n')
    assert.match(said, /^HTTP\/1\.1 200 OK\r\n[^]*until the end$/)
    assert.doesNotMatch(said, /chunked/)
  })

  it('an answer that comes before the body has been sent arrives, whether the server then closes or reads on', async () => {
    const body = Buffer.alloc(30_000_000, 'x')
    for (const path of ['/early-413', '/early-413-kept']) {
      for (const framing of ['length', 'chunks']) {
        const head = `PUT ${path} HTTP/1.1\r\nHost: mail\r\n${framing === 'length' ? `Content-Length: ${body.length}` : 'Transfer-Encoding: chunked'}\r\n\r\n`
        const said = await wire(head, ...(framing === 'length' ? [body] : [`${body.length.toString(16)}\r\n`, body, '\r\n0\r\n\r\n']), get('/fine', LAST))
        assert.match(said, /^HTTP\/1\.1 413 .*\r\n[^]*\r\n\r\nbig/, `${path} ${framing}`)
      }
      const { status, body: text } = await ask2(path, 'PUT', body)
      assert.deepEqual([status, text], [413, 'big'], path)
      assert.equal((await ask2('/fine')).body, 'fine')
    }
  })

  it('a client that leaves in the middle of its body takes the request with it, in both versions', async () => {
    const [before, count] = [cut, asked.length]
    const socket = connect(rig.plain, '127.0.0.1')
    socket.write(`PUT /x HTTP/1.1\r\nHost: mail\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(1000)}`)
    await until(() => asked.length === count + 1)
    socket.destroy()
    await until(() => cut === before + 1)
    const pieces = connect(rig.plain, '127.0.0.1')
    pieces.write(`PUT /x HTTP/1.1\r\nHost: mail\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`)
    await until(() => asked.length === count + 2)
    pieces.destroy()
    await until(() => cut === before + 2)
    for (const [index, ends] of [frame(0x3, 0, 1, Buffer.from([0, 0, 0, 8])), undefined].entries()) {
      const leaving = tlsConnect({ port: rig.tls, host: '127.0.0.1', servername: 'localhost', ca: rig.authority.cert, ALPNProtocols: ['h2'] })
      leaving.on('error', () => {})
      leaving.resume()
      const head = ([[':method', 'PUT'], [':scheme', 'https'], [':path', '/x'], [':authority', 'mail']] as const).map(literal)
      leaving.write(Buffer.concat([PREFACE, frame(0x1, 0x4, 1, ...head), frame(0x0, 0, 1, Buffer.alloc(1_000, 'x'))]))
      await until(() => asked.length === count + 3 + index)
      if (ends === undefined) leaving.destroy()
      else leaving.write(ends)
      await until(() => cut === before + 3 + index)
      leaving.destroy()
    }
    for (const code of [undefined, constants.NGHTTP2_CANCEL]) {
      const leaving = http2Session()
      leaving.on('error', () => {})
      const upload = leaving.request({ ':method': 'PUT', ':path': '/x' })
      upload.on('error', () => {})
      const whole = asked.length + 1
      upload.write(Buffer.alloc(100_000, 'x'))
      await until(() => asked.length === whole)
      assert.equal(await listed(), 1)
      const gone = cut + 1
      leaving.destroy(undefined, code)
      await until(() => cut === gone)
    }
  })

  it('a body that is answered early, or goes on as none, leaves nothing when its client leaves', async () => {
    const halves = [
      [`PUT /early-413 HTTP/1.1\r\nHost: mail\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(1_000)}`, '', 413],
      [`PUT /early-413-kept HTTP/1.1\r\nHost: mail\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`, '', 413],
      ['PUT /x HTTP/1.1\r\nHost: mail\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'zz\r\n', 400],
      ['PUT /x HTTP/1.1\r\nHost: mail\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n', 'X Y\r\n\r\n', 400],
    ] as const
    for (const [half, rest, status] of halves) {
      const count = asked.length
      const socket = connect(rig.plain, '127.0.0.1')
      let said = ''
      socket.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')))
      socket.on('error', () => {})
      socket.write(half)
      await until(() => asked.length === count + 1)
      if (rest !== '') socket.write(rest)
      await until(() => said.startsWith(`HTTP/1.1 ${status} `))
      socket.destroy()
    }
    for (let i = 0; i < 300 && (await listed()) > 0; i++) await systemClock.sleep(10)
    assert.equal(await listed(), 0)
  })

  it('a head that is too large is 431, in both versions, and the server hears nothing of it', async () => {
    const count = asked.length
    assert.match(await wire(get('/fine', `X-Large: ${'x'.repeat(20_000)}\r\n`)), /^HTTP\/1\.1 431 /)
    const many = Array.from({ length: 2_000 }, (_, n) => `X-${n}: value\r\n`).join('')
    assert.match(await wire(get('/fine', many)), /^HTTP\/1\.1 431 /)
    for (const length of [17_000, 60_000]) assert.equal((await ask2('/fine', 'GET', undefined, { 'x-large': 'x'.repeat(length) })).status, 431)
    const fields = (number: number) => Object.fromEntries(Array.from({ length: number }, (_, n) => [`x-${n}`, 'value']))
    assert.equal((await ask2('/fine', 'GET', undefined, fields(1_000))).status, 431)
    assert.equal(asked.length, count)
    assert.equal((await ask2('/fine', 'GET', undefined, fields(300))).body, 'fine')
  })

  it('a head that never ends is given up, the first one and a later one', async () => {
    const first = connect(rig.plain, '127.0.0.1')
    let said = ''
    first.on('data', (chunk: Buffer) => (said += chunk.toString()))
    first.on('error', () => {})
    first.write('GET /fine HTTP/1.1\r\n')
    const drip = systemClock.every(300, () => first.write('X-Drip: 1\r\n'))
    const later = wire(get('/fine'), 'GET /fine HTTP/1.1\r\nX-More: ')
    await new Promise<void>((resolve) => first.on('close', () => resolve()))
    drip.cancel()
    assert.match(said, /^HTTP\/1\.1 408 /)
    assert.match(await later, /^HTTP\/1\.1 200 OK[^]*fine/)
  })

  it(`${IDLE} idle connections cost nobody anything, and end by themselves`, async () => {
    const began = systemClock.now()
    const idle: Socket[] = []
    let closed = 0
    let answered = 0
    for (let n = 0; n < IDLE; n++) {
      const socket = connect(rig.plain, '127.0.0.1')
      socket.on('error', () => {})
      socket.on('close', () => closed++)
      socket.on('data', (chunk: Buffer) => (answered += chunk.toString().split('fine').length - 1))
      // Every other one has been served before.
      socket.write(n % 2 === 0 ? get('/fine') : 'GET ')
      idle.push(socket)
      if (n % 100 === 99) await systemClock.sleep(10)
    }
    await until(() => answered === Math.ceil(IDLE / 2), 1_500)
    assert.match(await wire(get('/fine', LAST)), /fine$/)
    assert.equal((await ask2('/fine')).body, 'fine')
    await until(() => closed === IDLE, 1_500)
    const took = systemClock.now() - began
    assert.ok(took > 1_900, `${took} ms`)
  })

  it('nothing of all that is left in the list of sessions', async () => {
    for (let i = 0; i < 300 && (await listed()) > 0; i++) await systemClock.sleep(10)
    assert.equal(await listed(), 0)
  })

  it('the log says each of it once, with a reason, and nothing went wrong inside', () => {
    assert.deepEqual(rig.box.lines.filter(({ event, level }) => event === 'process_warning' || event === 'internal' || level === 'fatal' || level === 'error').map(({ text }) => text), [])
    assert.equal(rig.box.errors, '')
  })
})

async function until(met: () => boolean, tries = 500): Promise<void> {
  for (let i = 0; i < tries && !met(); i++) await systemClock.sleep(10)
  assert.ok(met(), `${met}`)
}
