import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { NO_MAPPING, RouteCache, VOID } from '../../src/resolver/cache.ts'

test('an entry keeps its destination, time and generation, beyond every growth of the arrays', () => {
  const cache = new RouteCache(5_000)
  for (let index = 0; index < 5_000; index++) cache.store(`key ${index}`, index % 7, index + 0.5, index + 1)
  for (let index = 0; index < 5_000; index++) {
    const slot = cache.peek(`key ${index}`)
    assert.deepEqual([cache.destination(slot), cache.storedAt(slot), cache.generation(slot)], [index % 7, index + 0.5, index + 1])
  }
})

test('a slot that was pushed out is used again and says nothing of the account it belonged to', () => {
  const cache = new RouteCache(1)
  cache.store('a', 3, 10, 1)
  cache.void(cache.peek('a'))
  cache.store('b', NO_MAPPING, 20, 2)
  assert.equal(cache.find('a'), -1)
  assert.equal(cache.destination(cache.find('b')), NO_MAPPING)
  assert.equal(cache.size, 1)
  assert.equal(cache.evictions, 1)
})

test('a sample is a key that is cached, or nothing', () => {
  const cache = new RouteCache(3)
  assert.equal(cache.sample(0.5), undefined)
  for (const key of ['a', 'b', 'c', 'd', 'e']) cache.store(key, 0, 0, 1)
  for (let random = 0; random < 1; random += 0.01) {
    const key = cache.sample(random)
    if (key !== undefined) assert.ok(cache.peek(key) >= 0)
  }
})

test('a cache behaves as a map with a bound that counts what it pushes out, at any size and after resizing', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('store' as const), key: fc.nat(12), destination: fc.integer({ min: -1, max: 5 }) }),
    fc.record({ do: fc.constantFrom('find' as const, 'void' as const), key: fc.nat(12) }),
    fc.record({ do: fc.constant('resize' as const), max: fc.integer({ min: 1, max: 10 }) }),
  )
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10 }), fc.array(step, { maxLength: 120 }), (bound, steps) => {
      let max = bound
      let cache = new RouteCache(max)
      // What was stored, less what the cache has pushed out: it may choose which, but must say how many.
      const model = new Map<string, number>()
      let evictions = 0
      const settle = (): void => {
        for (const key of model.keys()) {
          if (cache.peek(key) >= 0) continue
          model.delete(key)
          evictions++
        }
        assert.equal(cache.evictions, evictions)
        assert.equal(cache.size, model.size)
        assert.ok(cache.size <= max)
      }
      for (const given of steps) {
        if (given.do === 'resize') {
          max = given.max
          const before = model.size
          cache = cache.resized(max)
          settle()
          assert.equal(model.size, Math.min(before, max), 'as many are kept as fit')
          continue
        }
        const key = `k${given.key}`
        const known = model.get(key)
        if (given.do === 'store') {
          const before = model.size
          model.set(key, given.destination)
          cache.store(key, given.destination, 1, 1)
          assert.ok(cache.peek(key) >= 0, 'what was stored is there')
          settle()
          assert.equal(model.size, known === undefined ? Math.min(before + 1, max) : before, 'nothing goes while there is room')
        } else if (given.do === 'void') {
          const slot = cache.peek(key)
          assert.equal(slot >= 0, known !== undefined)
          if (slot >= 0) cache.void(slot)
          if (known !== undefined) model.set(key, VOID)
        } else {
          const slot = cache.find(key)
          assert.equal(slot < 0 ? undefined : cache.destination(slot), known)
        }
        for (const [other, destination] of model) assert.equal(cache.destination(cache.peek(other)), destination)
      }
    }),
  )
})

test('those that are used all the time stay, however many come once', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 40 }), fc.integer({ min: 1, max: 39 }), (max, some) => {
      const cache = new RouteCache(max)
      const regulars = Array.from({ length: Math.min(some, max - 1) }, (_, index) => `regular ${index}`)
      for (const key of regulars) cache.store(key, 1, 0, 1)
      for (let index = 0; index < 5 * max; index++) {
        for (const key of regulars) assert.ok(cache.find(key) >= 0, `${key} after ${index} others`)
        cache.store(`stranger ${index}`, 2, 0, 1)
      }
    }),
  )
})

test('looking at an entry without using it spares it nothing', () => {
  const cache = new RouteCache(2)
  cache.store('looked at', 1, 0, 1)
  cache.store('used', 1, 0, 1)
  cache.peek('looked at')
  cache.find('used')
  cache.store('new', 1, 0, 1)
  assert.equal(cache.peek('looked at'), -1)
  assert.ok(cache.peek('used') >= 0)
})

test('a smaller cache keeps those that were used', () => {
  const cache = new RouteCache(10)
  for (let index = 0; index < 10; index++) cache.store(`key ${index}`, index, 0, 1)
  for (const index of [1, 4, 8]) cache.find(`key ${index}`)
  const smaller = cache.resized(4)
  for (const index of [1, 4, 8]) assert.equal(smaller.destination(smaller.peek(`key ${index}`)), index)
  assert.equal(smaller.size, 4)
  assert.equal(smaller.evictions, 6)
})

test('any name is found again as what it is, well-formed or not', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string({ unit: 'binary', minLength: 1 }), { maxLength: 30 }), (names) => {
      const cache = new RouteCache(100)
      for (const [index, name] of names.entries()) cache.store(`\ud800${name}`, index, 0, 1)
      for (const [index, name] of names.entries()) cache.store(name, index + 100, 0, 1)
      for (const [index, name] of names.entries()) {
        assert.equal(cache.destination(cache.find(`\ud800${name}`)), index)
        assert.equal(cache.destination(cache.find(name)), index + 100)
      }
    }),
  )
})
