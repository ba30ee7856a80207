/**
 * Ambiguous requests, sent raw. Whatever the proxy makes of one, the backend records what it received: never more than one
 * request, and never another than the one whose head came first. Those of a kind are sent side by side: each goes its own way, or
 * nowhere, and what arrived of all of them together is counted at the end.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { HttpBackend } from '../support/http-backend.ts'
import { frame, framesOf, literal, PREFACE } from '../support/http2-frames.ts'
import { startHttpRig } from '../support/http-rig.ts'
import type { HttpRig } from '../support/http-rig.ts'

/** So many side by side. */
const AT_ONCE = 12
/** What an attacker would like a backend to take for a request of its own. */
const HIDDEN = 'GET /hidden HTTP/1.1\r\nHost: victim\r\n\r\n'
const POST = 'POST /seen HTTP/1.1\r\nHost: proxy\r\n'

const REFUSED: readonly (readonly [string, string, string?])[] = [
  ['a length beside a transfer coding (CL.TE)', `${POST}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['a transfer coding beside a length (TE.CL)', `${POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n28\r\n${HIDDEN}\r\n0\r\n\r\n`],
  ['two transfer codings (TE.TE)', `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['the same coding twice', `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['a list of codings', `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['chunked, but not last', `${POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['an unknown coding', `${POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['a coding in quotes', `${POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['a vertical tab in front of the coding', `${POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['a coding on a folded line', `${POST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['a space before the colon of the coding', `${POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['a coding in HTTP/1.0', `POST /seen HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['two lengths that differ (CL.CL)', `${POST}Content-Length: 0\r\nContent-Length: 40\r\n\r\n${HIDDEN}`],
  ['two lengths that agree', `${POST}Content-Length: 0\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a list of lengths', `${POST}Content-Length: 0, 0\r\n\r\n${HIDDEN}`],
  ['a length with a sign', `${POST}Content-Length: +0\r\n\r\n${HIDDEN}`],
  ['a negative length', `${POST}Content-Length: -1\r\n\r\n${HIDDEN}`],
  ['a length in hexadecimal', `${POST}Content-Length: 0x0\r\n\r\n${HIDDEN}`],
  ['a length beyond all numbers', `${POST}Content-Length: 99999999999999999999999\r\n\r\n${HIDDEN}`],
  ['a space before the colon of the length', `${POST}Content-Length : 0\r\n\r\n${HIDDEN}`],
  ['a folded line', `${POST}X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a bare line feed behind a field', `${POST}X-A: b\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['bare line feeds throughout', `POST /seen HTTP/1.1\nHost: proxy\nContent-Length: 0\n\n${HIDDEN}`],
  ['a bare carriage return in a field', `${POST}X-A: b\rContent-Length: 40\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a NUL in the coding', `${POST}Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['a coding with a parameter', `${POST}Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['an empty coding', `${POST}Transfer-Encoding:\r\n\r\n${HIDDEN}`],
  ['a coding behind a comma', `${POST}Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
  ['an empty length', `${POST}Content-Length:\r\n\r\n${HIDDEN}`],
  ['a length with a space inside', `${POST}Content-Length: 1 0\r\n\r\n${HIDDEN}`],
  ['a tab before the colon of the length', `${POST}Content-Length\t: 0\r\n\r\n${HIDDEN}`],
  ['a space inside a field name', `${POST}X A: b\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a NUL in a field name', `${POST}X\0A: b\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a NUL in the target', `POST /seen\0 HTTP/1.1\r\nHost: proxy\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a tab in the request line', `POST\t/seen\tHTTP/1.1\r\nHost: proxy\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a lower-case version', `POST /seen http/1.1\r\nHost: proxy\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a space in the host', `POST /seen HTTP/1.1\r\nHost: proxy victim\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['two hosts on one line', `POST /seen HTTP/1.1\r\nHost: proxy, victim\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a NUL in a field', `${POST}X-A: b\0\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a field without a colon', `${POST}X-A\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a field without a name', `${POST}: b\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a space at the start of the first field', `POST /seen HTTP/1.1\r\n Host: proxy\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['no host', `POST /seen HTTP/1.1\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['two hosts', `${POST}Host: victim\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a host with a path', `POST /seen HTTP/1.1\r\nHost: proxy/x\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a target of another host', `POST http://victim/seen HTTP/1.1\r\nHost: proxy\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a target with user information', `POST http://a@proxy/seen HTTP/1.1\r\nHost: proxy\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a target without a slash', `POST seen HTTP/1.1\r\nHost: proxy\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a space in the target', `POST /seen /x HTTP/1.1\r\nHost: proxy\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a fragment in the target', `POST /seen#x HTTP/1.1\r\nHost: proxy\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['an unknown version', `POST /seen HTTP/1.2\r\nHost: proxy\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['version 0.9', `POST /seen HTTP/0.9\r\nHost: proxy\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['version 2.0', `POST /seen HTTP/2.0\r\nHost: proxy\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['HTTP/0.9', `GET /seen\r\n${HIDDEN}`],
  ['the preface of HTTP/2 in the clear', `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${HIDDEN}`],
  ['a second authorization', `${POST}Authorization: Basic YTph\r\nAuthorization: Basic Yjpi\r\nContent-Length: 0\r\n\r\n${HIDDEN}`],
  ['a head above the limit', `${POST}X-A: ${'a'.repeat(70_000)}\r\nContent-Length: 0\r\n\r\n${HIDDEN}`, '431'],
  ['TRACE', `TRACE /seen HTTP/1.1\r\nHost: proxy\r\n\r\n`, '405'],
  ['CONNECT', `CONNECT victim:80 HTTP/1.1\r\nHost: victim:80\r\n\r\n${HIDDEN}`, '405'],
]

/** The body breaks only after the head was let through: a backend may have seen the request begin, but no other one. */
const BROKEN: readonly (readonly [string, string])[] = [
  ['a chunk size beyond all numbers', `${POST}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n${HIDDEN}`],
  ['a chunk size that is none', `${POST}Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n${HIDDEN}`],
  ['a negative chunk size', `${POST}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n${HIDDEN}`],
  ['a chunk that is longer than it says', `${POST}Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n${HIDDEN}`],
  ['a bare line feed behind a chunk size', `${POST}Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n${HIDDEN}`],
  ['a bare line feed behind a chunk', `${POST}Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n${HIDDEN}`],
  ['endless chunk extensions', `${POST}Transfer-Encoding: chunked\r\n\r\n1;${'a'.repeat(40_000)}\r\na\r\n0\r\n\r\n${HIDDEN}`],
  ['a length among the trailers', `${POST}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nContent-Length: 40\r\n\r\n${HIDDEN}`],
  ['a bare line feed in a chunk extension', `${POST}Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n${HIDDEN}`],
]

/** Taken, and seen by the backend as exactly this one request. */
const TAKEN: readonly (readonly [string, string, { readonly method?: string; readonly body?: string }])[] = [
  ['a body that looks like a request', `${POST}Connection: close\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`, { body: HIDDEN }],
  ['chunks that look like a request', `${POST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n${HIDDEN.length.toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`, { body: HIDDEN }],
  ['a chunk extension', `${POST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n`, { body: 'x' }],
  ['Connection that names the length', `${POST}Connection: close, content-length\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`, { body: HIDDEN }],
  ['Connection that names the coding', `${POST}Connection: close, transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`, { body: 'x' }],
  ['a GET with a body', `GET /seen HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`, { method: 'GET', body: HIDDEN }],
  ['a length that a bad field name carries', `${POST}Connection: close\r\nContent_Length: 40\r\nContent-Length: 0\r\n\r\n`, {}],
  ['trailers that say what only a head may', `${POST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nHost: victim\r\nX-Forwarded-For: 6.6.6.6\r\nAuthorization: Basic YTph\r\n\r\n`, { body: 'x' }],
  ['an upgrade to HTTP/2', `${POST}Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Length: 0\r\n\r\n`, {}],
  ['a WebSocket with a body', `${POST}Connection: close, Upgrade\r\nUpgrade: websocket\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`, { body: HIDDEN }],
  ['a WebSocket that is refused, and more behind it', `GET /seen HTTP/1.1\r\nHost: proxy\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n${HIDDEN}`, { method: 'GET' }],
  ['a WebSocket by GET with a body', `GET /seen HTTP/1.1\r\nHost: proxy\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`, { method: 'GET', body: HIDDEN }],
  ['Connection that names the credentials', `${POST}Connection: close, authorization\r\nAuthorization: Basic YTph\r\nContent-Length: 0\r\n\r\n`, {}],
  ['Connection that names the host and who the client is', `${POST}Connection: close, host, x-forwarded-for, forwarded, via\r\nContent-Length: 0\r\n\r\n`, {}],
  ['the coding in capitals', `${POST}Connection: close\r\nTransfer-Encoding: CHUNKED\r\n\r\n1\r\nx\r\n0\r\n\r\n`, { body: 'x' }],
  ['the same target in absolute form', `POST http://proxy/seen HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, {}],
]

describe('an ambiguous request', () => {
  let backend: HttpBackend
  let rig: HttpRig
  /** What came, by connection. */
  let came: { bytes: string }[] = []

  before(async () => {
    backend = await HttpBackend.start('backend')
    backend.server.on('connection', (socket) => {
      let record = { bytes: '' }
      socket.on('data', (chunk: Buffer) => {
        // Kept from an earlier test.
        if (!came.includes(record)) came.push((record = { bytes: '' }))
        record.bytes += chunk.toString('latin1')
      })
    })
    rig = await startHttpRig({ destinations: { old: { port: backend.port }, new: { port: backend.port, keys: { forwarded: true } } }, routes: [{ match: '**', destination: 'new' }], tables: { server: { threads: 1 } } })
  })
  after(async () => {
    await (rig as HttpRig | undefined)?.[Symbol.asyncDispose]()
    await (backend as HttpBackend | undefined)?.[Symbol.asyncDispose]()
  })

  function forget(): void {
    backend.requests.length = 0
    came = []
  }
  const raw = (): string => came.map(({ bytes }) => bytes).join('')

  /** What comes back until the proxy closes the connection. */
  function send(bytes: string, secure = false): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = secure ? connectTls({ port: rig.tls, host: '127.0.0.1', servername: 'localhost', ca: rig.authority.cert }) : connect(rig.plain, '127.0.0.1')
      let said = ''
      socket.setTimeout(15_000, () => socket.destroy(new Error(`the connection stayed open: ${said}`)))
      socket.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')))
      let failure: Error | undefined
      socket.on('error', (error) => (failure = error))
      socket.on('close', () => {
        if (said === '' && failure !== undefined && !/ECONNRESET|EPIPE/.test(failure.message)) reject(failure)
        else resolve(said)
      })
      socket.write(Buffer.from(bytes, 'latin1'))
    })
  }

  /** Heads that arrived, however the backend understood them. */
  const headsIn = (bytes: string): number => bytes.match(/ HTTP\/1\.1\r\n/g)?.length ?? 0
  const heads = (): number => headsIn(raw())

  for (const secure of [false, true]) {
    const how = secure ? 'over TLS' : 'in the clear'

    describe(`${how}, refused`, { concurrency: AT_ONCE }, () => {
      before(forget)
      for (const [title, bytes, status = '400'] of REFUSED) {
        it(`with ${title} is refused`, async () => {
          const said = await send(bytes, secure)
          assert.match(said, new RegExp(`^HTTP/1\\.1 ${status} `))
          assert.equal(said.match(/HTTP\/1\.1 /g)?.length, 1)
          assert.equal(raw(), '')
        })
      }
    })

    describe(`${how}, broken`, { concurrency: AT_ONCE }, () => {
      before(forget)
      for (const [title, bytes] of BROKEN) {
        it(`with ${title} brings no second one`, async () => {
          const said = await send(bytes, secure)
          assert.ok(!said.startsWith('HTTP/1.1 2'), said)
        })
      }
      after(() => {
        for (const { bytes } of came) assert.ok(headsIn(bytes) <= 1, bytes)
        assert.ok(came.length <= BROKEN.length)
        assert.deepEqual(backend.requests, [])
      })
    })

    describe(`${how}, taken`, { concurrency: AT_ONCE }, () => {
      before(forget)
      for (const [n, [title, bytes, { method = 'POST', body = '' }]] of TAKEN.entries()) {
        it(`with ${title} is one request`, async () => {
          const url = `/seen-${n}`
          assert.match(await send(bytes.replace('/seen', url), secure), /^HTTP\/1\.1 200 /)
          const [request, ...more] = backend.requests.filter((known) => known.url === url)
          assert.deepEqual(more, [])
          assert.deepEqual([request?.method, request?.body.toString(), request?.trailers], [method, body, []])
          const of = (name: string): readonly string[] | undefined => request?.fields.filter((_, at, all) => at % 2 === 1 && all[at - 1]?.toLowerCase() === name)
          assert.deepEqual([of('host'), of('x-forwarded-for'), of('authorization')], [['proxy'], ['127.0.0.1'], []])
        })
      }
      after(() => {
        assert.equal(backend.requests.length, TAKEN.length)
        // What looks like a request in a body is one only to those who look at the bytes alone.
        assert.equal(heads(), TAKEN.length + TAKEN.filter(([, , { body }]) => body === HIDDEN).length)
      })
    })
  }

  it('over HTTP/2 is refused, or arrives as the one that it is', async () => {
    const ask = (headers: Record<string, string | string[]>, body = ''): Promise<number | string> =>
      new Promise((resolve) => {
        forget()
        const session = connectHttp2(`https://localhost:${rig.tls}`, { ca: rig.authority.cert })
        const done = (result: number | string): void => {
          resolve(result)
          session.destroy()
        }
        session.on('error', (error) => done(error.message))
        try {
          const stream = session.request({ ':method': 'POST', ':path': '/seen', ...headers })
          stream.on('response', ({ ':status': status }) => {
            stream.resume()
            stream.on('end', () => done(status ?? 0))
          })
          stream.on('error', (error) => done(error.message))
          stream.end(body)
        } catch (error) {
          done(String(error))
        }
      })
    for (const headers of [
      { ':path': '/seen HTTP/1.1\r\nHost: x\r\n\r\nGET /hidden' },
      { ':path': 'seen' },
      { ':path': '/a b' },
      { ':method': 'GET /hidden' },
      { ':authority': 'proxy', host: 'victim' },
      { ':authority': 'proxy/x' },
      { 'content-length': '3' },
      { authorization: ['Basic YTph', 'Basic Yjpi'] },
    ]) {
      assert.notEqual(await ask(headers, 'body'), 200, JSON.stringify(headers))
      assert.ok(heads() <= 1 && !raw().includes('/hidden'), JSON.stringify(headers))
    }
    assert.equal(await ask({}, HIDDEN), 200)
    assert.deepEqual(backend.requests.map(({ method, url, body }) => ({ method, url, body: body.toString() })), [{ method: 'POST', url: '/seen', body: HIDDEN }])
  })

  const PSEUDO: readonly (readonly [string, string])[] = [
    [':method', 'POST'],
    [':scheme', 'https'],
    [':path', '/seen'],
    [':authority', 'proxy'],
  ]
  const without = (name: string): readonly (readonly [string, string])[] => PSEUDO.filter(([key]) => key !== name)

  /** Title, head, body. None of them is to be carried out. */
  const FRAMES: readonly (readonly [string, readonly (readonly [string, string])[], string?])[] = [
    ['a name in capitals', [...PSEUDO, ['X-A', 'b']]],
    ['a transfer coding', [...PSEUDO, ['transfer-encoding', 'chunked']], HIDDEN],
    ['connection', [...PSEUDO, ['connection', 'keep-alive']]],
    ['upgrade', [...PSEUDO, ['upgrade', 'websocket']]],
    ['keep-alive', [...PSEUDO, ['keep-alive', 'timeout=5']]],
    ['proxy-connection', [...PSEUDO, ['proxy-connection', 'keep-alive']]],
    ['te that is no trailers', [...PSEUDO, ['te', 'gzip']]],
    ['a line break in the path', [...without(':path'), [':path', `/seen HTTP/1.1\r\n\r\n${HIDDEN}`]]],
    ['an empty path', [...without(':path'), [':path', '']]],
    ['no path', without(':path')],
    ['no method', without(':method')],
    ['no authority and no host', without(':authority')],
    ['two paths', [...PSEUDO, [':path', '/hidden']]],
    ['a pseudo-field behind a field', [...without(':path'), ['x-a', 'b'], [':path', '/seen']]],
    ['an unknown pseudo-field', [...PSEUDO, [':hidden', 'x']]],
    ["a response's pseudo-field", [...PSEUDO, [':status', '200']]],
    ['two hosts that differ', [...PSEUDO, ['host', 'victim']]],
    ['two lengths', [...PSEUDO, ['content-length', '4'], ['content-length', '5']], 'body'],
    ['a length that is none', [...PSEUDO, ['content-length', '4, 4']], 'body'],
    ['a length above its body', [...PSEUDO, ['content-length', '40']], 'body'],
    ['a length below its body', [...PSEUDO, ['content-length', '1']], 'body'],
  ]

  /** Fields that HTTP/2 doesn't know: nghttp2 leaves them out, and the rest of the request is one. */
  const LEFT_OUT: readonly (readonly [string, readonly (readonly [string, string])[]])[] = [
    ['a line break in a value', [...PSEUDO, ['x-a', `b\r\n\r\n${HIDDEN}`]]],
    ['a bare line feed in a value', [...PSEUDO, ['x-a', 'b\ntransfer-encoding: chunked']]],
    ['a NUL in a value', [...PSEUDO, ['x-a', 'b\0c']]],
    ['a line break in a name', [...PSEUDO, ['x-a: b\r\nx-c', 'd']]],
    ['a space in a name', [...PSEUDO, ['x a', 'b']]],
    ['an empty name', [...PSEUDO, ['', 'b']]],
  ]

  for (const [title, head, body = ''] of FRAMES) {
    it(`in frames of HTTP/2 with ${title} is carried out by nobody`, async () => {
      await sendFrames(head, body)
      assert.deepEqual(backend.requests, [])
      assert.ok(heads() <= 1 && !raw().includes('/hidden'), raw())
    })
  }

  for (const [title, head] of LEFT_OUT) {
    it(`in frames of HTTP/2 with ${title} arrives without that field`, async () => {
      await sendFrames(head, '')
      assert.equal(heads(), 1)
      const names = backend.last.fields.filter((_, at) => at % 2 === 0)
      assert.deepEqual(names, ['Host', 'Forwarded', 'X-Forwarded-For', 'Content-Length', 'Connection'])
    })
  }

  async function sendFrames(head: readonly (readonly [string, string])[], body: string): Promise<void> {
    forget()
    const socket = connectTls({ port: rig.tls, host: '127.0.0.1', servername: 'localhost', ca: rig.authority.cert, ALPNProtocols: ['h2'] })
    socket.on('error', () => {})
    const closed = once(socket, 'close')
    // Its answer, its reset, or the end of all.
    const answered = new Promise<void>((resolve) => {
      let said = Buffer.alloc(0)
      socket.on('data', (chunk: Buffer) => {
        said = Buffer.concat([said, chunk])
        if (framesOf(said).some(({ type, flags, stream }) => type === 0x7 || (stream === 1 && (type === 0x3 || (type <= 0x1 && (flags & 0x1) !== 0))))) resolve()
      })
    })
    socket.write(Buffer.concat([PREFACE, frame(0x1, body === '' ? 0x5 : 0x4, 1, ...head.map(literal)), ...(body === '' ? [] : [frame(0x0, 0x1, 1, Buffer.from(body, 'latin1'))])]))
    await Promise.race([answered, closed])
    socket.destroy()
    await closed
  }
})
