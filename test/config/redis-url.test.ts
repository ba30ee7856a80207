import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { SignalboxError } from '../../src/errors.ts'
import { parseRedisUrl } from '../../src/config/redis-url.ts'

test('a plain URL is one server at the usual port, database 0', () => {
  assert.deepEqual(parseRedisUrl('redis://cache.example.com'), {
    kind: 'single',
    nodes: [{ host: 'cache.example.com', port: 6379 }],
    tls: false,
    group: '',
    database: 0,
    username: undefined,
    password: undefined,
    text: 'redis://cache.example.com/0',
  })
})

test('user and password are percent-decoded, and the text for messages has neither', () => {
  const target = parseRedisUrl('rediss://mail%40box:p%3A%2Fw%40@[::1]:7000/3')
  assert.equal(target.username, 'mail@box')
  assert.equal(target.password, 'p:/w@')
  assert.deepEqual(target.nodes, [{ host: '::1', port: 7000 }])
  assert.equal(target.tls, true)
  assert.equal(target.database, 3)
  assert.equal(target.text, 'rediss://[::1]:7000/3')
})

test('a password without a user is the default user’s', () => {
  const target = parseRedisUrl('redis://:secret@h')
  assert.equal(target.username, undefined)
  assert.equal(target.password, 'secret')
})

test('sentinels: several hosts, their own default port, the group, the database', () => {
  const target = parseRedisUrl('redis+sentinel://u:p@a:1,b/mymaster/2')
  assert.equal(target.kind, 'sentinel')
  assert.deepEqual(target.nodes, [{ host: 'a', port: 1 }, { host: 'b', port: 26379 }])
  assert.equal(target.group, 'mymaster')
  assert.equal(target.database, 2)
})

test('a cluster: several hosts and no database', () => {
  const target = parseRedisUrl('redis+cluster://a:1,b:2')
  assert.equal(target.kind, 'cluster')
  assert.deepEqual(target.nodes, [{ host: 'a', port: 1 }, { host: 'b', port: 2 }])
})

for (const [url, why] of [
  ['http://h', 'another scheme'],
  ['redis://', 'no host'],
  ['redis://a,b', 'a list without a kind'],
  ['redis://h:0', 'port 0'],
  ['redis://h:65536', 'a port too large'],
  ['redis://h/x', 'a database that is no number'],
  ['redis://h/1/2', 'a path too long'],
  ['redis://h?db=1', 'a query'],
  ['redis://u:%zz@h', 'a broken percent-encoding'],
  ['redis+sentinel://a:1', 'sentinels without a group'],
  ['redis+sentinel://a:1/g/0/1', 'sentinels with a path too long'],
  ['redis+cluster://a:1/0', 'a cluster with a database'],
  ['redis://::1', 'an IPv6 address without brackets'],
] as const) {
  test(`refused: ${why}`, () => {
    assert.throws(() => parseRedisUrl(url), (error) => error instanceof SignalboxError && error.code === 'CONFIG_INVALID')
  })
}

test('whatever is wrong with a URL, its password is in no error', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 20 }), fc.constantFrom('redis', 'rediss', 'redis+sentinel', 'redis+cluster', 'x'), (junk, scheme) => {
      const url = `${scheme}://user:SeCrEt@${junk}`
      try {
        assert.ok(!parseRedisUrl(url).text.includes('SeCrEt'))
      } catch (error) {
        assert.ok(error instanceof SignalboxError)
        assert.ok(!error.message.includes('SeCrEt'))
      }
    }),
  )
})
