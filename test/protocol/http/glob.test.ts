import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { compileGlob } from '../../../src/protocol/http/glob.ts'

const matches = (pattern: string, path: string): boolean => compileGlob(pattern)(path)

describe('a glob on a path', () => {
  for (const [pattern, path, expected] of [
    ['/jmap/*', '/jmap/a/b', true],
    ['/jmap/*', '/jmap', false],
    ['/jmap', '/jmap/', true],
    ['/jmap/', '/jmap', false],
    ['/', '/', true],
    ['/a?c', '/a/c', true],
    ['/a?c', '/ac', false],
    ['/**/x', '/x', true],
    ['/**/x', '/a/b/x', true],
    ['/**/x', '/ax', false],
    ['**/x', '/a/x', true],
    ['/a/**/b', '/a/b', true],
    ['/a/**/b', '/a/c/d/b', true],
    ['/a/**/b', '/ab', false],
    ['/dav/**', '/dav/', true],
    ['/dav/**', '/dav/a/b', true],
    ['/dav/**', '/dav', false],
    ['/{dav,jmap}/x', '/jmap/x', true],
    ['/{dav,jmap/{a,b}}/x', '/jmap/b/x', true],
    ['/{dav,jmap}/x', '/imap/x', false],
    ['/x{,.json}', '/x', true],
    ['/x{,.json}', '/x.json', true],
    ['/[a-c]x', '/bx', true],
    ['/[!a-c]x', '/bx', false],
    ['/[^a-c]x', '/dx', true],
    ['/[]a]x', '/]x', true],
    ['/[a-]x', '/-x', true],
    ['/\\*', '/*', true],
    ['/\\*', '/a', false],
    ['/a.b', '/axb', false],
    ['*', '/anything/at/all', true],
    ['**', '/', true],
  ] as const) {
    it(`${pattern} ${expected ? 'fits' : 'does not fit'} ${path}`, () => {
      assert.equal(matches(pattern, path), expected)
    })
  }

  it('finds what a regular expression finds that says the same', () => {
    const part = fc.constantFrom(['a', 'a'], ['b', 'b'], ['/', '/'], ['x*', 'x.*'], ['?', '.'], ['{a,b/}', '(?:a|b/)'], ['[a-b]', '[a-b]'], ['[!a]', '[^a]'], ['{,a}', '(?:|a)'] as const)
    const path = fc.array(fc.constantFrom('a', 'b', '/', 'x'), { maxLength: 12 }).map((letters) => `/${letters.join('')}`)
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), path, (parts, path) => {
        const glob = `/${parts.map(([written]) => written).join('')}`
        const regex = new RegExp(`^/${parts.map(([, means]) => means).join('')}$`, 's')
        const expected = regex.test(path) || (path.length > 1 && path.endsWith('/') && regex.test(path.slice(0, -1)))
        assert.equal(matches(glob, path), expected, `${glob} on ${path}`)
      }),
      { numRuns: 2_000 },
    )
  })

  it('takes a path as it is: every letter of a literal glob counts', () => {
    const literal = fc.string({ unit: fc.constantFrom(...'abcABC019-._~%+&=/'.split('')) }).map((text) => `/${text}`)
    fc.assert(fc.property(literal, literal, (glob, path) => assert.equal(matches(glob, path), glob === path || (path.length > 1 && path === `${glob}/`))))
  })

  it('visits no more states for a hostile path than its length times those of the glob', () => {
    // With backtracking this would take 2^30 steps and more, and never come back.
    assert.equal(matches(`/${'*a'.repeat(30)}`, `/${'a'.repeat(3_000)}b`), false)
  })
})
