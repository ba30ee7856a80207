import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { IDENTIFIER } from '../../src/limits.ts'
import { readIdentifiers } from '../../src/management/identifier-list.ts'

/** The bytes in pieces of `size`. */
async function* pieces(text: string | Buffer, size = 7): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function read(text: string | Buffer, size?: number): Promise<string[]> {
  const found: string[] = []
  for await (const identifier of readIdentifiers(pieces(text, size))) found.push(identifier)
  return found
}

describe('a list of accounts in a body', () => {
  test('is one account a line, whatever ends the lines; blank ones do not count', async () => {
    assert.deepEqual(await read('a@x\r\n\n  b@x \n\tc@x'), ['a@x', 'b@x', 'c@x'])
    assert.deepEqual(await read(''), [])
    assert.deepEqual(await read('\r\n \n'), [])
  })

  test('is a JSON array of strings when it begins with a bracket', async () => {
    assert.deepEqual(await read(' \n[ "a@x" ,"b\\"\\\\\\u00fc@x"\n]\n'), ['a@x', 'b"\\ü@x'])
    assert.deepEqual(await read('[]'), [])
  })

  const accounts = fc.array(fc.string({ unit: 'grapheme', maxLength: 20 }))
  test('is read the same however the bytes are cut', async () => {
    await fc.assert(
      fc.asyncProperty(accounts, fc.integer({ min: 1, max: 9 }), async (list, size) => {
        assert.deepEqual(await read(JSON.stringify(list), size), list)
        const lines = list.map((one) => one.replaceAll(/\s/g, '')).filter((one) => one !== '' && !one.startsWith('['))
        assert.deepEqual(await read(lines.join('\n'), size), lines)
      }),
    )
  })

  for (const [bad, words] of [
    ['["a",', /after 1 entries: it breaks off/],
    ['["a"', /breaks off/],
    ['["a', /breaks off/],
    ['["a" "b"]', /after 1 entries/],
    ['["a",]', /after 1 entries/],
    ['[1]', /JSON array of strings/],
    ['[["a"]]', /JSON array of strings/],
    ['["a"] x', /JSON array of strings/],
    ['["\\x"]', /entry 1 .* no JSON string/],
    ['["a\nb"]', /entry 1 .* no JSON string/],
  ] as const) {
    test(`is refused where it goes wrong: ${JSON.stringify(bad)}`, async () => {
      await assert.rejects(read(bad), { code: 'CLIENT_PROTOCOL', message: words })
    })
  }

  test('is refused when it is not UTF-8, also at its very end', async () => {
    await assert.rejects(read(Buffer.from([0x61, 0x0a, 0xff])), { code: 'CLIENT_PROTOCOL' })
    await assert.rejects(read(Buffer.from([0x61, 0x0a, 0xc3])), { code: 'CLIENT_PROTOCOL' })
  })

  test('keeps no entry that is longer than any account can be', async () => {
    const longest = 'x'.repeat(IDENTIFIER * 6)
    assert.deepEqual(await read(`a\n${longest}\nb`), ['a', longest, 'b'])
    await assert.rejects(read(`a\n${longest}x`), { code: 'CLIENT_PROTOCOL', message: /line 2/ })
    assert.deepEqual(await read(`["${longest}"]`, 1_000), [longest])
    await assert.rejects(read(`["${longest}x"]`), { code: 'CLIENT_PROTOCOL' })
  })

  test('gives out what comes before a mistake', async () => {
    const list = readIdentifiers(pieces('["a","b",3]', 100))
    assert.equal((await list.next()).value, 'a')
    assert.equal((await list.next()).value, 'b')
    await assert.rejects(list.next(), { code: 'CLIENT_PROTOCOL' })
  })
})
