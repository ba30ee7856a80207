import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { IDENTIFIER } from '../../src/limits.ts'
import { type IdentifierRules, normalizeIdentifier } from '../../src/identity/identifier.ts'

const rules: IdentifierRules = { normalize: 'none', separators: ['%'] }
const lower: IdentifierRules = { normalize: 'lowercase', separators: ['%', '*', '=='] }
const BAD = { code: 'CLIENT_BAD_IDENTIFIER', side: 'client' }

describe('the identifier', () => {
  test('is the name, its case kept or lowered without regard to a locale', () => {
    assert.equal(normalizeIdentifier('Joe@Example.COM', rules), 'Joe@Example.COM')
    assert.equal(normalizeIdentifier('JOE@EXAMPLE.ÄÖ', lower), 'joe@example.äö')
    assert.equal(normalizeIdentifier('I@x', lower), 'i@x')
  })

  test('ends before the first separator of any kind', () => {
    assert.equal(normalizeIdentifier('joe%admin%x', rules), 'joe')
    assert.equal(normalizeIdentifier('joe==a%b*c', lower), 'joe')
    assert.equal(normalizeIdentifier('joe*a==b', lower), 'joe')
    assert.equal(normalizeIdentifier('joe%a', { normalize: 'none', separators: [] }), 'joe%a')
    assert.equal(normalizeIdentifier('joe', { normalize: 'none', separators: [''] }), 'joe')
  })

  test('a suffix may hold what an identifier may not: it is cut off', () => {
    assert.equal(normalizeIdentifier('joe%the admin', rules), 'joe')
  })

  test('is refused when it is empty or holds a control character, a space or a double quote', () => {
    for (const name of ['', '%admin', 'a b', 'a"b', 'a\tb', 'a\r\nb', 'a\0', '\u007f', 'a\u0085b', ' a']) {
      assert.throws(() => normalizeIdentifier(name, rules), BAD, JSON.stringify(name))
    }
  })

  test('is refused when it has no UTF-8 of its own', () => {
    assert.throws(() => normalizeIdentifier('a\ud800', rules), BAD)
  })

  test('N bytes of UTF-8 are taken, N + 1 refused, measured after normalisation', () => {
    assert.equal(normalizeIdentifier('x'.repeat(IDENTIFIER), rules).length, IDENTIFIER)
    assert.throws(() => normalizeIdentifier('x'.repeat(IDENTIFIER + 1), rules), BAD)
    assert.equal(normalizeIdentifier('ä'.repeat(IDENTIFIER / 2), rules).length, IDENTIFIER / 2)
    assert.throws(() => normalizeIdentifier(`x${'ä'.repeat(IDENTIFIER / 2)}`, rules), BAD)
    // Lowered, İ is one byte longer.
    const dotted = 'İ'.repeat(IDENTIFIER / 2)
    assert.equal(Buffer.byteLength(dotted), IDENTIFIER)
    assert.throws(() => normalizeIdentifier(dotted, lower), BAD)
  })

  test('names of prototype properties are names', () => {
    for (const name of ['__proto__', 'constructor', 'toString']) assert.equal(normalizeIdentifier(name, rules), name)
  })

  test('the reason never repeats the name', () => {
    assert.throws(() => normalizeIdentifier('secret name', rules), (error: Error) => !error.message.includes('secret'))
  })

  test('what comes out can go in again and stays the same', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (name) => {
        let once: string
        try {
          once = normalizeIdentifier(name, rules)
        } catch (error) {
          assert.equal((error as { code?: unknown }).code, 'CLIENT_BAD_IDENTIFIER')
          return
        }
        assert.equal(normalizeIdentifier(once, rules), once)
        assert.doesNotMatch(once, /[\u0000-\u0020"%\u007f-\u009f]/)
      }),
    )
  })
})
