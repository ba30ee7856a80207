import assert from 'node:assert/strict'
import { test } from 'node:test'
import { spawn } from '../../src/actor/actor.ts'
import { SignalboxError } from '../../src/errors.ts'
import { Health } from '../../src/primary/health.ts'
import type { HealthMessage, Verdict } from '../../src/primary/health.ts'
import { HealthView } from '../../src/worker/health-view.ts'
import { serverConfigOf } from '../support/fake-backend.ts'
import { FakeClock } from '../support/fake-clock.ts'

const failed = { ok: false as const, phase: 'connecting' as const, error: new SignalboxError('BACKEND_CONNECT', 'refused') }

/** A view and the real health actor that it asks. */
function room() {
  const clock = new FakeClock()
  const messages: string[] = []
  const views: HealthView[] = []
  const health = new Health({
    server: serverConfigOf({ hostDownThreshold: 2, hostDownCooldown: 30_000 }),
    destinations: ['one', 'two'],
    clock,
    random: () => 0,
    publish: (verdict: Verdict) => {
      for (const view of views) view.told(verdict)
    },
    changed: () => {},
  })
  const { ref } = spawn<HealthMessage>(health, { name: 'health', clock })
  const counted: typeof ref = Object.assign(Object.create(ref) as typeof ref, {
    tell: (message: HealthMessage) => {
      messages.push(message.type)
      ref.tell(message)
    },
    ask: (...question: Parameters<typeof ref.ask>) => ref.ask(...question),
  })
  const view = new HealthView(counted, clock, health.verdicts())
  views.push(view)
  return { clock, view, messages }
}

test('successes of a healthy destination cost no message; the one that clears a streak is told', () => {
  const { view, messages } = room()
  view.report('one', '192.0.2.1', { ok: true })
  assert.deepEqual(messages, [])
  view.report('one', '192.0.2.1', failed)
  view.report('two', '192.0.2.1', { ok: true })
  view.report('one', '192.0.2.1', { ok: true })
  view.report('one', '192.0.2.1', { ok: true })
  assert.deepEqual(messages, ['outcome', 'outcome'])
})

test('a destination that is down is not dialled until its cooldown is over; then one login probes it and its success opens it', async () => {
  const { view, clock } = room()
  assert.equal(view.admit('one'), true)
  view.report('one', '192.0.2.1', failed)
  view.report('one', '192.0.2.1', failed)
  assert.equal(view.admit('one'), false)
  assert.equal(view.admit('two'), true)
  clock.advance(30_000)
  const [first, second] = await Promise.all([view.admit('one'), view.admit('one')])
  assert.deepEqual([first, second], [true, false])
  view.report('one', '192.0.2.1', { ok: true })
  assert.equal(view.admit('one'), true)
})

test('a primary that does not answer gives no permission', async () => {
  const clock = new FakeClock()
  const silent = { tell: () => {}, ask: () => Promise.reject(new SignalboxError('ACTOR_GONE', 'gone')) }
  const view = new HealthView(silent, clock, [{ destination: 'one', state: 'down', probeFrom: 0 }])
  assert.equal(await view.admit('one'), false)
})
