import assert from 'node:assert/strict'
import { test } from 'node:test'
import { spawn } from '../../src/actor/actor.ts'
import type { ServerConfig } from '../../src/config/config.ts'
import { Health } from '../../src/primary/health.ts'
import type { HealthChange, HealthMessage, Verdict } from '../../src/primary/health.ts'
import { serverConfigOf } from '../support/fake-backend.ts'
import { FakeClock } from '../support/fake-clock.ts'

const COOLDOWN = 30_000

function room(server: Partial<ServerConfig> = {}) {
  const clock = new FakeClock()
  const verdicts: Verdict[] = []
  const changes: HealthChange[] = []
  const health = new Health({
    server: serverConfigOf(server),
    destinations: ['one', 'two', '__proto__'],
    clock,
    random: () => 0.5,
    publish: (verdict) => verdicts.push(verdict),
    changed: (change) => changes.push(change),
  })
  const { ref } = spawn<HealthMessage>(health, { name: 'health', clock })
  const tell = (result: 'ok' | 'connecting' | 'after', client = '192.0.2.1', destination = 'one') =>
    ref.tell({ type: 'outcome', destination, client, result, error: 'BACKEND_CONNECT: refused' })
  return {
    clock,
    verdicts,
    changes,
    health,
    ref,
    tell,
    fail: (count: number, result: 'connecting' | 'after' = 'connecting', client?: string) => {
      for (let failure = 0; failure < count; failure++) tell(result, client)
    },
    probe: () => ref.ask({ type: 'probe', destination: 'one' }, 1_000),
    state: () => health.verdicts()[0]?.state,
    snapshot: async () => (await ref.ask({ type: 'snapshot' }, 1_000))[0],
  }
}

test('a destination goes down at host_down_threshold failures while connecting, told once with its numbers', () => {
  const { fail, state, changes, verdicts } = room()
  fail(4)
  assert.equal(state(), 'failing')
  assert.deepEqual(verdicts.map((verdict) => verdict.state), ['failing'])
  fail(1)
  assert.equal(state(), 'down')
  assert.deepEqual(changes, [{ down: true, destination: 'one', failures: 5, sources: 1, seconds: 30, error: 'BACKEND_CONNECT: refused' }])
  fail(3)
  assert.equal(changes.length, 1)
})

test('one success clears the streak; a success of a healthy destination is told to nobody', () => {
  const { fail, tell, state, verdicts } = room()
  tell('ok')
  assert.equal(verdicts.length, 0)
  fail(4)
  tell('ok')
  assert.equal(state(), 'healthy')
  fail(4)
  assert.equal(state(), 'failing')
})

test('failures after connecting trip only when they span host_down_min_clients addresses', () => {
  const { fail, state } = room()
  fail(50, 'after')
  assert.equal(state(), 'failing')
  fail(1, 'after', '192.0.2.2')
  assert.equal(state(), 'down')
})

test('one client with an IPv6 network of its own is one client', () => {
  const { fail, state } = room()
  for (let host = 1; host < 40; host++) fail(1, 'after', `2001:db8::${host.toString(16)}`)
  fail(1, 'after', '::ffff:192.0.2.1')
  assert.equal(state(), 'down')

  const banned = room()
  for (let host = 1; host < 40; host++) banned.fail(1, 'after', `2001:db8::${host.toString(16)}`)
  assert.equal(banned.state(), 'failing')
})

test('one failure while connecting makes the streak the host’s own', async () => {
  const { fail, state, snapshot } = room()
  fail(4, 'after')
  fail(1)
  assert.equal(state(), 'down')
  const { consecutiveFailures, failureSources, hostLevelFailure, down, downUntil } = (await snapshot()) ?? {}
  assert.deepEqual([consecutiveFailures, failureSources, hostLevelFailure, down], [5, 1, true, true])
  assert.equal(downUntil, 1_700_000_000_000 + COOLDOWN * 1.05)
})

test('however many clients host_down_min_clients asks for, that many trip it', () => {
  const { fail, state } = room({ hostDownMinClients: 100 })
  for (let client = 0; client < 99; client++) fail(1, 'after', `192.0.2.${client}`)
  assert.equal(state(), 'failing')
  fail(1, 'after', '192.0.2.99')
  assert.equal(state(), 'down')
})

test('a threshold of zero never trips', () => {
  const { fail, state } = room({ hostDownThreshold: 0 })
  fail(1_000)
  assert.equal(state(), 'failing')
})

