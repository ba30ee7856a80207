import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { median, quantile, ratios, spread } from '../../bench/statistics.ts'

test('the median of an odd count is the middle one, of an even count the mean of the two', () => {
  assert.equal(median([3, 1, 2]), 2)
  assert.equal(median([4, 1, 3, 2]), 2.5)
})

test('quartiles lie between neighbours', () => {
  assert.deepEqual(spread([1, 2, 3, 4, 10]), { rounds: 5, median: 3, least: 1, most: 10, lowerQuartile: 2, upperQuartile: 4 })
  assert.equal(quantile([1, 2], 0.25), 1.25)
})

test('of nothing there is no median', () => {
  assert.ok(Number.isNaN(median([])))
})

test('a spread is in order whatever the rounds are', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), { minLength: 1 }), (values) => {
      const { least, lowerQuartile, median, upperQuartile, most } = spread(values)
      const order = [least, lowerQuartile, median, upperQuartile, most]
      assert.deepEqual(order, order.toSorted((a, b) => a - b))
    }),
  )
})

test('ratios are formed round by round, as far as both have rounds', () => {
  assert.deepEqual(ratios([2, 6, 9], [1, 2]), [2, 3])
  assert.deepEqual(ratios([2, 6], [0, 2]), [3])
})
