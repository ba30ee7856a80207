import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FAILED_LOOKUPS_REMEMBERED } from '../../src/limits.ts'
import { FailedLookups } from '../../src/resolver/failed-lookups.ts'

test('a failure is remembered until its time, for its account, until it is forgotten', () => {
  const failed = new FailedLookups()
  failed.failed('a', 5_000)
  assert.deepEqual([failed.remembers('a', 4_999), failed.remembers('a', 5_000), failed.remembers('b', 0)], [true, false, false])
  failed.forget('a')
  assert.equal(failed.remembers('a', 0), false)
})

test('all failures are forgotten at once', () => {
  const failed = new FailedLookups()
  for (const account of ['a', 'b']) failed.failed(account, 5_000)
  failed.forgetAll()
  assert.deepEqual([failed.remembers('a', 0), failed.remembers('b', 0)], [false, false])
})

test('as many are remembered as limits say; one more pushes out the oldest', () => {
  const failed = new FailedLookups()
  for (let account = 0; account < FAILED_LOOKUPS_REMEMBERED; account++) failed.failed(`user${account}`, 5_000)
  failed.failed('user0', 5_000)
  failed.failed('one more', 5_000)
  assert.deepEqual([failed.remembers('user0', 0), failed.remembers('user1', 0), failed.remembers('user2', 0)], [true, false, true])
})
