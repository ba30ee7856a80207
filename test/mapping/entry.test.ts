import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IDENTIFIER, MAPPING_VALUE } from '../../src/limits.ts'
import { entryMistake } from '../../src/mapping/entry.ts'

const fine = { identifier: 'alice@example.com', destination: 'legacy' }

test('what a login could ask for is fine, up to the limits', () => {
  for (const identifier of ['a', "o'brien", 'ü'.repeat(IDENTIFIER / 2), '😀', '\u00a0', '#x']) {
    assert.equal(entryMistake({ ...fine, identifier }), undefined, identifier)
  }
  assert.equal(entryMistake({ ...fine, destination: 'x'.repeat(MAPPING_VALUE) }), undefined)
})

for (const [what, mapping] of [
  ['an empty identifier', { identifier: '' }],
  ['an identifier one byte too long', { identifier: 'x'.repeat(IDENTIFIER + 1) }],
  ['a space', { identifier: 'a b' }],
  ['a double quote', { identifier: 'a"b' }],
  ['a line end', { identifier: 'a\nb' }],
  ['a NUL', { identifier: 'a\0b' }],
  ['half a surrogate pair', { identifier: 'a\ud800' }],
  ['an empty destination', { destination: '' }],
  ['a tab in the destination', { destination: 'a\tb' }],
  ['half a surrogate pair in the destination', { destination: '\udc00' }],
  ['a destination one byte too long', { destination: 'x'.repeat(MAPPING_VALUE + 1) }],
] as const) {
  test(`refused: ${what}`, () => {
    const mistake = entryMistake({ ...fine, ...mapping })
    assert.equal(typeof mistake, 'string')
  })
}
