import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { spawn } from '../../src/actor/actor.ts'
import type { Clock } from '../../src/clock.ts'
import type { ConnectionEnvelope } from '../../src/cluster/channel.ts'
import { DESCRIPTOR_RESERVE, DESCRIPTORS_MS, HANDOVER_DEADLINE_MS, WORKER_DESCRIPTORS } from '../../src/limits.ts'
import { Acceptor } from '../../src/primary/acceptor.ts'
import type { AcceptorMessage } from '../../src/primary/handover-messages.ts'
import { Limits } from '../../src/primary/limits.ts'
import type { ListenerConfig } from '../../src/config/config.ts'
import { testConfig, testListener } from '../support/config.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { eventually } from '../support/settled.ts'
import { Peer } from '../support/socket-pair.ts'

const WINDOW = 16
const UNANSWERED_MS = 5_000

interface Sent {
  readonly worker: number
  readonly envelope: ConnectionEnvelope
  readonly failed: () => void
}

interface Options {
  readonly listener?: Partial<ListenerConfig>
  readonly perAddress?: number
  readonly descriptors?: { limit: number; open: () => number }
  readonly clock?: (fake: FakeClock) => Clock
}

async function house(context: TestContext, options: Options = {}) {
  const clock = new FakeClock()
  const listeners = [testListener({ name: 'imap', ...options.listener })]
  const limits = new Limits({ ...testConfig().limits, maxConnectionsPerIp: options.perAddress ?? 0 }, listeners, clock)
  const refused: string[] = []
  const acceptor = new Acceptor({
    listeners: listeners.map((listener, number) => ({ number, listener })),
    clock: options.clock?.(clock) ?? clock,
    limits,
    tooBusy: () => Buffer.from('BUSY\n'),
    refused: (listener, address, why) => refused.push(`${listener.name} ${address} ${why}`),
    ...(options.descriptors === undefined ? {} : { descriptors: options.descriptors }),
  })
  const { ref } = spawn<AcceptorMessage>(acceptor, { name: 'acceptor', clock })
  await acceptor.listen()
  const sent: Sent[] = []
  const clients: Peer[] = []
  context.after(() => {
    acceptor.close()
    for (const { socket } of clients) socket.destroy()
    clock.advance(UNANSWERED_MS + 1_000)
    assert.equal(clock.pending, 0, 'no timer is left')
  })
  const [address] = acceptor.addresses
  const dial = (): Peer => {
    const client = new Peer(connect({ port: address?.port ?? 0, host: '127.0.0.1' }))
    clients.push(client)
    return client
  }
  return {
    acceptor,
    clock,
    limits,
    sent,
    refused,
    ref,
    dial,
    join: (worker: number) =>
      acceptor.join({ worker, send: (envelope, _socket, failed) => sent.push({ worker, envelope, failed }) }),
    /** A client that has been accepted (and counted). */
    async connect(): Promise<Peer> {
      const had = limits.connections
      const client = dial()
      await eventually(() => limits.connections > had, 'it is accepted')
      return client
    },
    /** To which workers the connections went, in order. */
    workers: () => sent.map(({ worker }) => worker),
    take: (index: number) => ref.tell({ type: 'taken', worker: sent[index]?.worker ?? 0, ids: [sent[index]?.envelope.id ?? 0] }),
    decline: (index: number) => ref.tell({ type: 'declined', worker: sent[index]?.worker ?? 0, ids: [sent[index]?.envelope.id ?? 0] }),
    counts: () => [limits.connections, limits.ofWorker(1), limits.ofWorker(2)],
  }
}

test('a connection goes to the worker with the fewest sessions, and its id, listener and address with it', async (context) => {
  const { join, connect, sent, workers, take, limits } = await house(context)
  join(1)
  join(2)
  for (let count = 0; count < 4; count++) {
    await connect()
    take(count)
  }
  assert.deepEqual(workers(), [1, 2, 1, 2])
  limits.release(sent[1]?.envelope.id ?? 0)
  limits.release(sent[3]?.envelope.id ?? 0)
  await connect()
  await connect()
  assert.deepEqual(workers().slice(4), [2, 2])
  const { envelope } = sent[0] as Sent
  assert.deepEqual([envelope.listener, envelope.address], [0, '127.0.0.1'])
  assert.equal(new Set(sent.map((one) => one.envelope.id)).size, 6)
})

