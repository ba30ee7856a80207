/** Deadlines, pauses and notices of the mapping sources. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RECONNECT_MAX_MS, RECONNECT_MIN_MS, WATCH_REFUSED_MS } from '../../src/limits.ts'
import { reconnectPause } from '../../src/mapping/backoff.ts'
import { within } from '../../src/mapping/deadline.ts'
import { OnceAMinute } from '../../src/mapping/notice.ts'
import { hasCode } from '../conformance/mapping-source.ts'
import { FakeClock } from '../support/fake-clock.ts'

test('an answer in time is given on, and its timer is gone', async () => {
  const clock = new FakeClock()
  assert.equal(await within(clock, 10, 'x', Promise.resolve(7)), 7)
  await assert.rejects(within(clock, 10, 'x', Promise.reject(new RangeError('own'))), RangeError)
  assert.equal(clock.pending, 0)
})

test('an answer that is late is a SOURCE_TIMEOUT, and whoever can stop the work is told', async () => {
  const clock = new FakeClock()
  let late = 0
  const waiting = assert.rejects(within(clock, 10, 'lookup', new Promise(() => {}), () => late++), hasCode('SOURCE_TIMEOUT'))
  clock.advance(9)
  assert.equal(late, 0)
  clock.advance(1)
  await waiting
  assert.equal(late, 1)
})

test('pauses grow from the first to the longest, never at the same instant for everybody', () => {
  for (let times = 1; times <= 200; times++) {
    const full = Math.min(RECONNECT_MAX_MS, RECONNECT_MIN_MS * 2 ** Math.min(times - 1, 20))
    for (let i = 0; i < 20; i++) {
      const pause = reconnectPause(times)
      assert.ok(pause >= full / 2 - 1 && pause <= full, `${times}: ${pause}`)
    }
  }
  assert.ok(new Set(Array.from({ length: 100 }, () => reconnectPause(20))).size > 10)
})

test('a server that refused is asked again after pauses that grow to a minute, and no further', () => {
  for (let times = 12; times <= 200; times++) {
    const pause = reconnectPause(times, WATCH_REFUSED_MS)
    assert.ok(pause >= WATCH_REFUSED_MS / 2 - 1 && pause <= WATCH_REFUSED_MS, `${times}: ${pause}`)
  }
})

test('a thing is said once a minute, another thing at once', () => {
  const clock = new FakeClock()
  const notices = new OnceAMinute(clock)
  assert.equal(notices.allows('a'), true)
  assert.equal(notices.allows('a'), false)
  assert.equal(notices.allows('b'), true)
  clock.advance(59_999)
  assert.equal(notices.allows('a'), false)
  clock.advance(1)
  assert.equal(notices.allows('a'), true)
})
