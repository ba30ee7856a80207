import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { HttpRouteConfig } from '../../../src/config/config.ts'
import { compileExtract } from '../../../src/protocol/http/extract.ts'
import { compilePattern } from '../../../src/protocol/http/pattern.ts'
import { compileRoutes } from '../../../src/protocol/http/routes.ts'

type Extract = NonNullable<HttpRouteConfig['extract']>

function nameIn(extract: Extract, request: { target?: string; fields?: readonly string[] }): string | undefined {
  const extractor = compileExtract(extract, 'email')
  if (extractor.from !== 'head') assert.fail('reads the head')
  return extractor.name({ target: '/', fields: [], ...request })
}

const authorization = (value: string): string | undefined => nameIn({ from: 'authorization' }, { fields: ['Authorization', value] })
const base64 = (text: string): string => Buffer.from(text).toString('base64')

function inBody(regex: string, body: string | Buffer): string | undefined {
  const extractor = compileExtract({ from: 'body', regex }, 'email')
  if (extractor.from !== 'body') assert.fail('reads the body')
  return extractor.name(Buffer.from(body))
}

describe('the account of a request', () => {
  it('is the login of Basic, in lower case, up to the first colon', () => {
    assert.equal(authorization(`Basic ${base64('Ann@Example.com:se:cret')}`), 'ann@example.com')
    assert.equal(authorization(`bAsIc  ${base64('ann:')}`), 'ann')
  })

  it('is none where Basic is malformed', () => {
    for (const value of ['', 'Basic', 'Basic ', 'Basic !!!', `Basic ${base64('ann')}`, `Basic ${base64(':secret')}`, `Basic ${Buffer.from([0xff, 0x3a, 0x61]).toString('base64')}`, `Digest ${base64('ann:x')}`]) {
      assert.equal(authorization(value), undefined, value)
    }
  })

  it('stands in a Bearer token', () => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    assert.equal(authorization(`Bearer ${part({ alg: 'none' })}.${part({ email: 'ann@example.com' })}.x`), 'ann@example.com')
    assert.equal(authorization(`bearer sw1.x.${Buffer.from('bob@example.com').toString('base64url')}`), 'bob@example.com')
    assert.equal(authorization('Bearer opaque'), undefined)
  })

  it('is the first value of a parameter, form-decoded', () => {
    assert.equal(nameIn({ from: 'query', param: 'login_hint' }, { target: '/auth?x=1&login_hint=ann%40example.com&login_hint=bob' }), 'ann@example.com')
    assert.equal(nameIn({ from: 'query', param: 'a b' }, { target: '/?a+b=c+d' }), 'c d')
    assert.equal(nameIn({ from: 'query', param: 'q' }, { target: '/q=1' }), undefined)
    assert.equal(nameIn({ from: 'query', param: 'q' }, { target: '/?q=' }), undefined)
    assert.equal(nameIn({ from: 'query', param: 'q' }, { target: '/?q=%zz' }), '%zz')
  })

  it('is the value of a header field', () => {
    assert.equal(nameIn({ from: 'header', header: 'x-account' }, { fields: ['X-Account', ' ann ', 'x-account', 'bob'] }), 'ann')
    assert.equal(nameIn({ from: 'header', header: '__proto__' }, { fields: ['X', 'y'] }), undefined)
  })

  it('is the first group in a body, form-decoded', () => {
    assert.equal(inBody('username=([^&]+)', 'grant_type=password&username=ann%40example.com&password=x'), 'ann@example.com')
    assert.equal(inBody('username=([^&]+)', 'user=ann'), undefined)
    assert.equal(inBody('(?:user|login)=(\\w*)', 'login='), undefined)
    assert.equal(inBody('a(b)?', 'a'), undefined)
    assert.equal(inBody('n=(.*)', 'n=a+b&c=d'), 'a b&c=d')
    assert.equal(inBody('n=(\\w+)', Buffer.from([0xff, 0x00, ...Buffer.from('n=ann')])), 'ann')
  })

  it('never takes more than time linear in a body', () => {
    assert.equal(inBody('^(a+)+$', `${'a'.repeat(20_000)}b`), undefined)
  })

  it('comes out of whatever is sent without a crash', () => {
    const header = fc.oneof(fc.string(), fc.string().map((text) => `Basic ${base64(text)}`), fc.base64String().map((text) => `Bearer ${text}.${text}`))
    fc.assert(fc.property(header, (value) => assert.ok(['string', 'undefined'].includes(typeof authorization(value)))))
    fc.assert(fc.property(fc.string(), (query) => assert.ok(['string', 'undefined'].includes(typeof nameIn({ from: 'query', param: 'q' }, { target: `/?${query}` })))))
    fc.assert(fc.property(fc.uint8Array(), (body) => assert.ok(['string', 'undefined'].includes(typeof inBody('q=([^&]*)', Buffer.from(body))))))
  })

  it('in a Basic login is what was written there', () => {
    const login = fc.string({ minLength: 1 }).filter((text) => !text.includes(':') && text.isWellFormed() && text.trim() !== '')
    fc.assert(fc.property(login, fc.string(), (login, password) => assert.equal(authorization(`Basic ${base64(`${login}:${password}`)}`), login.toLowerCase())))
  })
})

describe('a pattern', () => {
  it('is RE2, and has a group', () => {
    assert.throws(() => compilePattern('(a)\\1'))
    assert.throws(() => compilePattern('(?=a)(b)'))
    assert.throws(() => compilePattern('(?:a)'), /no group/)
    assert.equal(compilePattern('(?P<name>a+)').firstGroup('xaab'), 'aa')
  })
})

describe('routes', () => {
  const route = (match: string, more: Partial<HttpRouteConfig>): HttpRouteConfig => ({ match, destination: undefined, extract: undefined, fallback: undefined, ...more })
  const rule = compileRoutes(
    [route('/new/**', { destination: 'new' }), route('/new/late', { destination: 'late' }), route('/jmap/**', { extract: { from: 'authorization' }, fallback: 'old' }), route('/x', { extract: { from: 'authorization' }, fallback: 'default' })],
    'email',
  )

  it('are tried in their order', () => {
    assert.deepEqual(rule('/new/late'), { kind: 'pinned', destination: 'new' })
  })

  it('lead nowhere where none fits', () => {
    assert.equal(rule('/other'), undefined)
  })

  it('name a fallback, or none for the default destination', () => {
    const [named, unnamed] = [rule('/jmap/a'), rule('/x')]
    assert.equal(named?.kind === 'account' ? named.fallback : 'pinned', 'old')
    assert.equal(unnamed?.kind === 'account' ? unnamed.fallback : 'pinned', undefined)
  })
})
