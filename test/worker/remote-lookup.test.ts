import assert from 'node:assert/strict'
import { test } from 'node:test'
import { spawn } from '../../src/actor/actor.ts'
import { SignalboxError } from '../../src/errors.ts'
import type { ErrorCode } from '../../src/errors.ts'
import type { MappingMessage } from '../../src/mapping/actor.ts'
import { remoteLookup } from '../../src/worker/remote-lookup.ts'
import { FakeClock } from '../support/fake-clock.ts'

function lookupThat(answer: (identifier: string) => string | null | SignalboxError | undefined) {
  const clock = new FakeClock()
  const { ref } = spawn<MappingMessage>(
    {
      receive(message, reply) {
        if (message.type !== 'lookup') return
        const given = answer(message.identifier)
        if (given instanceof SignalboxError) reply.fail(given)
        else if (given !== undefined) reply.to(message, given)
      },
      crashed() {},
    },
    { name: 'mapping', clock },
  )
  return { clock, lookup: remoteLookup(ref, () => 5_000) }
}

test('an account’s destination comes back, and none as undefined', async () => {
  const { lookup } = lookupThat((identifier) => (identifier === 'a' ? 'one' : null))
  assert.equal(await lookup.lookup('a'), 'one')
  assert.equal(await lookup.lookup('b'), undefined)
  await lookup.close()
})

test('whatever goes wrong is a failure of the source: late answers, a full mailbox, a primary that is gone', async () => {
  const cases: readonly (readonly [ErrorCode, ErrorCode])[] = [
    ['SOURCE_UNAVAILABLE', 'SOURCE_UNAVAILABLE'],
    ['SOURCE_TIMEOUT', 'SOURCE_TIMEOUT'],
    ['ACTOR_MAILBOX_FULL', 'SOURCE_UNAVAILABLE'],
    ['ACTOR_GONE', 'SOURCE_UNAVAILABLE'],
    ['INTERNAL', 'SOURCE_UNAVAILABLE'],
  ]
  for (const [given, expected] of cases) {
    await assert.rejects(lookupThat(() => new SignalboxError(given, 'x')).lookup.lookup('a'), { code: expected, side: 'source' })
  }
  const { lookup, clock } = lookupThat(() => undefined)
  const late = assert.rejects(lookup.lookup('a'), { code: 'SOURCE_TIMEOUT' })
  clock.advance(5_000)
  await late
})
