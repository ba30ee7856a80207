import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DRAIN_DEFAULT_MS, DRAIN_SECONDS } from '../../src/limits.ts'
import { over } from '../../src/management/sessions.ts'
import { MemoryOperations } from '../support/operations.ts'

const read = (given: string | undefined) => over.read(given, new MemoryOperations())

test('a drain may take its longest time and not a millisecond more; unless somebody says, it takes the usual', () => {
  assert.deepEqual(read(`${DRAIN_SECONDS}s`), { ok: true, value: DRAIN_SECONDS * 1_000 })
  assert.deepEqual(read(`${DRAIN_SECONDS * 1_000}ms`), { ok: true, value: DRAIN_SECONDS * 1_000 })
  for (const longer of [`${DRAIN_SECONDS + 1}s`, `${DRAIN_SECONDS * 1_000 + 1}ms`, '2h']) assert.equal(read(longer).ok, false, longer)
  assert.deepEqual(read(undefined), { ok: true, value: DRAIN_DEFAULT_MS })
})
