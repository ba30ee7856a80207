import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { GivenState, OperatorState } from '../../src/bus/payload.ts'
import { DestinationStates } from '../../src/primary/destination-states.ts'
import { FakeClock } from '../support/fake-clock.ts'

const STATES = ['up', 'drain', 'down'] as const

function known(given: readonly GivenState[]): DestinationStates {
  const states = new DestinationStates(new FakeClock())
  for (const one of given) states.adopt(one)
  return states
}

test('whatever the order in which they hear of them, all instances end with the same states', () => {
  const given = fc.record({ destination: fc.constantFrom('a', 'b', '__proto__'), state: fc.constantFrom(...STATES), at: fc.nat(5) })
  fc.assert(
    fc.property(fc.array(given).chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))), ([all, shuffled]) => {
      const [one, other] = [known(all), known([...shuffled, ...shuffled])]
      for (const name of ['a', 'b', '__proto__']) assert.equal(one.of(name), other.of(name))
    }),
  )
})

test('what an operator says here counts, also when a peer whose clock is ahead has said something before', () => {
  const states = known([{ destination: 'a', state: 'down', at: 9e15 - 10 }])
  const give = (state: OperatorState): boolean => states.adopt(states.give('a', state))
  assert.ok(give('up'))
  assert.equal(states.of('a'), 'up')
  assert.ok(give('drain'))
  assert.equal(states.of('a'), 'drain')
})

test('a state that is known already is no news, an earlier one neither', () => {
  const states = known([{ destination: 'a', state: 'drain', at: 5 }])
  for (const [state, at, news] of [['drain', 5, false], ['up', 5, false], ['down', 5, true], ['down', 4, false], ['up', 6, true]] as const) {
    assert.equal(states.isNews({ destination: 'a', state, at }), news, `${state} ${at}`)
  }
  assert.equal(states.of('never told'), 'up')
})
