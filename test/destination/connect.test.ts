/**
 * Several addresses. The one that never answers is a listener on loopback whose process stands still and whose queue is
 * full: the kernel then drops what knocks.
 */
import assert from 'node:assert/strict'
import { connect as connectTo, type Socket } from 'node:net'
import { after, afterEach, before, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { connectTcp } from '../../src/destination/connect.ts'
import type { Address } from '../../src/destination/dns.ts'
import { Halt } from '../../src/destination/halt.ts'
import { SignalboxError } from '../../src/errors.ts'
import { CONNECT_STAGGER_MS } from '../../src/limits.ts'
import { talkServer, type TalkServer } from '../support/fake-backend.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { eventually, openSockets } from '../support/settled.ts'

const SILENT = '127.0.0.2'
const silent: Address = { address: SILENT, family: 4 }
const good: Address = { address: '127.0.0.1', family: 4 }
const refusing: Address = { address: '127.0.0.3', family: 4 }
const anyLocal = (): undefined => undefined

let stuck: Worker
let port: number
let server: TalkServer
const fillers: Socket[] = []

before(async () => {
  const code = `
    const { createServer } = require('node:net')
    const { parentPort } = require('node:worker_threads')
    const server = createServer().listen({ port: 0, host: '${SILENT}', backlog: 1 }, () => {
      parentPort.postMessage(server.address().port)
      // One turn for the message to leave, then never again.
      setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0))
    })`
  stuck = new Worker(code, { eval: true })
  port = await new Promise<number>((resolve, reject) => {
    stuck.once('message', resolve)
    stuck.once('error', reject)
  })
  server = await talkServer({ port })
  // Until one more is not let in.
  for (let full = false; !full && fillers.length < 16; ) {
    const filler = connectTo({ port, host: SILENT })
    filler.on('error', () => {})
    fillers.push(filler)
    for (let turn = 0; turn < 200 && filler.connecting; turn++) await new Promise((resolve) => setImmediate(resolve))
    full = filler.connecting
  }
  assert.ok(fillers.at(-1)?.connecting, 'the queue must be full')
})
afterEach(() => eventually(() => openSockets() <= fillers.length + server.sockets.size, 'nothing left open'))
after(async () => {
  for (const filler of fillers) filler.destroy()
  await server.close()
  await stuck.terminate()
})

test('an address that does not answer gets a head start, then the next one wins', async () => {
  const clock = new FakeClock()
  const halt = new Halt()
  const connected = connectTcp({ addresses: [silent, good], port, localAddress: anyLocal }, clock, halt)
  await clock.advanceAsync(CONNECT_STAGGER_MS - 1)
  assert.equal(server.connections, 0)
  await clock.advanceAsync(1)
  const socket = await connected
  assert.equal(socket.remoteAddress, '127.0.0.1')
  assert.ok(socket.isPaused() && socket.allowHalfOpen)
  assert.equal(clock.pending, 0)
  socket.destroy()
})

test('a refusal does not wait for the head start to be over', async () => {
  const clock = new FakeClock()
  const addresses = [refusing, good]
  const socket = await connectTcp({ addresses, port, localAddress: anyLocal }, clock, new Halt())
  assert.equal(clock.now(), 0)
  socket.destroy()
})

test('addresses that refuse leave the one that may still answer alone, until the deadline', async () => {
  const clock = new FakeClock()
  const halt = new Halt()
  const addresses = [silent, refusing]
  let over: unknown
  const connected = connectTcp({ addresses, port, localAddress: anyLocal }, clock, halt).catch((error) => (over = error))
  await clock.advanceAsync(CONNECT_STAGGER_MS)
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(over, undefined)
  const reason = new SignalboxError('BACKEND_TIMEOUT', 'over')
  halt.now(reason)
  await connected
  assert.equal(over, reason)
  assert.equal(clock.pending, 0)
})

test('when all refuse it is BACKEND_CONNECT with the reason of each', async () => {
  const addresses = [refusing, { address: '127.0.0.4', family: 4 as const }]
  const connected = connectTcp({ addresses, port, localAddress: anyLocal }, new FakeClock(), new Halt())
  await assert.rejects(connected, (error: unknown) => {
    assert.ok(error instanceof SignalboxError && error.code === 'BACKEND_CONNECT')
    assert.ok(error.cause instanceof AggregateError)
    assert.equal(error.cause.errors.length, 2)
    return true
  })
})

test('a local address that this host does not have is BACKEND_CONNECT', async () => {
  const target = { addresses: [good], port, localAddress: () => '192.0.2.1' }
  await assert.rejects(connectTcp(target, new FakeClock(), new Halt()), { code: 'BACKEND_CONNECT' })
})

test('a dial that is over begins no connection', async () => {
  const halt = new Halt()
  const reason = new SignalboxError('KICKED', 'kicked')
  halt.now(reason)
  halt.now(new SignalboxError('INTERNAL', 'a later reason does not count'))
  const before = server.connections
  const connected = connectTcp({ addresses: [good], port, localAddress: anyLocal }, new FakeClock(), halt)
  await assert.rejects(connected, (error) => error === reason)
  assert.equal(server.connections, before)
})