test('a worker gets as many connections as its descriptors suffice for, and then nobody is let in', async (context) => {
  // Two connections a worker, two descriptors each, besides its own and the reserve.
  const descriptors = { limit: DESCRIPTOR_RESERVE + WORKER_DESCRIPTORS + 4, open: () => 10 }
  const { join, connect, dial, take, workers, limits, refused, sent } = await house(context, { descriptors })
  join(1)
  join(2)
  for (let count = 0; count < 4; count++) {
    await connect()
    take(count)
  }
  assert.deepEqual(workers(), [1, 2, 1, 2])
  const turnedAway = dial()
  await eventually(() => turnedAway.gone, 'it is closed')
  assert.equal(turnedAway.received, 'BUSY\n')
  assert.deepEqual(refused, ['imap 127.0.0.1 descriptors'])
  limits.release(sent[1]?.envelope.id ?? 0)
  await connect()
  assert.deepEqual(workers().slice(4), [2])
})

test('a primary with few descriptors left turns away what it would accept with the last ones', async (context) => {
  const state = { others: 10 }
  const descriptors = { limit: DESCRIPTOR_RESERVE + WORKER_DESCRIPTORS + 100, open: () => state.others }
  const { clock, join, connect, dial, take, refused } = await house(context, { descriptors })
  join(1)
  await connect()
  take(0)
  state.others = descriptors.limit - DESCRIPTOR_RESERVE
  clock.advance(DESCRIPTORS_MS - 1)
  await connect()
  take(1)
  clock.advance(1)
  const turnedAway = dial()
  await eventually(() => turnedAway.gone, 'it is closed')
  assert.deepEqual([turnedAway.received, refused], ['BUSY\n', ['imap 127.0.0.1 descriptors']])
  state.others -= 2
  clock.advance(DESCRIPTORS_MS)
  await connect()
})

test('sixteen are on their way to a worker at most; the next one goes when one of them was taken', async (context) => {
  const { join, connect, sent, take } = await house(context)
  join(1)
  for (let count = 0; count < WINDOW + 2; count++) await connect()
  assert.equal(sent.length, WINDOW)
  take(3)
  assert.equal(sent.length, WINDOW + 1)
})

test('the primary closes its own descriptor once a worker has taken the connection, and counts it on', async (context) => {
  const { join, connect, take, counts } = await house(context)
  join(1)
  const client = await connect()
  assert.equal(client.gone, false)
  take(0)
  // Without a second descriptor, which a real worker has, this closes the connection.
  await eventually(() => client.gone, 'our descriptor is closed')
  assert.deepEqual(counts(), [1, 1, 0])
})

test('a connection that a worker declines goes to another, however few sessions the first one has', async (context) => {
  const { join, connect, workers, decline, take, counts } = await house(context)
  join(1)
  join(2)
  await connect()
  decline(0)
  assert.deepEqual(workers(), [1, 2])
  take(1)
  assert.deepEqual(counts(), [1, 0, 1])
})

test('where nobody else would have it, the worker that declined is asked again at the next look over, not at once', async (context) => {
  const { join, connect, workers, decline, clock } = await house(context)
  join(1)
  await connect()
  decline(0)
  await turn()
  assert.deepEqual(workers(), [1])
  await connect()
  assert.deepEqual(workers(), [1, 1], 'and it holds up nobody behind it')
  clock.advance(100)
  assert.deepEqual(workers(), [1, 1, 1])
})

test('a worker whose channel takes no more connections is passed over for the next', async (context) => {
  const { join, connect, workers, sent, counts } = await house(context)
  join(1)
  join(2)
  await connect()
  sent[0]?.failed()
  assert.deepEqual(workers(), [1, 2])
  assert.deepEqual(counts(), [1, 0, 1])
})

test('what was on its way to a worker that is gone goes to another, once, with its count', async (context) => {
  const { acceptor, join, connect, workers, sent, ref, counts, refused } = await house(context)
  join(1)
  await connect()
  await connect()
  join(2)
  acceptor.gone(1)
  assert.deepEqual(workers(), [1, 1, 2, 2])
  assert.deepEqual(sent.slice(2).map(({ envelope }) => envelope.id), sent.slice(0, 2).map(({ envelope }) => envelope.id), 'in the order of coming')
  assert.deepEqual(counts(), [2, 0, 2])
  // What the dead worker had still said of them changes nothing.
  ref.tell({ type: 'declined', worker: 1, ids: sent.map(({ envelope }) => envelope.id) })
  assert.equal(sent.length, 4)
  assert.deepEqual(refused, [])
})

