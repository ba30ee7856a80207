/** Clients that send a head slowly, or never, and clients that send more than they may: each has a deadline or a bound. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { HttpBackend } from '../support/http-backend.ts'
import { startHttpRig } from '../support/http-rig.ts'
import type { HttpRig } from '../support/http-rig.ts'

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
})
