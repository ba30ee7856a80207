import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SignalboxError } from '../../src/errors.ts'
import type { Place, PlaceDesk } from '../../src/session/place.ts'
import { eventually } from '../support/settled.ts'
import { sessionRig } from './rig.ts'

/** A desk that answers when it is told to, and remembers. */
function desk(answers: (place: Place) => true | Promise<boolean>) {
  const told: string[] = []
  const places: PlaceDesk = {
    take(place) {
      told.push(`take ${place.of} ${place.name}`)
      return answers(place)
    },
    giveBack: (place) => void told.push(`back ${place.of} ${place.name}`),
  }
  return { told, places }
}

test('an account that has as many sessions as it may is told so after its backend has accepted, and may go on', async () => {
  let full = true
  const { told, places } = desk(({ of }) => Promise.resolve(of === 'destination' || !full))
  const rig = await sessionRig({ services: { places } })
  const backend = await rig.toReplay('a')
  assert.deepEqual(told, ['take destination one'], 'an account is counted only once a backend has taken it')
  backend.accept()
  await eventually(() => rig.client.received === 'HELLO\nFULL\n', 'the refusal')
  assert.deepEqual(rig.told, ['unavailable a one ACCOUNT_FULL'])
  assert.equal(backend.destroyed, true)
  assert.deepEqual(told, ['take destination one', 'take account a', 'back destination one', 'back account a'])
  full = false
  await rig.toBridge('a')
  await rig.kick('a')
  await rig.ends()
  assert.deepEqual(told.slice(4), ['take destination one', 'take account a', 'back destination one', 'back account a'])
})

test('a destination with as many connections as it may have is not dialled, nor asked about its health', async () => {
  const { told, places } = desk(() => Promise.resolve(false))
  let asked = 0
  const rig = await sessionRig({ services: { places, admit: () => ++asked > 0 } })
  rig.client.send('LOGIN a secret\n')
  await eventually(() => rig.box.source.open.length > 0, 'the lookup')
  await rig.box.source.answer('a', 'one')
  await eventually(() => rig.client.received === 'HELLO\nLATER\n', 'the refusal')
  assert.deepEqual([rig.dials.length, asked, rig.told], [0, 0, ['unavailable a one BACKEND_FULL']])
  assert.deepEqual(told, ['take destination one', 'back destination one'])
  rig.client.send('QUIT\n')
  await rig.ends()
})

test('the places of a login that the backend refuses, and of one that fails, are given back at once', async () => {
  const { told, places } = desk(() => Promise.resolve(true))
  const rig = await sessionRig({ services: { places } })
  const backend = await rig.toReplay('a')
  backend.refuse()
  await eventually(() => told.length === 2, 'the place is given back')
  await rig.box.clock.advanceAsync(1_000)
  await eventually(() => rig.client.received.endsWith('NO\n'), 'the refusal')
  ;(await rig.toReplay('a')).fail(new SignalboxError('BACKEND_CLOSED', 'gone'))
  await eventually(() => rig.client.received.endsWith('LATER\n'), 'the failure')
  assert.deepEqual(told, ['take destination one', 'back destination one', 'take destination one', 'back destination one'])
  rig.client.send('QUIT\n')
  await rig.ends()
})

test('a session that is kicked while it waits for a place gives it back without having got it', async () => {
  const { told, places } = desk(({ of }) => (of === 'account' ? new Promise(() => {}) : true))
  const rig = await sessionRig({ services: { places } })
  const backend = await rig.toReplay('a')
  backend.accept()
  await eventually(() => told.length === 2, 'it asks')
  assert.equal(await rig.kick('a'), 1)
  const { reason } = await rig.ends()
  assert.equal(reason, 'kicked')
  assert.deepEqual(told, ['take destination one', 'take account a', 'back account a'])
})
