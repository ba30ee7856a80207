import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Fingerprints } from '../../src/mapping/fingerprints.ts'

test('it holds what was added and nothing else, like a Set', () => {
  fc.assert(
    fc.property(fc.array(fc.string()), fc.array(fc.string()), (added, asked) => {
      const prints = new Fingerprints()
      const model = new Set<string>()
      for (const name of added) {
        assert.equal(prints.add(name), !model.has(name))
        model.add(name)
      }
      for (const name of [...added, ...asked]) assert.equal(prints.has(name), model.has(name))
    }),
  )
})

test('a hundred thousand are all found after every growth', () => {
  const prints = new Fingerprints()
  for (let i = 0; i < 100_000; i++) assert.equal(prints.add(`user${i}`), true)
  for (let i = 0; i < 100_000; i++) assert.equal(prints.has(`user${i}`), true)
  for (let i = 100_000; i < 200_000; i++) assert.equal(prints.has(`user${i}`), false)
})
