import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BUS_STRANGERS } from '../../src/limits.ts'
import { Strangers } from '../../src/primary/strangers.ts'

test('so many names are shown and no more; every frame is counted, and the last reason stays', () => {
  const strangers = new Strangers()
  const none = strangers.status
  assert.equal(none, undefined)
  const names = Array.from({ length: BUS_STRANGERS + 1 }, (_, index) => `mx${index}`)
  for (const [index, name] of names.entries()) strangers.heard(name, `reason ${index}`, 1_000 + index)
  strangers.heard(undefined, 'no frame', 9_000)
  strangers.heard('mx0', 'again', 9_001)
  const status = strangers.status
  assert.deepEqual(status?.names, names.slice(0, BUS_STRANGERS))
  assert.deepEqual([status.frames, status.since, status.last, status.reason], [BUS_STRANGERS + 3, 1_000, 9_001, 'again'])
})