test('a worker that lets a connection lie loses it to another after the deadline, and is suspect until it takes one', async (context) => {
  const { join, connect, workers, clock, take, decline, counts } = await house(context)
  join(1)
  join(2)
  await connect()
  clock.advance(HANDOVER_DEADLINE_MS - 1)
  assert.deepEqual(workers(), [1])
  clock.advance(1)
  assert.deepEqual(workers(), [1, 2])
  decline(0)
  assert.deepEqual(workers(), [1, 2], 'it declines too late to matter')
  take(1)
  assert.deepEqual(counts(), [1, 0, 1])
  await connect()
  assert.deepEqual(workers(), [1, 2, 2], 'a suspect worker gets nothing while there is another')
})

test('a suspect worker that is alone gets one connection at a time, and is trusted again when it has taken it', async (context) => {
  const { acceptor, join, connect, workers, clock, take } = await house(context)
  join(1)
  join(2)
  await connect()
  clock.advance(HANDOVER_DEADLINE_MS)
  acceptor.gone(2)
  await connect()
  await connect()
  assert.deepEqual(workers(), [1, 2, 1])
  take(2)
  assert.deepEqual(workers(), [1, 2, 1, 1])
  await connect()
  assert.deepEqual(workers(), [1, 2, 1, 1, 1])
})

test('the only worker stands still: the client is told so and closed within the deadline', async (context) => {
  const { join, connect, clock, counts, refused, workers, take, ref, sent } = await house(context)
  join(1)
  const client = await connect()
  clock.advance(HANDOVER_DEADLINE_MS)
  await eventually(() => client.gone, 'it is closed')
  assert.equal(client.received, 'BUSY\n')
  assert.deepEqual(counts(), [0, 0, 0])
  assert.deepEqual(refused, ['imap 127.0.0.1 unanswered'])
  take(0)
  ref.tell({ type: 'declined', worker: 1, ids: [sent[0]?.envelope.id ?? 0] })
  assert.deepEqual(workers(), [1])
  assert.deepEqual(counts(), [0, 0, 0])
})

test('a connection is never sent again to a worker that let it lie: it might be served twice', async (context) => {
  const { acceptor, join, connect, workers, clock, decline, refused } = await house(context)
  join(1)
  join(2)
  await connect()
  clock.advance(HANDOVER_DEADLINE_MS)
  assert.deepEqual(workers(), [1, 2])
  acceptor.gone(2)
  clock.advance(1_000)
  assert.deepEqual(workers(), [1, 2], 'worker 1 may still take the copy that it holds')
  decline(0)
  join(3)
  assert.deepEqual(workers(), [1, 2, 3])
  assert.deepEqual(refused, [])
})

test('when the primary itself stood still, the workers’ answers are read before anything is taken from them', async (context) => {
  let jumped = 0
  const { join, connect, workers, clock, take, counts, refused } = await house(context, {
    clock: (fake) => ({
      now: () => fake.now() + jumped,
      wall: () => fake.wall() + jumped,
      after: (ms, callback) => fake.after(ms, callback),
      every: (ms, callback) => fake.every(ms, callback),
      sleep: (ms) => fake.sleep(ms),
    }),
  })
  join(1)
  join(2)
  await connect()
  jumped = 10_000
  // The look over comes first in the turn of the event loop, the answer that lay in the channel after it.
  clock.advance(100)
  assert.deepEqual(workers(), [1])
  take(0)
  assert.deepEqual(counts(), [1, 1, 0])
  assert.deepEqual(refused, [])
  await connect()
  jumped += 2_000
  clock.advance(100)
  clock.advance(100)
  assert.deepEqual(workers(), [1, 2, 1], 'one look over is put off, not all')
})

test('connections wait for the first worker, and are closed when none comes', async (context) => {
  const { join, connect, sent, clock, refused, counts } = await house(context)
  const early = await connect()
  clock.advance(UNANSWERED_MS - 1_000)
  await connect()
  clock.advance(1_100)
  await eventually(() => early.gone, 'the first one is closed')
  assert.equal(early.received, 'BUSY\n')
  assert.deepEqual(refused, ['imap 127.0.0.1 unanswered'])
  join(1)
  assert.equal(sent.length, 1)
  assert.deepEqual(counts(), [1, 1, 0])
})

