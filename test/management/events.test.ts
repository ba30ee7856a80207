import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { EVENTS_ALIVE_MS, EVENTS_LISTENERS } from '../../src/limits.ts'
import { TestManagement } from '../support/management.ts'
import { eventually } from '../support/settled.ts'

let api: TestManagement
before(async () => {
  api = await TestManagement.start()
})
after(() => api.stop())

/** A reader of events and what it has got. */
async function reader(query = ''): Promise<{ readonly socket: TLSSocket; text: string; closed: boolean }> {
  const listeners = api.operations.events.happenings.listeners
  const socket = await api.connect()
  const got = { socket, text: '', closed: false }
  socket.on('data', (chunk: Buffer) => (got.text += chunk.toString()))
  socket.on('error', () => {})
  socket.once('close', () => (got.closed = true))
  socket.write(`GET /events${query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${api.token}\r\n\r\n`)
  await eventually(() => got.text.includes('retry: 5000\n\n'), 'the stream begins')
  await eventually(() => api.operations.events.happenings.listeners > listeners, 'it listens')
  return got
}

test('what happens is sent at once, as server-sent events', async () => {
  const got = await reader('?only=mapping,peer')
  const { happenings } = api.operations.events
  assert.match(got.text, /^HTTP\/1\.1 200 OK\r\n/)
  assert.match(got.text, /\r\ncontent-type: text\/event-stream; charset=utf-8\r\n/i)
  assert.match(got.text, /\r\ncache-control: no-store\r\n/i)
  happenings.tell('worker', { worker: 1, state: 'ready' })
  happenings.tell('mapping', { account: 'al*1', accounts: 1 })
  await eventually(() => got.text.includes('event: mapping\ndata: {"account":"al*1","accounts":1}\n\n'), 'it comes')
  assert.ok(!got.text.includes('worker'))
  got.socket.destroy()
  await eventually(() => happenings.listeners === 0, 'it is forgotten')
})

test('a stream in which nothing has happened for EVENTS_ALIVE_MS says that it lives, and not before', async (t) => {
  const { clock, operations } = api
  const never = operations.quiet
  t.after(() => (operations.quiet = never))
  let pauses = 0
  operations.quiet = (ms) => {
    pauses++
    const { promise: over, resolve } = Promise.withResolvers<void>()
    const timer = clock.after(ms, resolve)
    return { over, cancel: () => timer.cancel() }
  }
  const got = await reader()
  t.after(() => got.socket.destroy())
  clock.advance(EVENTS_ALIVE_MS - 1)
  for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve))
  operations.events.happenings.tell('worker', { worker: 1, state: 'ready' })
  await eventually(() => got.text.includes('event: worker\n') && pauses === 2, 'the happening, and the next pause')
  assert.ok(!got.text.includes('\n:\n\n'), 'no comment before it')
  clock.advance(EVENTS_ALIVE_MS)
  await eventually(() => got.text.includes('\n:\n\n'), 'a comment')
  got.socket.destroy()
  await eventually(() => api.operations.events.happenings.listeners === 0, 'it is forgotten')
})

test('so many may listen and no more; names that do not exist are 400', async () => {
  const readers = []
  for (let count = 0; count < EVENTS_LISTENERS; count++) readers.push(await reader())
  assert.equal((await api.ask('GET', '/events')).status, 503)
  for (const { socket } of readers) socket.destroy()
  await eventually(() => api.operations.events.happenings.listeners === 0, 'they are forgotten')
  for (const only of ['', 'everything', 'mapping,', 'lost', 'mapping,mapping,x']) {
    const reply = await api.askJson('GET', `/events?only=${only}`)
    assert.equal(reply.status, 400, only)
    assert.match(reply.text, /"parameter":"only"/)
  }
  api.operations.current = 'draining'
  assert.equal((await api.ask('GET', '/events')).status, 503)
  api.operations.current = 'ready'
})

test('HEAD is answered and listens to nothing', async () => {
  const reply = await api.ask('HEAD', '/events')
  assert.deepEqual([reply.status, reply.text], [200, ''])
  assert.equal(api.operations.events.happenings.listeners, 0)
})

test('without a token nobody listens', async () => {
  assert.equal((await api.ask('GET', '/events', { token: null })).status, 401)
})

test('streams end in good order when the instance does', async () => {
  const got = await reader()
  api.operations.events.happenings.close()
  await eventually(() => got.text.endsWith('\r\n0\r\n\r\n'), 'the last chunk')
  got.socket.destroy()
})
