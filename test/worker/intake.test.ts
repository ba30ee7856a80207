import assert from 'node:assert/strict'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import type { ActorRef, Message } from '../../src/actor/message.ts'
import type { ConnectionEnvelope } from '../../src/cluster/channel.ts'
import type { ListenerConfig } from '../../src/config/config.ts'
import { ENDED_MS, HANDOVER_DEADLINE_MS, HANDOVER_FRESH_MS } from '../../src/limits.ts'
import type { AcceptorMessage } from '../../src/primary/handover-messages.ts'
import type { LimitsMessage } from '../../src/primary/limits.ts'
import { Intake } from '../../src/worker/intake.ts'
import type { Taken } from '../../src/worker/intake.ts'
import { testListener } from '../support/config.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { freePort } from '../support/ports.ts'
import { eventually } from '../support/settled.ts'
import { Peer, socketPair } from '../support/socket-pair.ts'

function room(context: TestContext, { atOnce = false, stall = () => {} }: { atOnce?: boolean; stall?: () => void } = {}) {
  const clock = new FakeClock()
  /** Everything that leaves, in order: messages, `flush`, `begin <id>`. */
  const log: (Message | string)[] = []
  const begun: Taken[] = []
  const noting = <M extends Message>(): ActorRef<M> => ({
    tell: (message) => log.push(message),
    ask: () => Promise.reject(new Error('nobody is asked')),
  })
  const intake = new Intake({
    worker: 7,
    clock,
    acceptor: noting<AcceptorMessage>(),
    limits: noting<LimitsMessage>(),
    flush: () => {
      stall()
      log.push('flush')
    },
    atOnce: () => atOnce,
    begin: (taken) => {
      begun.push(taken)
      log.push(`begin ${taken.id}`)
    },
  })
  context.after(() => {
    intake.close()
    for (const { socket } of begun) socket.destroy()
  })
  const envelope = (id: number): ConnectionEnvelope => ({ t: 'connection', id, listener: 2, at: clock.now(), address: '192.0.2.1', port: 5 })
  return { clock, log, begun, intake, envelope }
}

test('what arrives in one turn is taken in one message, which leaves before the first session begins', async (context) => {
  const { log, begun, intake, envelope } = room(context)
  for (const id of [1, 2]) intake.take(envelope(id), (await socketPair()).near)
  await eventually(() => begun.length === 2, 'both begin')
  const taken = log.filter((entry) => typeof entry !== 'string')
  assert.deepEqual(taken.flatMap((message) => ('ids' in message ? message.ids : [])), [1, 2])
  for (const { id } of begun) {
    const told = log.findIndex((entry) => typeof entry !== 'string' && entry.type === 'taken' && 'ids' in entry && (entry.ids as number[]).includes(id))
    const flushed = log.indexOf('flush', told)
    assert.ok(told >= 0 && told < flushed && flushed < log.indexOf(`begin ${id}`))
  }
  assert.deepEqual([begun[0]?.address, begun[0]?.port, begun[0]?.listener], ['192.0.2.1', 5, 2])
  assert.equal(begun[0]?.socket.allowHalfOpen, true)

  log.length = 0
  const { near: one } = await socketPair()
  const { near: two } = await socketPair()
  intake.take(envelope(3), one)
  intake.take(envelope(4), two)
  await eventually(() => begun.length === 4, 'both begin')
  assert.deepEqual(log, [{ type: 'taken', worker: 7, ids: [3, 4] }, 'flush', 'begin 3', 'begin 4'])
})

test('what was sent up to 400 ms ago is taken, what is older is declined and its descriptor closed', async (context) => {
  const { log, begun, intake, envelope, clock } = room(context)
  const [fresh, old] = await Promise.all([socketPair(), socketPair()])
  const sent = envelope(1)
  clock.advance(HANDOVER_FRESH_MS)
  intake.take(sent, fresh.near)
  intake.take({ ...sent, id: 2, at: sent.at - 0.5 }, old.near)
  assert.equal(old.near.destroyed, true)
  assert.deepEqual(log, [{ type: 'declined', worker: 7, ids: [2] }])
  await eventually(() => begun.length === 1, 'the fresh one begins')
  assert.equal(begun[0]?.id, 1)
})

test('what grows too old in a long turn is declined at its end, as the primary may have given it to somebody else', async (context) => {
  const { log, begun, intake, envelope, clock } = room(context)
  const [slow, fresh] = await Promise.all([socketPair(), socketPair()])
  intake.take(envelope(1), slow.near)
  clock.advance(HANDOVER_FRESH_MS + 0.5)
  intake.take(envelope(2), fresh.near)
  await eventually(() => begun.length === 1, 'the fresh one begins')
  assert.deepEqual(begun.map(({ id }) => id), [2])
  assert.equal(slow.near.destroyed, true)
  assert.deepEqual(log.slice(0, 2), [{ type: 'declined', worker: 7, ids: [1] }, { type: 'taken', worker: 7, ids: [2] }])
})