test('after the cooldown, jittered by a tenth, one probe at a time is let through', async () => {
  const { fail, probe, clock, verdicts, state } = room()
  fail(5)
  assert.equal(verdicts.at(-1)?.probeFrom, COOLDOWN * 1.05)
  clock.advance(COOLDOWN * 1.05 - 1)
  assert.equal(await probe(), false)
  clock.advance(1)
  assert.deepEqual([await probe(), await probe()], [true, false])
  fail(1)
  assert.equal(await probe(), false, 'a probe that fails begins the cooldown anew')
  clock.advance(COOLDOWN * 1.05)
  assert.equal(await probe(), true)
  assert.equal(state(), 'down')
})

test('a probe that never reports is given up after the longest that a dial and a replay may take', async () => {
  const { fail, probe, clock } = room({ backendTimeout: 10_000 })
  fail(5)
  clock.advance(COOLDOWN * 1.05)
  assert.equal(await probe(), true)
  clock.advance(20_999)
  assert.equal(await probe(), false)
  clock.advance(1)
  assert.equal(await probe(), true)
})

test('the probe’s success brings the destination up, told with how long it was down', async () => {
  const { fail, probe, tell, clock, changes, state } = room()
  fail(5)
  clock.advance(60_000)
  await probe()
  tell('ok')
  assert.equal(state(), 'healthy')
  assert.deepEqual(changes.at(-1), { down: false, destination: 'one', seconds: 60 })
  assert.equal(await probe(), true, 'what is up needs no permission')
})

test('destinations are judged apart, whatever they are called', async () => {
  const { tell, health, ref } = room()
  for (let failure = 0; failure < 5; failure++) tell('connecting', '192.0.2.1', '__proto__')
  assert.deepEqual(health.verdicts().map(({ destination, state }) => `${destination} ${state}`), ['one healthy', 'two healthy', '__proto__ down'])
  tell('connecting', '192.0.2.1', 'unknown')
  assert.equal(await ref.ask({ type: 'probe', destination: 'unknown' }, 1_000), false)
})

test('an operator’s reset brings a destination up at once; an unknown one is said to be unknown', async () => {
  const { fail, ref, state, changes, verdicts } = room()
  fail(5)
  assert.equal(await ref.ask({ type: 'reset', destination: 'one' }, 1_000), true)
  assert.equal(state(), 'healthy')
  assert.equal(verdicts.at(-1)?.state, 'healthy')
  assert.equal(changes.at(-1)?.down, false)
  assert.equal(await ref.ask({ type: 'reset', destination: 'nowhere' }, 1_000), false)
})

test('after a crash every destination is up, and every worker told so', () => {
  const { fail, health, state, verdicts } = room()
  fail(5)
  health.crashed()
  assert.equal(state(), 'healthy')
  assert.deepEqual(verdicts.slice(-3).map(({ state }) => state), ['healthy', 'healthy', 'healthy'])
})

test('another configuration keeps the state of what did not change, forgets what changed, and what is gone', async () => {
  const { health, fail, tell, state, verdicts, probe, clock, ref } = room()
  fail(5)
  for (let failure = 0; failure < 5; failure++) tell('connecting', '192.0.2.1', 'two')
  verdicts.length = 0
  health.reconfigure(serverConfigOf({ hostDownThreshold: 2 }), ['one', 'three'], new Set())
  assert.equal(state(), 'down')
  assert.deepEqual(verdicts.map(({ destination, state: now }) => [destination, now]), [['three', 'healthy']])
  assert.deepEqual(health.verdicts().map(({ destination }) => destination), ['one', 'three'])
  assert.equal(await ref.ask({ type: 'reset', destination: 'two' }, 1_000), false)
  // The new threshold counts from here on.
  tell('connecting', '192.0.2.1', 'three')
  tell('connecting', '192.0.2.1', 'three')
  assert.equal(health.verdicts()[1]?.state, 'down')
  clock.advance(COOLDOWN * 2)
  assert.equal(await probe(), true)
  verdicts.length = 0
  health.reconfigure(serverConfigOf(), ['one', 'two'], new Set(['one']))
  // Told, or the workers would go on as if it were down.
  assert.deepEqual(verdicts.map(({ destination, state: now }) => [destination, now]), [['one', 'healthy'], ['two', 'healthy']])
  // One that comes back begins anew.
  assert.deepEqual(health.verdicts().map((verdict) => verdict.state), ['healthy', 'healthy'])
})
