import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Catalogue } from '../../src/destination/catalogue.ts'
import { destinationOf } from '../support/fake-backend.ts'

const named = (names: readonly string[]) => names.map((name) => destinationOf({ name }))

test('ids are small integers in the order of the configuration', () => {
  const catalogue = new Catalogue(named(['a', 'b']))
  assert.equal(catalogue.idOf('a'), 0)
  assert.equal(catalogue.idOf('b'), 1)
  assert.equal(catalogue.nameOf(1), 'b')
  assert.equal(catalogue.byId(0)?.name, 'a')
  assert.deepEqual([...catalogue].map(({ name }) => name), ['a', 'b'])
})

test('a removed destination keeps its id reserved and gets it back', () => {
  const catalogue = new Catalogue(named(['a', 'b']))
  catalogue.replace(named(['b', 'c']))
  assert.equal(catalogue.idOf('a'), undefined)
  assert.equal(catalogue.byId(0), undefined)
  assert.equal(catalogue.nameOf(0), 'a')
  assert.equal(catalogue.idOf('c'), 2)
  catalogue.replace(named(['c', 'a']))
  assert.equal(catalogue.idOf('a'), 0)
  assert.equal(catalogue.byName('b'), undefined)
})

test('a reload brings the new configuration under the old id', () => {
  const catalogue = new Catalogue([destinationOf({ name: 'a', host: 'old' })])
  catalogue.replace([destinationOf({ name: 'a', host: 'new' })])
  assert.equal(catalogue.byId(0)?.host, 'new')
})

test('names of prototype properties are names like any other', () => {
  const catalogue = new Catalogue(named(['a']))
  for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
    assert.equal(catalogue.idOf(name), undefined)
    assert.equal(catalogue.byName(name), undefined)
  }
  catalogue.replace(named(['__proto__', 'constructor']))
  assert.equal(catalogue.idOf('__proto__'), 1)
  assert.equal(catalogue.byName('constructor')?.name, 'constructor')
  assert.equal(catalogue.byId(-1), undefined)
  assert.equal(catalogue.nameOf(99), undefined)
})

test('through any reloads an id never stands for two names', () => {
  const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', '__proto__', 'constructor'), { minLength: 1 })
  fc.assert(
    fc.property(fc.array(names, { minLength: 1, maxLength: 8 }), (reloads) => {
      const catalogue = new Catalogue([])
      const seen = new Map<number, string>()
      for (const reload of reloads) {
        catalogue.replace(named(reload))
        for (const name of reload) {
          const id = catalogue.idOf(name)
          assert.ok(id !== undefined)
          assert.equal(seen.get(id) ?? name, name)
          assert.equal(catalogue.byId(id)?.name, name)
          seen.set(id, name)
        }
      }
      assert.equal(new Set(seen.values()).size, seen.size)
    }),
  )
})
