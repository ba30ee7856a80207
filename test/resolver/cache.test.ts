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

test('a cache behaves as a map with a bound that forgets what was used longest ago, at any size and after resizing', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('store' as const), key: fc.nat(12), destination: fc.integer({ min: -1, max: 5 }) }),
    fc.record({ do: fc.constantFrom('find' as const, 'void' as const), key: fc.nat(12) }),
    fc.record({ do: fc.constant('resize' as const), max: fc.integer({ min: 1, max: 10 }) }),
  )
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10 }), fc.array(step, { maxLength: 120 }), (bound, steps) => {
      let max = bound
      let cache = new RouteCache(max)
      // Insertion order is order of use.
      const model = new Map<string, number>()
      const trim = (): void => {
        for (const key of model.keys()) {
          if (model.size <= max) return
          model.delete(key)
        }
      }
      for (const given of steps) {
        if (given.do === 'resize') {
          max = given.max
          trim()
          cache = cache.resized(max)
          continue
        }
        const key = `k${given.key}`
        const known = model.get(key)
        if (given.do === 'store') {
          model.delete(key)
          model.set(key, given.destination)
          trim()
          cache.store(key, given.destination, 1, 1)
        } else if (given.do === 'void') {
          const slot = cache.peek(key)
          assert.equal(slot >= 0, known !== undefined)
          if (slot >= 0) cache.void(slot)
          if (known !== undefined) model.set(key, VOID)
        } else {
          const slot = cache.find(key)
          assert.equal(slot < 0 ? undefined : cache.destination(slot), known)
          if (known !== undefined) {
            model.delete(key)
            model.set(key, known)
          }
        }
        assert.equal(cache.size, model.size)
      }
      for (const [key, destination] of model) assert.equal(cache.destination(cache.peek(key)), destination)
    }),
  )
})
