import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EVENTS_WAITING } from '../../src/limits.ts'
import { HAPPENINGS, Happenings } from '../../src/observe/happenings.ts'
import type { Happening, HappeningName } from '../../src/observe/happenings.ts'

const ALL = new Set<HappeningName>(HAPPENINGS)
const NEVER = () => ({ over: new Promise<void>(() => {}), cancel: () => {} })
const event = (count: number): Happening => ({ event: 'peer', data: { count } })

function listen(happenings: Happenings, wanted = ALL, quiet: Parameters<Happenings['listen']>[2] = NEVER) {
  const gone = new AbortController()
  return { gone, batches: happenings.listen(wanted, gone.signal, quiet) }
}

test('who listens hears what happens from then on, in order and in batches', async () => {
  const happenings = new Happenings()
  happenings.tell('peer', { count: 0 })
  const { batches } = listen(happenings)
  const first = batches.next()
  for (const count of [1, 2]) happenings.tell('peer', { count })
  assert.deepEqual(await first, { done: false, value: [event(1), event(2)] })
  happenings.tell('peer', { count: 3 })
  assert.deepEqual((await batches.next()).value, [event(3)])
})

test('a slow reader keeps as many as its room holds, and is told how many it lost', async () => {
  const happenings = new Happenings(() => {}, 3)
  const { batches } = listen(happenings)
  const { batches: quick } = listen(happenings)
  const [first, second] = [batches.next(), quick.next()]
  happenings.tell('peer', { count: 0 })
  await Promise.all([first, second])
  for (let count = 1; count <= 5; count++) happenings.tell('peer', { count })
  assert.deepEqual((await batches.next()).value, [event(1), event(2), event(3), { event: 'lost', data: { count: 2 } }])
  assert.equal(happenings.lost, 4, 'of both')
  happenings.tell('peer', { count: 6 })
  assert.deepEqual((await batches.next()).value, [event(6)], 'and goes on')
})

test('EVENTS_WAITING happenings wait for a reader, and one more is lost', async () => {
  const happenings = new Happenings()
  const { batches } = listen(happenings)
  const first = batches.next()
  happenings.tell('peer', { count: 0 })
  await first
  for (const [told, lost] of [[EVENTS_WAITING, 0], [EVENTS_WAITING + 1, 1]] as const) {
    for (let count = 1; count <= told; count++) happenings.tell('peer', { count })
    assert.equal(happenings.lost, lost)
    const { value } = await batches.next()
    assert.deepEqual(value?.at(-1), lost === 0 ? event(EVENTS_WAITING) : { event: 'lost', data: { count: 1 } })
  }
})

test('only what was asked for is heard, and takes no room otherwise', async () => {
  const happenings = new Happenings(() => {}, 1)
  const { batches } = listen(happenings, new Set<HappeningName>(['mapping']))
  const first = batches.next()
  for (let count = 0; count < 5; count++) happenings.tell('peer', { count })
  happenings.tell('mapping', { accounts: 1 })
  assert.deepEqual((await first).value, [{ event: 'mapping', data: { accounts: 1 } }])
  assert.equal(happenings.lost, 0)
})

test('a pause is an empty batch', async () => {
  const happenings = new Happenings()
  const { batches } = listen(happenings, ALL, () => ({ over: Promise.resolve(), cancel: () => {} }))
  assert.deepEqual(await batches.next(), { done: false, value: [] })
})

test('a listener ends when its reader goes, and all end when it is closed; nobody is left behind', async () => {
  const told: boolean[] = []
  const happenings = new Happenings((anybody) => told.push(anybody))
  const [one, other] = [listen(happenings), listen(happenings)]
  const [first, second] = [one.batches.next(), other.batches.next()]
  assert.equal(happenings.listeners, 2)
  one.gone.abort()
  assert.equal((await first).done, true)
  assert.equal(happenings.listeners, 1)
  happenings.close()
  assert.equal((await second).done, true)
  assert.equal(happenings.listeners, 0)
  assert.deepEqual(told, [true, false])
  assert.equal((await listen(happenings).batches.next()).done, true, 'closed for good')
})
