/** Clients that send a head slowly, or never, and clients that send more than they may: each has a deadline or a bound. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { systemClock } from '../../src/clock.ts'
import { HTTP2_HEAD_ROOM, HTTP2_SESSION_MIB } from '../../src/limits.ts'
import { again, frame, framesOf, indexed, literal, PREFACE } from '../support/http2-frames.ts'
import { HttpBackend } from '../support/http-backend.ts'
import { startHttpRig } from '../support/http-rig.ts'
import type { HttpRig } from '../support/http-rig.ts'

/** RFC 9113 §7. */
const ENHANCE_YOUR_CALM = 0xb
const GET = 'GET /x HTTP/1.1\r\nHost: proxy\r\n\r\n'

describe('a client of HTTP that takes its time, or too much', () => {
  let backend: HttpBackend
  let rig: HttpRig

  before(async () => {
    backend = await HttpBackend.start('backend')
    rig = await startHttpRig({
      destinations: { old: { port: backend.port }, new: { port: backend.port } },
      routes: [{ match: '**', destination: 'new' }],
      http: { keepalive_timeout: '1s', max_keepalive_requests: 5, max_head_size: '2kb' },
      listener: { preauth_timeout: '1s' },
      tables: { server: { threads: 1 } },
    })
  })
  after(async () => {
    await (rig as HttpRig | undefined)?.[Symbol.asyncDispose]()
    await (backend as HttpBackend | undefined)?.[Symbol.asyncDispose]()
  })

  /** All that is said until the proxy closes. */
  async function conversation(say: (socket: Socket) => void): Promise<string> {
    const socket = connect(rig.plain, '127.0.0.1')
    let said = ''
    socket.setTimeout(15_000, () => socket.destroy(new Error(`the connection stayed open: ${said}`)))
    socket.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')))
    say(socket)
    await once(socket, 'close')
    return said
  }

  const answers = (said: string): readonly string[] => said.match(/HTTP\/1\.1 \d+/g) ?? []

  it('that says nothing is closed without a word', async () => {
    assert.equal(await conversation(() => {}), '')
  })

  it('whose head never ends is told so', async () => {
    assert.match(await conversation((socket) => socket.write('GET /x HTTP/1.1\r\nHost: proxy\r\n')), /^HTTP\/1\.1 408 /)
  })

  it('that drips its head gets no more time for it', async () => {
    const said = await conversation((socket) => {
      const drip = setInterval(() => socket.write('X-A: b\r\n'), 100)
      socket.on('error', () => {})
      socket.on('close', () => clearInterval(drip))
      socket.write('GET /x HTTP/1.1\r\nHost: proxy\r\n')
    })
    assert.match(said, /^HTTP\/1\.1 408 /)
  })

  it('that keeps its connection without a further request is closed', async () => {
    assert.deepEqual(answers(await conversation((socket) => socket.write(GET))), ['HTTP/1.1 200'])
  })

  it('gets as many answers on a connection as are configured, and is told of the last', async () => {
    const said = await conversation((socket) => socket.write(GET.repeat(8)))
    assert.deepEqual(answers(said), Array.from({ length: 5 }, () => 'HTTP/1.1 200'))
    assert.match(said, /Connection: close/)
  })

  it('that asks a thousand times in one breath is not answered a thousand times', async () => {
    const seen = backend.requests.length
    await conversation((socket) => {
      socket.on('error', () => {})
      socket.write(GET.repeat(1_000))
    })
    assert.ok(backend.requests.length - seen <= 17, `${backend.requests.length - seen} requests`)
  })

  it('whose head is a little too large is refused, one a little smaller is not', async () => {
    const head = (length: number): string => `GET /x HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\nX-A: ${'a'.repeat(length)}\r\n\r\n`
    assert.match(await conversation((socket) => socket.write(head(1_900))), /^HTTP\/1\.1 200 /)
    assert.match(await conversation((socket) => socket.write(head(2_100))), /^HTTP\/1\.1 431 /)
  })

  /** What is said to a head of HTTP/2 on stream 1: the text of its answer, or the code with which it is reset. */
  async function answerTo(fields: readonly Buffer[], settled: boolean): Promise<string | number> {
    const socket = connectTls({ port: rig.tls, host: '127.0.0.1', servername: 'localhost', ca: rig.authority.cert, ALPNProtocols: ['h2'] })
    socket.on('error', () => {})
    let said = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => (said = Buffer.concat([said, chunk])))
    const pseudo = [
      [':method', 'GET'],
      [':scheme', 'https'],
      [':path', '/x'],
      [':authority', 'proxy'],
    ] as const
    const acknowledged = settled ? [frame(0x4, 0x1, 0)] : []
    socket.write(Buffer.concat([PREFACE, ...acknowledged]))
    // Its settings have come, and ours have been read.
    if (settled) await until(() => framesOf(said).some(({ type, flags }) => type === 0x4 && flags === 0x1))
    socket.write(frame(0x1, 0x5, 1, ...pseudo.map(literal), ...fields))
    const last = (): string | number | undefined => {
      const [data, reset] = [0x0, 0x3].map((wanted) => framesOf(said).find(({ type, stream }) => type === wanted && stream === 1))
      return data === undefined ? reset?.payload.readUInt32BE() : data.payload.toString()
    }
    await until(() => last() !== undefined)
    socket.destroy()
    return last() ?? ''
  }

  it('whose head is too large in HTTP/2 is told so, up to a bound; beyond that its stream is reset', async () => {
    assert.match(String(await answerTo([literal(['x-a', 'a'.repeat(1_800)])], true)), /GET/)
    const field = indexed(['x-a', 'a'.repeat(4_000)])
    const most = Math.floor((2_048 + HTTP2_HEAD_ROOM) / (4_003 + 32))
    assert.equal(await answerTo([field, again(most - 2)], true), '431 Request Header Fields Too Large\n')
    assert.equal(await answerTo([field, again(most)], true), ENHANCE_YOUR_CALM)
  })

  it('that acknowledges no bound, and names one large field thousands of times, is held to what a connection may take', async () => {
    const field = indexed(['x-a', 'a'.repeat(4_000)])
    assert.equal(await answerTo([field, again(Math.ceil((HTTP2_SESSION_MIB * 1_048_576) / 4_000))], false), ENHANCE_YOUR_CALM)
    assert.match(String(await answerTo([], true)), /GET/)
  })
})

async function until(met: () => boolean): Promise<void> {
  for (let i = 0; i < 1_000 && !met(); i++) await systemClock.sleep(10)
  assert.ok(met(), `${met}`)
}