test('a full listener and a full address are told so, told apart, and open again to the last place', async (context) => {
  for (const [options, why] of [[{ listener: { maxConnections: 2 } }, 'listener-full'], [{ perAddress: 2 }, 'address-full']] as const) {
    const { join, connect, dial, refused, limits, sent } = await house(context, options)
    join(1)
    await connect()
    await connect()
    const third = dial()
    await eventually(() => third.gone, 'the third is turned away')
    assert.equal(third.received, 'BUSY\n')
    assert.deepEqual(refused, [`imap 127.0.0.1 ${why}`])
    assert.equal(limits.connections, 2)
    limits.release(sent[0]?.envelope.id ?? 0)
    dial()
    await eventually(() => sent.length === 3, 'there is room again')
    assert.equal(limits.connections, 2)
  }
})

test('who may announce others is not counted for himself: a balancer has as many connections as the listener takes', async (context) => {
  const listener = { proxyProtocol: 'required', proxyTrusted: ['127.0.0.0/8'] } as const
  const { join, connect, refused, limits } = await house(context, { listener, perAddress: 1 })
  join(1)
  for (let connections = 1; connections <= 3; connections++) {
    await connect()
    assert.equal(limits.connections, connections)
  }
  assert.equal(limits.admit('imap', '127.0.0.1'), 'admitted')
  assert.deepEqual(refused, [])
  const stranger = await house(context, { listener: { ...listener, proxyTrusted: ['10.0.0.0/8'] }, perAddress: 1 })
  stranger.join(1)
  await stranger.connect()
  assert.equal(stranger.limits.admit('imap', '127.0.0.1'), 'address-full')
})

test('a worker that drains gets nothing new, and what it declines goes to another', async (context) => {
  const { acceptor, join, connect, workers, decline } = await house(context)
  join(1)
  await connect()
  acceptor.leave(1)
  await connect()
  assert.deepEqual(workers(), [1])
  join(2)
  assert.deepEqual(workers(), [1, 2])
  decline(0)
  assert.deepEqual(workers(), [1, 2, 2])
})

test('closing turns away what waits; what is on its way is taken, or closed when it is declined, lost or left lying', async (context) => {
  for (const fate of ['taken', 'declined', 'gone', 'lying'] as const) {
    const { acceptor, join, connect, clock, counts, take, decline, dial } = await house(context)
    join(1)
    const clients: Peer[] = []
    for (let count = 0; count < WINDOW + 1; count++) clients.push(await connect())
    acceptor.close()
    acceptor.close()
    await eventually(() => clients.at(-1)?.gone === true, 'the one that waits is closed')
    assert.deepEqual(counts(), [WINDOW, WINDOW, 0])
    if (fate === 'gone') acceptor.gone(1)
    else if (fate === 'lying') clock.advance(HANDOVER_DEADLINE_MS + 100)
    else for (let index = 0; index < WINDOW; index++) (fate === 'taken' ? take : decline)(index)
    await eventually(() => clients.every((client) => client.gone), `all are settled: ${fate}`)
    assert.equal(counts()[0], fate === 'taken' ? WINDOW : 0)
    const late = dial()
    await eventually(() => late.closed, 'nobody listens any more')
    assert.ok(late.failed)
  }
})

test('either every listening socket opens or none does, and the failure names listener and address', async (context) => {
  const { acceptor } = await house(context)
  const taken = acceptor.addresses[0]?.port ?? 0
  const bind = (port: number) => [{ host: '127.0.0.1', port, family: 4 as const, text: `127.0.0.1:${port}` }]
  const clock = new FakeClock()
  const listeners = [testListener({ name: 'first', bind: bind(0) }), testListener({ name: 'second', bind: bind(taken) })]
  const other = new Acceptor({
    listeners: listeners.map((listener, number) => ({ number, listener })),
    clock,
    limits: new Limits(testConfig().limits, listeners, clock),
    tooBusy: () => Buffer.alloc(0),
    refused: () => {},
  })
  await assert.rejects(other.listen(), (error: Error) => {
    assert.match(error.message, new RegExp(`"second" cannot listen on 127\\.0\\.0\\.1:${taken}`))
    return true
  })
  assert.deepEqual(other.addresses, [])
  assert.equal(clock.pending, 0)
})
