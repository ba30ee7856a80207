import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ListenerNumbers, RETIRED_MS } from '../../src/listener/numbered.ts'
import { testListener } from '../support/config.ts'
import { FakeClock } from '../support/fake-clock.ts'

test('a number stands for one state of a listener for ever: what did not change keeps it, all else gets another', () => {
  const state = fc.record({ name: fc.constantFrom('a', 'b', 'c'), maxConnections: fc.integer({ min: 1, max: 3 }) })
  const configuration = fc.uniqueArray(state, { selector: ({ name }) => name, maxLength: 3 })
  fc.assert(
    fc.property(fc.array(configuration, { minLength: 1 }), ([first = [], ...later]) => {
      const numbers = new ListenerNumbers(first.map(testListener), new FakeClock())
      const meant = new Map(numbers.current.map(({ number, listener }) => [number, JSON.stringify(listener)]))
      for (const states of later) {
        const before = new Map(numbers.current.map(({ number, listener }) => [JSON.stringify(listener), number]))
        const next = numbers.number(states.map(testListener))
        for (const { number, listener } of next) {
          const text = JSON.stringify(listener)
          assert.equal(number, before.get(text) ?? number)
          assert.equal(meant.get(number) ?? text, text)
          meant.set(number, text)
        }
        // One that is refused changes nothing.
        if (next.length !== 2) numbers.replace(next)
      }
    }),
  )
})

test('what is no longer in force is known for as long as a connection may be on its way', () => {
  const clock = new FakeClock()
  const numbers = new ListenerNumbers([testListener({ name: 'a' }), testListener({ name: 'b' })], clock)
  numbers.replace(numbers.number([testListener({ name: 'b' })]))
  assert.deepEqual(numbers.current.map(({ listener }) => listener.name), ['b'])
  assert.deepEqual(numbers.retired.map(({ number, listener }) => [number, listener.name]), [[0, 'a']])
  clock.advance(RETIRED_MS)
  assert.deepEqual(numbers.retired, [])
})
