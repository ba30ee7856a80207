import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { SignalboxError } from '../../src/errors.ts'
import { parseSqlUrl, type SqlServer } from '../../src/config/sql-url.ts'

function server(url: string): SqlServer {
  const target = parseSqlUrl(url)
  assert.ok(target.kind !== 'sqlite')
  return target
}

test('a server: decoded user and password, the usual port, prefer as the mode', () => {
  assert.deepEqual(parseSqlUrl('postgres://ma%40il:p%2Fw@db.example.com/routes'), {
    kind: 'postgres',
    host: 'db.example.com',
    port: 5432,
    user: 'ma@il',
    password: 'p/w',
    database: 'routes',
    sslMode: 'prefer',
    sslRootCert: undefined,
    text: 'postgres://db.example.com/routes',
  })
  assert.equal(server('mysql://u@[::1]:33/db').host, '::1')
  assert.equal(server('mysql://u@h/db').port, 3306)
})

test('a file: absolute and relative paths, percent-decoded', () => {
  assert.deepEqual(parseSqlUrl('sqlite:///var/lib/a%20b.db'), { kind: 'sqlite', path: '/var/lib/a b.db', text: 'sqlite:///var/lib/a b.db' })
  assert.equal(parseSqlUrl('sqlite://mail.db').kind, 'sqlite')
})

for (const [url, why] of [
  ['oracle://u@h/d', 'another scheme'],
  ['postgres://h/d', 'no user'],
  ['postgres://u@h', 'no database'],
  ['postgres://u@h/d/e', 'a path'],
  ['postgres://u@h/d?sslmode=maybe', 'an unknown mode'],
  ['postgres://u@h/d?options=-c%20x', 'an unknown parameter'],
  ['postgres://u:%zz@h/d', 'a broken percent-encoding'],
  ['sqlite://', 'no path'],
  ['sqlite://a%00b', 'a NUL in the path'],
] as const) {
  test(`refused: ${why}`, () => {
    assert.throws(() => parseSqlUrl(url), (error) => error instanceof SignalboxError && error.code === 'CONFIG_INVALID')
  })
}

test('whatever is wrong with a URL, its password is in no error', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 20 }), fc.constantFrom('postgres', 'mysql', 'x'), (junk, scheme) => {
      try {
        assert.ok(!parseSqlUrl(`${scheme}://user:SeCrEt@${junk}`).text.includes('SeCrEt'))
      } catch (error) {
        assert.ok(error instanceof SignalboxError)
        assert.ok(!error.message.includes('SeCrEt'))
      }
    }),
  )
})
