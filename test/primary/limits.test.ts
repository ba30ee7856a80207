import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { spawn } from '../../src/actor/actor.ts'
import { Limits } from '../../src/primary/limits.ts'
import type { LimitsMessage } from '../../src/primary/limits.ts'
import { testConfig, testListener } from '../support/config.ts'
import { FakeClock } from '../support/fake-clock.ts'

function room({ perAddress = 0, max = 1_000, delay = 1_000 } = {}) {
  const clock = new FakeClock()
  const config = { ...testConfig().limits, maxConnectionsPerIp: perAddress, authFailureDelay: delay }
  const limits = new Limits(config, [testListener({ name: 'a', maxConnections: max }), testListener({ name: 'b', maxConnections: max })], clock)
  const { ref } = spawn<LimitsMessage>(limits, { name: 'limits', clock })
  return { clock, limits, ref, failed: (address: string) => ref.ask({ type: 'failed', address }, 1_000) }
}

test('a listener takes max_connections and not one more; listeners are counted apart', () => {
  const { limits } = room({ max: 2 })
  limits.register(1, 'a', '192.0.2.1', 1)
  assert.equal(limits.admit('a', '192.0.2.1'), 'admitted')
  limits.register(2, 'a', '192.0.2.1', 1)
  assert.equal(limits.admit('a', '192.0.2.2'), 'listener-full')
  assert.equal(limits.admit('b', '192.0.2.2'), 'admitted')
  limits.release(1)
  assert.equal(limits.admit('a', '192.0.2.2'), 'admitted')
  assert.equal(limits.admit('constructor', '192.0.2.2'), 'listener-full', 'nobody listens under that name')
})

test('addresses are counted over all listeners; IPv6 by its /64, IPv4-mapped addresses as IPv4', () => {
  for (const [first, same, other] of [
    ['192.0.2.1', '192.0.2.1', '192.0.2.2'],
    ['192.0.2.1', '::ffff:192.0.2.1', '::ffff:192.0.2.2'],
    ['2001:db8:0:1::1', '2001:db8:0:1:ffff::9', '2001:db8:0:2::1'],
  ] as const) {
    const { limits } = room({ perAddress: 1 })
    limits.register(1, 'a', first, 1)
    assert.equal(limits.admit('b', same), 'address-full')
    assert.equal(limits.admit('b', other), 'admitted')
    limits.release(1)
    assert.equal(limits.admit('b', same), 'admitted')
  }
})

test('a connection whose address is announced later counts for nobody until it is, and then for that one', async () => {
  const { limits, ref } = room({ perAddress: 1 })
  const announced = (id: number, address: string): Promise<boolean> => ref.ask({ type: 'announced', id, address }, 1_000)
  for (const id of [1, 2, 3]) {
    assert.equal(limits.admit('b', undefined), 'admitted')
    limits.register(id, 'b', undefined, 1)
  }
  assert.equal(await announced(1, '203.0.113.9'), true)
  assert.equal(await announced(2, '203.0.113.9'), false)
  assert.equal(await announced(3, '203.0.113.10'), true)
  assert.equal(limits.admit('a', '203.0.113.9'), 'address-full')
  assert.equal(await announced(1, '203.0.113.10'), true, 'it is counted once')
  limits.release(2)
  limits.release(1)
  assert.equal(limits.admit('a', '203.0.113.9'), 'admitted')
  assert.equal(await announced(99, '203.0.113.9'), true, 'one that has ended takes no place')
  assert.equal(limits.admit('a', '203.0.113.9'), 'admitted')
})

test('without a limit addresses are not counted', () => {
  const { limits } = room()
  for (let id = 0; id < 500; id++) limits.register(id, 'a', '192.0.2.1', 1)
  assert.equal(limits.admit('a', '192.0.2.1'), 'admitted')
})

test('a worker that dies takes its own counts with it, those of reassigned connections not', () => {
  const { limits, ref } = room({ perAddress: 2 })
  limits.register(1, 'a', '192.0.2.1', 1)
  limits.register(2, 'a', '192.0.2.1', 1)
  limits.assign(2, 2)
  ref.tell({ type: 'worker-gone', worker: 1 })
  assert.deepEqual([limits.connections, limits.ofWorker(1), limits.ofWorker(2)], [1, 0, 1])
  assert.equal(limits.admit('a', '192.0.2.1'), 'admitted')
  ref.tell({ type: 'ended', ids: [1, 2, 2, 99] })
  assert.deepEqual([limits.connections, limits.ofWorker(2)], [0, 0])
})

test('a worker that accepts by itself is counted by what it tells', () => {
  const { limits, ref } = room({ perAddress: 1 })
  ref.tell({ type: 'opened', worker: 3, connections: [{ id: 2 ** 40, listener: 'a', address: '192.0.2.1' }] })
  assert.equal(limits.ofWorker(3), 1)
  assert.equal(limits.admit('a', '192.0.2.1'), 'address-full')
  ref.tell({ type: 'ended', ids: [2 ** 40] })
  assert.equal(limits.connections, 0)
})

test('the delay of a refusal doubles to eight times and is forgotten after five minutes without another', async () => {
  const { failed, clock } = room()
  const delays = []
  for (let count = 0; count < 6; count++) delays.push(await failed('192.0.2.1'))
  assert.deepEqual(delays, [1_000, 2_000, 4_000, 8_000, 8_000, 8_000])
  assert.equal(await failed('::ffff:192.0.2.1'), 8_000)
  assert.equal(await failed('192.0.2.2'), 1_000)
  clock.advance(299_000)
  assert.equal(await failed('192.0.2.1'), 8_000)
  clock.advance(300_001)
  assert.equal(await failed('192.0.2.1'), 1_000)
})

test('a delay of zero stays zero', async () => {
  const { failed } = room({ delay: 0 })
  assert.deepEqual([await failed('192.0.2.1'), await failed('192.0.2.1')], [0, 0])
})

test('whatever comes in whatever order, the counts are those of the live connections', () => {
  const step = fc.record({
    do: fc.constantFrom('register' as const, 'assign' as const, 'release' as const, 'gone' as const),
    id: fc.nat(8),
    worker: fc.integer({ min: 0, max: 3 }),
    listener: fc.constantFrom('a', 'b'),
    address: fc.constantFrom('192.0.2.1', '2001:db8::1', '2001:db8::2'),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const { limits, ref } = room({ perAddress: 3, max: 4 })
      const live = new Map<number, { worker: number; listener: string; address: string }>()
      for (const { do: what, id, worker, listener, address } of steps) {
        if (what === 'register' && !live.has(id)) {
          limits.register(id, listener, address, worker)
          live.set(id, { worker, listener, address })
        } else if (what === 'assign') {
          limits.assign(id, worker)
          const known = live.get(id)
          if (known !== undefined) known.worker = worker
        } else if (what === 'release') {
          limits.release(id)
          live.delete(id)
        } else if (what === 'gone') {
          ref.tell({ type: 'worker-gone', worker })
          for (const [known, connection] of live) if (connection.worker === worker) live.delete(known)
        }
        const all = [...live.values()]
        assert.equal(limits.connections, all.length)
        for (const number of [0, 1, 2, 3]) assert.equal(limits.ofWorker(number), all.filter((one) => one.worker === number).length)
        for (const name of ['a', 'b']) {
          const full = all.filter((one) => one.listener === name).length >= 4
          const sixes = all.filter((one) => one.address.includes(':')).length
          assert.equal(limits.admit(name, '2001:db8::3'), full ? 'listener-full' : sixes >= 3 ? 'address-full' : 'admitted')
        }
      }
    }),
  )
})
