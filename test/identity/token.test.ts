import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { identify } from '../../src/identity/identify.ts'
import { identityFromToken } from '../../src/identity/token.ts'
import { TOKEN } from '../../src/limits.ts'
import type { Login } from '../../src/protocol/protocol.ts'

function jwt(claims: unknown): string {
  return raw(JSON.stringify(claims))
}

function raw(payload: string | Buffer): string {
  return `e30.${Buffer.from(payload).toString('base64url')}.c2ln`
}

describe('the name in a token', () => {
  test('is the configured claim, else the first of the usual ones that holds an @', () => {
    const claims = { sub: 's@x', unique_name: 'q@x', upn: 'u@x', preferred_username: 'p@x', email: 'e@x', mail: 'm@x' }
    assert.equal(identityFromToken(jwt(claims), 'mail'), 'm@x')
    assert.equal(identityFromToken(jwt(claims), 'absent'), 'e@x')
    assert.equal(identityFromToken(jwt({ ...claims, email: 'no address' }), 'email'), 'p@x')
    assert.equal(identityFromToken(jwt({ ...claims, email: 1, preferred_username: null }), 'email'), 'u@x')
    assert.equal(identityFromToken(jwt({ sub: 's@x', unique_name: ['q@x'] }), 'email'), 's@x')
    assert.equal(identityFromToken(jwt({ sub: '1234' }), 'email'), undefined)
  })

  test('of a sw1 token is the part behind the second dot', () => {
    const name = Buffer.from('joe@example.com').toString('base64url')
    assert.equal(identityFromToken(`sw1.abc.${name}`, 'email'), 'joe@example.com')
    assert.equal(identityFromToken(`sw1.abc.${name}.sig`, 'email'), 'joe@example.com')
    for (const bad of ['sw1.', 'sw1.abc', 'sw1.abc.', 'sw1.abc.!', 'sw1.abc.A', `sw1.abc.${Buffer.from([0xff]).toString('base64url')}`, 'sw1.abc.YQ==']) {
      assert.equal(identityFromToken(bad, 'email'), undefined, bad)
    }
  })

  test('a sw1 token is never read as a JWT', () => {
    assert.equal(identityFromToken(`sw1.${Buffer.from('{"email":"e@x"}').toString('base64url')}.!`, 'email'), undefined)
  })

  test('an opaque or broken token has none', () => {
    for (const token of ['', '.', '..', 'opaque', 'a.b', 'a.!.c', raw('not json'), raw('{"email":'), raw(Buffer.from([0x7b, 0xff, 0x7d]))]) {
      assert.equal(identityFromToken(token, 'email'), undefined, token)
    }
  })

  test('claims that are no object have none', () => {
    for (const claims of [null, 1, 'e@x', true, [{ email: 'e@x' }], ['e@x']]) assert.equal(identityFromToken(jwt(claims), 'email'), undefined)
  })

  test('names of prototype properties are claims like others, and inherit nothing', () => {
    for (const claim of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      assert.equal(identityFromToken(jwt({}), claim), undefined)
      assert.equal(identityFromToken(raw(`{"${claim}":"e@x"}`), claim), 'e@x')
    }
    assert.equal(identityFromToken(raw('{"__proto__":{"email":"e@x"}}'), 'email'), undefined)
    assert.equal((({}) as { email?: unknown }).email, undefined)
  })

  test('deep claims do no harm', () => {
    const deep = `{"email":${'['.repeat(20_000)}${']'.repeat(20_000)},"sub":"s@x"}`
    assert.ok(['s@x', undefined].includes(identityFromToken(raw(deep), 'email')))
  })

  test('a token of N bytes is read, one of N + 1 is not', () => {
    const token = jwt({ email: 'e@x' })
    const padded = token + 'x'.repeat(TOKEN - token.length)
    assert.equal(identityFromToken(padded, 'email'), 'e@x')
    assert.equal(identityFromToken(`${padded}x`, 'email'), undefined)
  })

  test('no token, however made, throws', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json().map(raw), fc.string().map((text) => `sw1.x.${text}`)), fc.string(), (token, claim) => {
        const name = identityFromToken(token, claim)
        assert.ok(name === undefined || typeof name === 'string')
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('the name of a login', () => {
  const password = (authzid: string): Login => ({
    mechanism: 'PLAIN',
    credentials: { kind: 'password', authzid, authcid: 'joe', password: Buffer.from('x') },
    facts: {},
  })
  const token = (user: string | undefined, text: string): Login => ({
    mechanism: 'XOAUTH2',
    credentials: { kind: 'token', mechanism: 'XOAUTH2', message: Buffer.alloc(0), user, token: text },
    facts: {},
  })

  test('of a password login is the identity to act as, or the login, as configured', () => {
    const rules = { jwtUsernameClaim: 'email' }
    assert.equal(identify(password('ann'), { ...rules, saslPlainIdentity: 'authzid' }), 'ann')
    assert.equal(identify(password(''), { ...rules, saslPlainIdentity: 'authzid' }), 'joe')
    assert.equal(identify(password('ann'), { ...rules, saslPlainIdentity: 'authcid' }), 'joe')
  })

  test('of a token login is the name beside the token, else the one in it, else none', () => {
    const rules = { saslPlainIdentity: 'authzid', jwtUsernameClaim: 'mail' } as const
    assert.equal(identify(token('joe', jwt({ mail: 'm@x' })), rules), 'joe')
    assert.equal(identify(token(undefined, jwt({ mail: 'm@x' })), rules), 'm@x')
    assert.equal(identify(token(undefined, 'opaque'), rules), undefined)
  })
})
