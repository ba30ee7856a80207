import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { spawn } from '../../src/actor/actor.ts'
import { Limits } from '../../src/primary/limits.ts'
import type { LimitsMessage } from '../../src/primary/limits.ts'
import { Places } from '../../src/primary/places.ts'
import type { Place } from '../../src/session/place.ts'
import { testConfig, testDestination } from '../support/config.ts'
import { FakeClock } from '../support/fake-clock.ts'

const ann: Place = { of: 'account', name: 'ann@example.com' }
const one: Place = { of: 'destination', name: 'one' }

function limitsActor(perAccount: number, towardsOne: number) {
  const clock = new FakeClock()
  const config = { ...testConfig().limits, maxSessionsPerAccount: perAccount }
  const limits = new Limits(config, [], clock, [testDestination({ name: 'one', maxConnections: towardsOne }), testDestination({ name: 'free' })])
  const { ref } = spawn<LimitsMessage>(limits, { name: 'limits', clock })
  return {
    ref,
    take: (place: Place, session: string, worker = 1) => ref.ask({ type: 'take', place, holder: { worker, session } }, 1_000),
    back: (place: Place, session: string) => ref.tell({ type: 'give-back', place, session }),
  }
}

test('an account gets max_sessions_per_account and not one more, over all workers; what is given back is free again', async () => {
  const { take, back } = limitsActor(2, 0)
  assert.equal(await take(ann, 'a', 1), true)
  assert.equal(await take(ann, 'b', 2), true)
  assert.equal(await take(ann, 'c', 3), false)
  assert.equal(await take({ of: 'account', name: 'bob@example.com' }, 'c', 3), true)
  back(ann, 'a')
  assert.equal(await take(ann, 'c', 3), true)
  assert.equal(await take(ann, 'd', 3), false)
})

test('a destination gets max_connections and not one more; another one is not concerned', async () => {
  const { take, back } = limitsActor(0, 1)
  assert.equal(await take(one, 'a'), true)
  assert.equal(await take(one, 'b'), false)
  assert.equal(await take({ of: 'destination', name: 'free' }, 'b'), true)
  back(one, 'a')
  assert.equal(await take(one, 'b'), true)
})

test('0 is no limit', async () => {
  const { take } = limitsActor(0, 0)
  for (let count = 0; count < 100; count++) assert.equal(await take(ann, `s${count}`), true)
  for (let count = 0; count < 100; count++) assert.equal(await take(one, `s${count}`), true)
})

test('an account that is named like a destination is not counted as one', async () => {
  const { take } = limitsActor(1, 1)
  assert.equal(await take({ of: 'account', name: 'one' }, 'a'), true)
  assert.equal(await take(one, 'b'), true)
  assert.equal(await take({ of: 'account', name: '__proto__' }, 'c'), true)
})

test('a worker that dies gives back what its sessions had, and nothing else', async () => {
  const { ref, take } = limitsActor(2, 2)
  await take(ann, 'a', 1)
  await take(ann, 'b', 2)
  await take(one, 'a', 1)
  ref.tell({ type: 'worker-gone', worker: 1 })
  assert.equal(await take(ann, 'c', 2), true)
  assert.equal(await take(ann, 'd', 2), false)
  assert.equal(await take(one, 'c', 2), true)
})

test('whatever comes in whatever order, no place has more holders than it may, and nothing is left behind', () => {
  const step = fc.record({
    do: fc.constantFrom('take' as const, 'back' as const, 'gone' as const),
    place: fc.constantFrom(ann, one),
    session: fc.constantFrom('a', 'b', 'c', 'd'),
  })
  // A session belongs to one worker.
  const workerOf = (session: string): number => (session < 'c' ? 1 : 2)
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 3 }), (steps, max) => {
      const places = new Places()
      const model = new Map([ann, one].map((place) => [place, new Set<string>()]))
      for (const { do: what, place, session } of steps) {
        const holders = model.get(place) ?? new Set()
        if (what === 'take') {
          const got = holders.has(session) || holders.size < max
          assert.equal(places.take(place, { worker: workerOf(session), session }, max), got)
          if (got) holders.add(session)
        } else if (what === 'back') {
          places.giveBack(place, session)
          holders.delete(session)
        } else {
          places.workerGone(workerOf(session))
          for (const all of model.values()) for (const held of all) if (workerOf(held) === workerOf(session)) all.delete(held)
        }
        for (const [each, expected] of model) assert.equal(places.taken(each), expected.size)
      }
    }),
  )
})
