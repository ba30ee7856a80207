import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Mailbox } from '../../src/actor/mailbox.ts'

test('a mailbox takes as many messages as its bound and turns the next one away, counted', () => {
  for (const bound of [1, 15, 16, 17, 100]) {
    const mailbox = new Mailbox<number>(bound)
    for (let message = 0; message < bound; message++) assert.equal(mailbox.push(message), true)
    assert.equal(mailbox.push(bound), false)
    assert.deepEqual(mailbox.counters, { waiting: bound, highWater: bound, accepted: bound, refused: 1 })
    assert.equal(mailbox.shift(), 0)
    assert.equal(mailbox.push(bound + 1), true)
  }
})

test('messages leave in the order in which they came, however pushes and shifts alternate', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.array(fc.boolean(), { maxLength: 300 }), (bound, steps) => {
      const mailbox = new Mailbox<number>(bound)
      const model: number[] = []
      let next = 0
      for (const push of steps) {
        if (push) {
          const room = model.length < bound
          if (room) model.push(next)
          assert.equal(mailbox.push(next++), room)
        } else {
          assert.equal(mailbox.shift(), model.shift())
        }
        assert.equal(mailbox.size, model.length)
      }
    }),
  )
})
