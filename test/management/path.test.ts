import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { decodePercent } from '../../src/management/parameters.ts'
import { matchPath, pathNames, routerPath } from '../../src/management/path.ts'

const fits = (template: string, target: string) => {
  const found = matchPath(template, target)
  return found === undefined ? undefined : Object.fromEntries(found)
}

describe('paths with parameters', () => {
  test('a template names its parameters, and is written as the router wants it', () => {
    assert.deepEqual(pathNames('/a/{b}/c/{d}'), ['b', 'd'])
    assert.deepEqual(pathNames('/stats'), [])
    assert.equal(routerPath('/a/{b}/c/{d}'), '/a/:b/c/:d')
  })

  test('each parameter is one segment, still encoded', () => {
    assert.deepEqual(fits('/fleet/{instance}', '/fleet/a%2Fb%3F?instance=c'), { instance: 'a%2Fb%3F' })
    assert.deepEqual(fits('/fleet/{instance}', '/fleet/a/'), { instance: 'a' })
    assert.deepEqual(fits('/fleet/{instance}', '/%66leet/a'), { instance: 'a' }, 'as the router takes it')
    assert.deepEqual(fits('/fleet/{instance}', '/fleet//'), { instance: '' })
    assert.deepEqual(fits('/fleet/{instance}', 'https://127.0.0.1:8443/fleet/a'), { instance: 'a' })
    assert.deepEqual(fits('/a/{b}/c/{d}', '/a/1/c/2'), { b: '1', d: '2' })
    assert.deepEqual(fits('/stats', '/stats'), {})
  })

  test('what has other segments, or more or fewer, does not fit', () => {
    for (const target of ['', '/', '/fleet', '/fleet/a/b', '/fleet/a//', '/Fleet/a', '/fleets/a', '/fle%zzt/a', '*', 'https://h', '/x/fleet/a']) {
      assert.equal(fits('/fleet/{instance}', target), undefined, target)
    }
  })

  test('whatever a value is, it comes back when it is encoded as one segment', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }).filter((text) => text.isWellFormed()), (text) => {
        const encoded = matchPath('/fleet/{instance}', `/fleet/${encodeURIComponent(text)}`)?.get('instance')
        assert.equal(encoded === undefined ? undefined : decodePercent(encoded), text)
      }),
    )
  })
})
