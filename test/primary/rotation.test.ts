import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { nextStep } from '../../src/primary/rotation.ts'
import type { Member } from '../../src/primary/rotation.ts'

interface House {
  wanted: number
  putOff: number
  next: number
  members: (Member & { state: Member['state']; outdated: boolean })[]
}

type Event = { readonly kind: 'ready' | 'died' | 'gone' | 'respawn' | 'roll' } & { readonly pick: number } | { readonly kind: 'resize'; readonly to: number }

/** Does what is to be done, as the supervisor does. Gives the steps. */
function settle(house: House): number {
  for (let steps = 0; ; steps++) {
    const step = nextStep({ wanted: house.wanted, putOff: house.putOff, workers: house.members })
    if (step === undefined) return steps
    assert.ok(steps < 100, 'it comes to an end')
    const before = ready(house)
    if (step.do === 'start') house.members.push({ worker: ++house.next, state: 'starting', outdated: false })
    else {
      const member = house.members.find(({ worker }) => worker === step.worker)
      assert.ok(member !== undefined && member.state !== 'draining')
      member.state = 'draining'
      assert.ok(before > house.wanted, 'nobody is taken out who is needed')
    }
  }
}

const ready = ({ members }: House): number => members.filter(({ state }) => state === 'ready').length
const live = ({ members }: House) => members.filter(({ state }) => state !== 'draining')

function happen(house: House, event: Event): void {
  if (event.kind === 'resize') {
    house.wanted = event.to
    return
  }
  const choose = (fits: (member: Member) => boolean) => {
    const fitting = house.members.filter(fits)
    return fitting[event.pick % Math.max(1, fitting.length)]
  }
  switch (event.kind) {
    case 'ready': {
      const member = choose(({ state }) => state === 'starting')
      if (member !== undefined) member.state = 'ready'
      return
    }
    case 'died': {
      const member = choose(({ state }) => state !== 'draining')
      if (member === undefined) return
      house.members = house.members.filter((one) => one !== member)
      house.putOff++
      return
    }
    case 'gone': {
      const member = choose(({ state }) => state === 'draining')
      house.members = house.members.filter((one) => one !== member)
      return
    }
    case 'respawn':
      if (house.putOff > 0) house.putOff--
      return
    case 'roll':
      for (const member of live(house)) member.outdated = true
  }
}

const events = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constantFrom('ready' as const, 'ready' as const, 'died' as const, 'gone' as const, 'respawn' as const, 'roll' as const), pick: fc.nat(9) }),
    fc.record({ kind: fc.constant('resize' as const), to: fc.integer({ min: 1, max: 5 }) }),
  ),
  { maxLength: 60 },
)

test('whatever happens: never more than one worker over what is wanted is started, nobody is drained who is needed', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), events, (wanted, happened) => {
      const house: House = { wanted, putOff: 0, next: 0, members: [] }
      settle(house)
      for (const event of happened) {
        const started = house.next
        happen(house, event)
        settle(house)
        if (house.next > started) assert.ok(live(house).length + house.putOff <= house.wanted + 1)
      }
      // Left alone, everybody becomes ready and the dead are replaced: then there are as many as wanted, none outdated.
      for (let round = 0; round < 100; round++) {
        if (house.putOff > 0) happen(house, { kind: 'respawn', pick: 0 })
        happen(house, { kind: 'ready', pick: 0 })
        settle(house)
      }
      assert.equal(ready(house), house.wanted)
      assert.deepEqual(live(house).filter(({ outdated }) => outdated), [])
      assert.equal(live(house).length, house.wanted)
    }),
  )
})

test('a roll replaces one after the other, the oldest first, and has one more than wanted meanwhile', () => {
  const house: House = { wanted: 2, putOff: 0, next: 2, members: [1, 2].map((worker) => ({ worker, state: 'ready', outdated: true })) }
  settle(house)
  assert.deepEqual(live(house).map(({ worker, state }) => [worker, state]), [[1, 'ready'], [2, 'ready'], [3, 'starting']])
  happen(house, { kind: 'ready', pick: 0 })
  settle(house)
  assert.deepEqual(live(house).map(({ worker, state }) => [worker, state]), [[2, 'ready'], [3, 'ready'], [4, 'starting']])
  happen(house, { kind: 'ready', pick: 0 })
  settle(house)
  assert.deepEqual(live(house).map(({ worker, state }) => [worker, state]), [[3, 'ready'], [4, 'ready']])
})
