import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Roster } from '../../src/session/roster.ts'

class Guest {
  seat = -1
}

test('whoever comes and goes in whatever order, the roster has those who are there, each once', () => {
  const step = fc.record({ comes: fc.boolean(), who: fc.nat(12) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const guests = Array.from({ length: 13 }, () => new Guest())
      const roster = new Roster<Guest>()
      const there = new Set<Guest>()
      for (const { comes, who } of steps) {
        const guest = guests[who] ?? new Guest()
        if (!comes) {
          roster.delete(guest)
          there.delete(guest)
        } else if (!there.has(guest)) {
          roster.add(guest)
          there.add(guest)
        }
        assert.equal(roster.size, there.size)
        assert.deepEqual(new Set(roster), there)
      }
    }),
  )
})

test('who is not there can be taken off, also while another has the seat', () => {
  const roster = new Roster<Guest>()
  const [a, b] = [new Guest(), new Guest()]
  roster.add(a)
  roster.add(b)
  roster.delete(a)
  roster.delete(a)
  roster.delete(new Guest())
  assert.deepEqual([...roster], [b])
})
