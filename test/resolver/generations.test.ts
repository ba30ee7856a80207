import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { INVALIDATION_MEMORY_MS, INVALIDATIONS_REMEMBERED } from '../../src/limits.ts'
import { Generations } from '../../src/resolver/generations.ts'

test('a route is void when its own account or everything was invalidated since, and only then', () => {
  const generations = new Generations()
  const since = generations.current
  assert.equal(generations.voidSince('a', since), false)
  generations.invalidate('b', 0)
  assert.equal(generations.voidSince('a', since), false)
  generations.invalidate('a', 0)
  assert.equal(generations.voidSince('a', since), true)
  const later = generations.current
  assert.equal(generations.voidSince('a', later), false)
  generations.doubtAll()
  assert.equal(generations.voidSince('a', later), false)
  assert.equal(generations.doubtfulSince(later), true)
  generations.invalidateAll(0)
  assert.equal(generations.voidSince('anything', later), true)
  assert.equal(generations.voidSince('anything', generations.current), false)
})

test('what is older than the memory counts as void: at N accounts nothing is forgotten, at N + 1 the oldest is', () => {
  const generations = new Generations(3)
  const since = generations.current
  for (const key of ['a', 'b', 'c']) generations.invalidate(key, 0)
  assert.equal(generations.voidSince('innocent', since), false)
  generations.invalidate('d', 0)
  assert.equal(generations.remembers('a'), false)
  assert.equal(generations.voidSince('a', since), true)
  assert.equal(generations.voidSince('innocent', since), true)
})

test('a full memory forgets one account for each new one, however many there were', () => {
  const generations = new Generations()
  // At a walk over what is deleted for each of them this would take minutes, and a worker would stand still as long.
  const count = 6 * INVALIDATIONS_REMEMBERED
  for (let key = 0; key < count; key++) generations.invalidate(`key ${key}`, 0)
  const oldest = count - INVALIDATIONS_REMEMBERED
  assert.equal(generations.remembers(`key ${oldest - 1}`), false)
  assert.equal(generations.remembers(`key ${oldest}`), true)
  generations.invalidateAll(0)
  for (let key = 0; key <= INVALIDATIONS_REMEMBERED; key++) generations.invalidate(`key ${key}`, 0)
  assert.equal(generations.remembers('key 0'), false)
  assert.equal(generations.remembers('key 1'), true)
})

test('an account that is invalidated again is remembered anew', () => {
  const generations = new Generations(2)
  generations.invalidate('a', 0)
  generations.invalidate('b', 0)
  generations.invalidate('a', 0)
  const since = generations.current
  generations.invalidate('c', 0)
  assert.deepEqual(['a', 'b', 'c'].map((key) => generations.remembers(key)), [true, false, true])
  assert.equal(generations.voidSince('a', since), false)
})

test('an invalidation is remembered for as long as limits say; what began before it is void afterwards too', () => {
  const generations = new Generations()
  const since = generations.current
  generations.invalidate('a', 0)
  generations.invalidate('b', INVALIDATION_MEMORY_MS)
  assert.equal(generations.remembers('a'), true)
  generations.invalidate('c', INVALIDATION_MEMORY_MS + 1)
  assert.equal(generations.remembers('a'), false)
  assert.equal(generations.voidSince('a', since), true)
})

test('an account settles after its invalidation, also when that was pushed out of the memory', () => {
  const generations = new Generations(1)
  assert.equal(generations.settling('a', 0, 1_000), false)
  generations.invalidate('a', 5_000)
  assert.deepEqual([5_000, 5_999, 6_000].map((now) => generations.settling('a', now, 1_000)), [true, true, false])
  generations.invalidate('b', 5_500)
  assert.deepEqual([5_999, 6_000].map((now) => generations.settling('a', now, 1_000)), [true, false])
  generations.invalidateAll(10_000)
  assert.deepEqual([10_999, 11_000].map((now) => generations.settling('never seen', now, 1_000)), [true, false])
})

test('whatever the order of events, nothing that was invalidated since is ever said to hold', () => {
  const event = fc.oneof(
    fc.constantFrom('a', 'b', 'c', 'd', 'e').map((key) => ({ kind: 'one' as const, key })),
    fc.constant({ kind: 'all' as const }),
    fc.constant({ kind: 'doubt' as const }),
    fc.nat(200_000).map((ms) => ({ kind: 'time' as const, ms })),
  )
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), fc.integer({ min: 1, max: 4 }), (events, remembered) => {
      const generations = new Generations(remembered)
      const points: { since: number; touched: Set<string>; all: boolean }[] = []
      let now = 0
      for (const given of events) {
        points.push({ since: generations.current, touched: new Set(), all: false })
        if (given.kind === 'time') now += given.ms
        else if (given.kind === 'doubt') generations.doubtAll()
        else if (given.kind === 'all') generations.invalidateAll(now)
        else generations.invalidate(given.key, now)
        for (const point of points) {
          if (given.kind === 'one') point.touched.add(given.key)
          if (given.kind === 'all') point.all = true
        }
      }
      for (const { since, touched, all } of points) {
        for (const key of ['a', 'b', 'c', 'd', 'e']) {
          if (all || touched.has(key)) assert.equal(generations.voidSince(key, since), true)
        }
      }
    }),
  )
})
