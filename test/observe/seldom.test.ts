import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Seldom } from '../../src/observe/seldom.ts'
import { FakeClock } from '../support/fake-clock.ts'

test('the first of a cause is said at once, the others together when the pause is over', () => {
  const clock = new FakeClock()
  const seldom = new Seldom(clock, 10_000)
  assert.equal(seldom.times('a'), 1)
  for (let again = 0; again < 5; again++) assert.equal(seldom.times('a'), undefined)
  clock.advance(9_999)
  assert.equal(seldom.times('a'), undefined)
  clock.advance(1)
  assert.equal(seldom.times('a'), 7)
  assert.equal(seldom.times('a'), undefined)
})

test('another cause is another matter', () => {
  const seldom = new Seldom(new FakeClock(), 10_000)
  assert.equal(seldom.times('a'), 1)
  assert.equal(seldom.times('b'), 1)
  assert.equal(seldom.times('b'), undefined)
})
