import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { globMistake } from '../../src/config/glob.ts'

test('sound globs pass', () => {
  for (const glob of ['/**', '/api/*', '/a?c', '/{a,b{c,d}}', '/[a-z]', '/[!a]', '/[]a]', '/\\{', '/[\\]]', '/[a-]']) {
    assert.equal(globMistake(glob), undefined, glob)
  }
})

test('each way to leave a glob unfinished has its reason', () => {
  assert.equal(globMistake('/a\\'), 'a backslash stands at the end')
  assert.equal(globMistake('/{a,b'), 'a { is not closed')
  assert.equal(globMistake('/a}'), 'a } has no {')
  assert.equal(globMistake('/[ab'), 'a [ is not closed')
  assert.equal(globMistake('/[]'), 'a [ is not closed')
  assert.equal(globMistake('/[z-a]'), 'the range z-a is backwards')
  assert.equal(globMistake('{'.repeat(9)), 'braces are nested too deeply')
})

test('any text is judged without throwing', () => {
  fc.assert(fc.property(fc.string({ unit: fc.constantFrom('[', ']', '{', '}', '\\', '-', '!', 'a', 'z', '*', ',') }), (glob) => {
    const reason = globMistake(glob)
    assert.ok(reason === undefined || reason.length > 0)
  }))
})
