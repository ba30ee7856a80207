import assert from 'node:assert/strict'
import { test } from 'node:test'
import { spawn } from '../../src/actor/actor.ts'
import type { Behaviour } from '../../src/actor/actor.ts'
import type { Reply } from '../../src/actor/message.ts'
import type { LimitsMessage } from '../../src/primary/limits.ts'
import { placeDesk } from '../../src/worker/place-desk.ts'
import { testConfig, testDestination } from '../support/config.ts'
import { FakeClock } from '../support/fake-clock.ts'

/** A limits actor that writes down what it is asked, and answers or not. */
function desk(perAccount: number, towardsOne: number, answer: boolean | undefined) {
  const clock = new FakeClock()
  const asked: LimitsMessage[] = []
  const behaviour: Behaviour<LimitsMessage> = {
    receive(message: LimitsMessage, reply: Reply) {
      asked.push(message)
      if (message.type === 'take' && answer !== undefined) reply.to(message, answer)
    },
    crashed: (error) => {
      throw error
    },
  }
  const { ref } = spawn(behaviour, { name: 'limits', clock })
  const config = {
    ...testConfig({ limits: { maxSessionsPerAccount: perAccount } }),
    destinations: [testDestination({ name: 'one', maxConnections: towardsOne }), testDestination({ name: 'free' })],
  }
  return { clock, asked, places: placeDesk(7, () => config, ref) }
}

test('where nothing is limited nobody is asked', () => {
  const { places, asked } = desk(0, 0, false)
  assert.equal(places.take({ of: 'account', name: 'ann' }, 's'), true)
  assert.equal(places.take({ of: 'destination', name: 'one' }, 's'), true)
  assert.deepEqual(asked, [])
})

test('where something is limited the primary is asked, for the session and this worker', async () => {
  for (const answer of [true, false]) {
    const { places, asked } = desk(1, 1, answer)
    const place = { of: 'destination', name: 'one' } as const
    assert.equal(await places.take(place, 's'), answer)
    assert.equal(await places.take({ of: 'account', name: 'ann' }, 's'), answer)
    assert.equal(places.take({ of: 'destination', name: 'free' }, 's'), true)
    places.giveBack(place, 's')
    assert.partialDeepStrictEqual(asked, [
      { type: 'take', place, holder: { worker: 7, session: 's' } },
      { type: 'take', place: { of: 'account', name: 'ann' } },
      { type: 'give-back', place, session: 's' },
    ])
  }
})

test('a primary that does not answer in time turns nobody away', async () => {
  const { places, clock } = desk(1, 0, undefined)
  const taken = places.take({ of: 'account', name: 'ann' }, 's')
  await clock.advanceAsync(1_000)
  assert.equal(await taken, true)
})
