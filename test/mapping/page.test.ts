import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compareBytes, smallestBehind } from '../../src/mapping/page.ts'

const name = fc.string({ unit: 'binary', maxLength: 6 })

test('names are compared as their bytes in UTF-8 are', () => {
  fc.assert(
    fc.property(name, name, (a, b) => {
      assert.equal(Math.sign(compareBytes(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)))
    }),
  )
})

test('a page is what sorting everything would give, whatever comes twice', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(name, { maxLength: 50 }), name, fc.nat({ max: 10 }), async (names, after, limit) => {
      async function* mappings(): AsyncGenerator<{ identifier: string; destination: string }> {
        for (const identifier of names) yield { identifier, destination: 'd' }
      }
      const page = await smallestBehind(mappings(), after, limit)
      const expected = [...new Set(names)].filter((one) => compareBytes(one, after) > 0).sort(compareBytes).slice(0, limit)
      assert.deepEqual(page.map(({ identifier }) => identifier), expected)
    }),
  )
})
