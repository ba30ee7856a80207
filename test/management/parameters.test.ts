import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import fc from 'fast-check'
import { IDENTIFIER } from '../../src/limits.ts'
import { parseQuery } from '../../src/management/parameters.ts'
import { TestManagement } from '../support/management.ts'

const PUT = (identifier: string) => `/mappings?destination=new&identifier=${identifier}`

describe('parameters of the management API', () => {
  let api: TestManagement
  before(async () => {
    api = await TestManagement.start()
  })
  after(() => api.stop())
  beforeEach(() => {
    api.operations.calls.length = 0
  })

  const bad: readonly (readonly [string, string, string, string])[] = [
    ['a missing identifier', 'PUT', '/mappings?destination=new', 'identifier: is missing'],
    ['an empty identifier', 'PUT', PUT(''), 'identifier: is empty'],
    ['an identifier without a value', 'PUT', '/mappings?destination=new&identifier', 'identifier: is empty'],
    ['an empty identifier where it is optional', 'POST', '/cache/invalidate?identifier=', 'identifier: is empty'],
    ['a missing destination', 'PUT', '/mappings?identifier=a', 'destination: is missing'],
    ['an unknown destination', 'PUT', '/mappings?identifier=a&destination=moon', 'destination: no destination "moon" is declared'],
    ['a destination named like a property of every object', 'PUT', '/mappings?identifier=a&destination=__proto__', 'destination: no destination "__proto__" is declared'],
    ['a NUL', 'PUT', PUT('a%00b'), 'identifier: holds a control character'],
    ['a line break', 'PUT', PUT('a%0D%0Ab'), 'identifier: holds a control character'],
    ['a tab', 'PUT', PUT('a%09new'), 'identifier: holds a control character'],
    ['DEL', 'PUT', PUT('a%7F'), 'identifier: holds a control character'],
    ['a torn percent sign', 'PUT', PUT('a%4'), 'identifier: is not properly percent-encoded'],
    ['a bare percent sign', 'PUT', PUT('a%master'), 'identifier: is not properly percent-encoded'],
    ['bytes that are no UTF-8', 'PUT', PUT('%ff%fe'), 'identifier: is not properly percent-encoded'],
    ['an overlong encoding', 'PUT', PUT('%c0%80'), 'identifier: is not properly percent-encoded'],
    ['a surrogate', 'PUT', PUT('%ed%a0%80'), 'identifier: is not properly percent-encoded'],
    ['a raw hash sign, which would cut an account short', 'PUT', PUT('a#b'), 'identifier: is not properly percent-encoded'],
    ['an identifier given twice', 'PUT', `${PUT('a')}&identifier=a`, 'identifier: is given more than once'],
    ['an identifier given twice in other spelling', 'PUT', `${PUT('a')}&%69dentifier=b`, 'identifier: is given more than once'],
    ['a name that is badly encoded', 'PUT', `${PUT('a')}&%zz=b`, 'query: a name is not properly percent-encoded'],
    ['an identifier of which nothing is left', 'PUT', PUT('%25master'), 'identifier: nothing is left of it once normalised'],
    ['missing seconds', 'POST', '/connections/delay?identifier=a', 'seconds: is missing'],
    ['empty seconds', 'POST', '/connections/delay?identifier=a&seconds=', 'seconds: is empty'],
    ...['-1', '0', '1.5', '1e3', '0x10', '+5', '%205', 'NaN', '١'].map((text) => [
      `seconds of ${text}`, 'POST', `/connections/delay?identifier=a&seconds=${text === '١' ? '%D9%A1' : text}`,
      'seconds: must be a whole number from 1',
    ] as const),
    ['a missing destination to reset', 'POST', '/destinations/reset', 'destination: is missing'],
  ]
  for (const [title, method, path, sentence] of bad) {
    test(`${title} is a 400 that names it and changes nothing`, async () => {
      const reply = await api.ask(method, path)
      assert.deepEqual([reply.status, reply.text], [400, `${sentence}\n`])
      assert.partialDeepStrictEqual((await api.askJson(method, path)).json, {
        error: sentence, code: 'BAD_PARAMETER', parameter: sentence.split(':')[0],
      })
      assert.deepEqual(api.operations.calls, [])
    })
  }

  test(`an identifier of ${IDENTIFIER} bytes is taken, one of ${IDENTIFIER + 1} is not`, async () => {
    assert.equal((await api.ask('PUT', PUT('a'.repeat(IDENTIFIER)))).status, 200)
    assert.equal((await api.ask('PUT', PUT('%C3%A9'.repeat(IDENTIFIER / 2)))).status, 200)
    for (const long of ['a'.repeat(IDENTIFIER + 1), `${'%C3%A9'.repeat(IDENTIFIER / 2)}a`]) {
      assert.equal((await api.ask('PUT', PUT(long))).text, `identifier: is longer than ${IDENTIFIER} bytes\n`)
    }
  })

  test('a plus is a plus, an encoded blank a blank, unknown parameters are ignored', async () => {
    await api.ask('POST', '/connections/kick?identifier=a+b%20c%2Bd&_=1&force')
    assert.deepEqual(api.operations.calls, [['kick', 'a+b c+d']])
  })

  test('names of prototype properties are accounts like any other', async () => {
    for (const name of ['__proto__', 'constructor', 'toString']) {
      const reply = await api.ask('GET', `/mappings?identifier=${name}&__proto__=x&constructor=y`)
      assert.partialDeepStrictEqual(reply.json, { identifier: name, routed_to_default: true })
    }
  })

  test("a client's own words come back printable and short", async () => {
    const reply = await api.ask('PUT', `/mappings?identifier=a&destination=${'%C2%9B'.repeat(100)}`)
    assert.equal(reply.status, 400)
    assert.match(reply.text, /^[\x20-\x7e…]{1,160}\n$/)
  })

  test('what encodeURIComponent wrote is read back, whatever it is', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'grapheme', minLength: 1 }), fc.string({ unit: 'grapheme' })), (values) => {
        const pairs = Object.entries(values)
        const query = pairs.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).join('&')
        assert.deepEqual(parseQuery(`/x?${query}`), { ok: true, values: new Map(pairs) })
      }),
    )
  })
})