test('where the process stands still between the look and the telling, nobody keeps the connection', async (context) => {
  const { log, begun, intake, envelope, clock } = room(context, { stall: () => clock.advance(HANDOVER_DEADLINE_MS) })
  const { near, far } = await socketPair()
  intake.take(envelope(1), near)
  await eventually(() => far.gone, 'the client sees its end')
  assert.equal(begun.length, 0)
  assert.deepEqual(log.slice(0, 2), [{ type: 'taken', worker: 7, ids: [1] }, 'flush'])
  clock.advance(ENDED_MS)
  assert.deepEqual(log.slice(2), [{ type: 'ended', ids: [1] }, 'flush'])
})

test('a draining worker, and one whose descriptor got lost, decline', async (context) => {
  const { log, begun, intake, envelope } = room(context)
  intake.take(envelope(1), undefined)
  intake.close()
  const { near } = await socketPair()
  intake.take(envelope(2), near)
  assert.deepEqual(log, [{ type: 'declined', worker: 7, ids: [1] }, { type: 'declined', worker: 7, ids: [2] }])
  assert.equal(near.destroyed, true)
  assert.equal(begun.length, 0)
})

test('what has ended is told in company, after a moment or with what is taken', async (context) => {
  const { log, intake, clock, envelope } = room(context)
  intake.ended(1, 0)
  clock.advance(ENDED_MS - 1)
  intake.ended(2, 0)
  assert.deepEqual(log, [])
  clock.advance(1)
  assert.deepEqual(log, [{ type: 'ended', ids: [1, 2] }, 'flush'])
  log.length = 0
  intake.ended(3, 0)
  intake.take(envelope(4), (await socketPair()).near)
  await eventually(() => log.length === 4, 'both are told')
  assert.deepEqual(log, [{ type: 'taken', worker: 7, ids: [4] }, { type: 'ended', ids: [3] }, 'flush', 'begin 4'])
  clock.advance(ENDED_MS)
  assert.equal(log.length, 4, 'once')
})

test('where the next connection may wait for it, what has ended is told in one message per turn', async (context) => {
  const { log, intake } = room(context, { atOnce: true })
  intake.ended(1, 0)
  intake.ended(2, 0)
  await eventually(() => log.length === 2, 'it is told')
  assert.deepEqual(log, [{ type: 'ended', ids: [1, 2] }, 'flush'])
})

test('on shared listening sockets each worker takes its share and tells the others that it is busy; what ends makes room', async (context) => {
  const { log, begun, intake, clock } = room(context)
  const port = await freePort()
  const listener: ListenerConfig = testListener({ name: 'shared', maxConnections: 5, bind: [{ host: '127.0.0.1', port, family: 4, text: `127.0.0.1:${port}` }] })
  await intake.listen([{ number: 0, listener }], 2, () => Buffer.from('BUSY\n'))
  const clients: Peer[] = []
  const dial = (): Peer => {
    const client = new Peer(connect({ port, host: '127.0.0.1' }))
    clients.push(client)
    return client
  }
  context.after(() => clients.forEach(({ socket }) => socket.destroy()))
  for (let count = 0; count < 3; count++) {
    dial()
    await eventually(() => begun.length === count + 1, 'it begins')
  }
  const fourth = dial()
  await eventually(() => fourth.gone, 'the fourth is turned away')
  assert.equal(fourth.received, 'BUSY\n')
  const ids = begun.map(({ id }) => id)
  assert.deepEqual(ids.map((id) => id - 7 * 2 ** 40), [0, 1, 2], 'apart from the primary’s and other workers’ numbers')
  clock.advance(ENDED_MS)
  const told = log.filter((entry) => typeof entry !== 'string').flatMap((message) => ('connections' in message ? (message.connections as { id: number }[]) : []))
  assert.deepEqual(told.map(({ id }) => id), ids, 'they are told')
  const [first] = begun
  first?.socket.destroy()
  intake.ended(first?.id ?? 0, 0)
  dial()
  await eventually(() => begun.length === 4, 'there is room again')
  log.length = 0
  intake.ended(begun[3]?.id ?? 0, 0)
  clock.advance(ENDED_MS)
  assert.deepEqual(log, [{ type: 'ended', ids: [first?.id] }, 'flush'], 'nothing is said of what came and went untold')
  intake.close()
  const late = dial()
  await eventually(() => late.closed, 'nobody listens any more')
  assert.ok(late.failed)
})

test('a shared listening socket that cannot be opened is named', async (context) => {
  const { intake } = room(context)
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const { port } = other.address() as AddressInfo
  const listener = testListener({ name: 'shared', bind: [{ host: '127.0.0.1', port, family: 4, text: `127.0.0.1:${port}` }] })
  await assert.rejects(intake.listen([{ number: 0, listener }], 1, () => Buffer.alloc(0)), { code: 'LISTEN_FAILED', message: new RegExp(`"shared" cannot listen on 127.0.0.1:${port}`) })
  other.close()
})
