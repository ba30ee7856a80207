import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { add, BUCKETS, count, noDurations, sumOf } from '../../src/observe/durations.ts'

test('a duration is counted in the first bucket whose bound it does not exceed', () => {
  for (const [index, bound] of BUCKETS.entries()) {
    const durations = noDurations()
    count(durations, bound * 1000)
    assert.equal(durations[index], 1, `${bound} s`)
    count(durations, bound * 1000 + 0.001)
    assert.equal(durations[index + 1], 1, `just over ${bound} s`)
  }
})

test('what is longer than every bound is counted too', () => {
  const durations = noDurations()
  count(durations, 3_600_000)
  assert.deepEqual([durations[BUCKETS.length], sumOf(durations)], [1, 3600])
})

test('counted apart and added up is counted together', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 60_000 })), fc.array(fc.integer({ min: 0, max: 60_000 })), (some, others) => {
      const [one, two, both] = [noDurations(), noDurations(), noDurations()]
      for (const ms of some) count(one, ms)
      for (const ms of others) count(two, ms)
      for (const ms of [...some, ...others]) count(both, ms)
      add(one, two)
      assert.deepEqual(one.slice(0, -1), both.slice(0, -1))
      assert.ok(Math.abs(sumOf(one) - sumOf(both)) < 1e-6)
    }),
  )
})
