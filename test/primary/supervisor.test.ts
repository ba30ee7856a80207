/** The supervisor where no worker is left. With workers it is seen in test/system. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Reply } from '../../src/actor/message.ts'
import { Supervisor } from '../../src/primary/supervisor.ts'
import type { Stop } from '../../src/primary/supervisor.ts'
import { FakeClock } from '../support/fake-clock.ts'

const never = (): never => assert.fail('there is no worker that this could be about')

test('an end without workers is answered at once, and no timer keeps the process from ending', () => {
  const clock = new FakeClock()
  const observer = { starting: never, joined: never, ready: never, draining: never, rolled: never, gone: never, stalled: never, invalid: never, giveUp: never }
  const supervisor = new Supervisor({ threads: 2, clock, entry: '', start: never, self: never, observer })
  const answers: unknown[] = []
  const reply: Reply = { to: (_, answer) => answers.push(answer), fail: never, wanted: true }
  const stop: Stop = { type: 'stop', grace: 20_000 }
  supervisor.receive(stop, reply)
  assert.deepEqual(answers, [true])
  assert.equal(clock.pending, 0)
})
