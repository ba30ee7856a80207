import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { durationText, parseDuration, parseSize } from '../../src/config/duration.ts'

test('every unit of time is understood', () => {
  const expected: Readonly<Record<string, number>> = {
    '0s': 0,
    '15ms': 15,
    '30s': 30_000,
    '5m': 300_000,
    '2h': 7_200_000,
    '1d': 86_400_000,
  }
  for (const [text, value] of Object.entries(expected)) assert.deepEqual(parseDuration(text), { ok: true, value })
})

test('a duration without a unit, with a fraction, a sign, a space or an unknown unit is none', () => {
  for (const text of ['30', '', 's', '1.5s', '-1s', '+1s', '1 s', ' 1s', '1s ', '1w', '1S', '1sec', '1__proto__', '1constructor', '٣s']) {
    assert.equal(parseDuration(text).ok, false, text)
  }
})

test('the reason tells a missing unit from an unknown one and from an overflow', () => {
  assert.deepEqual(parseDuration('30'), { ok: false, reason: 'the unit is missing' })
  assert.deepEqual(parseDuration('30w'), { ok: false, reason: 'unknown unit "w"' })
  assert.deepEqual(parseDuration('99999999999999999999d'), { ok: false, reason: 'too large' })
})

test('sizes are bytes, kb of 1024 and mb, in either case', () => {
  const expected: Readonly<Record<string, number>> = {
    '512': 512,
    '64kb': 65_536,
    '64KB': 65_536,
    '64 kb': 65_536,
    '2mb': 2_097_152,
  }
  for (const [text, value] of Object.entries(expected)) assert.deepEqual(parseSize(text), { ok: true, value })
  for (const text of ['', 'kb', '1.5mb', '-1', '1gb', '1kib', '9007199254740993', '9999999999999mb']) {
    assert.equal(parseSize(text).ok, false, text)
  }
})

test('what is written as a duration reads as the same duration', () => {
  fc.assert(
    fc.property(fc.nat({ max: 4_000_000_000_000 }), (milliseconds) => {
      assert.deepEqual(parseDuration(durationText(milliseconds)), { ok: true, value: milliseconds })
    }),
  )
})
