import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { makeAuthority } from '../support/certificates.ts'
import { checkChanged, mistakesOf, type Changes } from '../support/configuration.ts'
import { makeTemporary } from '../support/temporary.ts'

const POSTGRES = 'postgres://u@h/db'

function redis(more: Changes = {}, url = 'redis://h'): Changes {
  return { mapping: { source: 'redis', redis: { url, ...more } } }
}

function sql(more: Changes = {}, url = POSTGRES): Changes {
  return { mapping: { source: 'sql', sql: { url, query: 'q', ...more } } }
}

const REFUSED: readonly (readonly [string, Changes, RegExp])[] = [
  ['a port that is none', redis({}, 'redis://h:65536'), /^mapping\.redis\.url: a port is not between 1 and 65535; allowed: redis:\/\//],
  ['a query', redis({}, 'redis://h/0?db=1'), /^mapping\.redis\.url: "\?", "#" and white space must be percent-encoded/],
  ['several hosts without a kind', redis({}, 'redis://a,b'), /^mapping\.redis\.url: several hosts need redis\+sentinel/],
  ['the bus at a broken URL', { 'mapping.file.shared': true, 'cluster.bus': 'redis://u:%zz@h' }, /^cluster\.bus: a percent-encoding is broken/],
  ['a database without a user', sql({}, 'postgres://h/db'), /^mapping\.sql\.url: the user is missing/],
  ['a server without a database', sql({}, 'mysql://u@h'), /^mapping\.sql\.url: the path is not the name of a database/],
  ['an unknown sslmode', sql({}, `${POSTGRES}?sslmode=maybe`), /^mapping\.sql\.url: sslmode must be one of/],
  ['an unknown parameter', sql({}, `${POSTGRES}?options=x`), /^mapping\.sql\.url: "options" is no known parameter/],
  ['a channel of MariaDB', sql({ listen: 'routes' }, 'mysql://u@h/db'), /^mapping\.sql\.listen: only PostgreSQL has channels$/],
  ['a channel of SQLite', sql({ listen: 'routes' }, 'sqlite://a.db'), /^mapping\.sql\.listen: only PostgreSQL has channels$/],
  ['a bus that may be away for less than a heartbeat', { ...redis(), cluster: { heartbeat: '10s' } }, /^cluster\.bus_down_ttl: is shorter than cluster\.heartbeat.*allowed: the heartbeat or longer$/],
  ['a CA that is not there', redis({ tls_ca: '/nonexistent/ca.pem' }, 'rediss://h'), /^mapping\.redis\.tls_ca: cannot be read: ENOENT/],
  ['a CA without TLS at Redis', redis({ tls_ca: 'CA' }), /^mapping\.redis\.tls_ca: the URL has no TLS; allowed: rediss:\/\/… as the URL$/],
  ['a CA without TLS at the bus', { ...redis({}, 'rediss://h'), cluster: { bus: 'redis://h', tls_ca: 'CA' } }, /^cluster\.tls_ca: the URL has no TLS/],
  ['a CA without a bus', { 'cluster.tls_ca': 'CA' }, /^cluster\.tls_ca: there is no bus$/],
  ['a CA that nobody asks', sql({ tls_ca: 'CA' }), /^mapping\.sql\.tls_ca: nothing is verified with sslmode=prefer; allowed: sslmode=verify-full/],
  ['two CAs', sql({ tls_ca: 'CA' }, `${POSTGRES}?sslmode=verify-full&sslrootcert=CA`), /^mapping\.sql\.tls_ca: the URL names another one: sslrootcert$/],
  ['a CA for a file', sql({ tls_ca: 'CA' }, 'sqlite://a.db'), /^mapping\.sql\.tls_ca: is for servers: SQLite has none$/],
  ['a CA in the URL that is not there', sql({}, `${POSTGRES}?sslmode=verify-ca&sslrootcert=/nonexistent/ca.pem`), /^mapping\.sql\.url: cannot be read: ENOENT.*"\/nonexistent\/ca\.pem"$/],
  ['a user that is not there', { 'server.user': 'nobody-of-the-kind' }, /^server\.user: there is no such user on this host; found "nobody-of-the-kind"$/],
  ['a group that is not there', { 'server.group': 'none-of-the-kind' }, /^server\.group: there is no such group on this host; found "none-of-the-kind"$/],
]

for (const [what, changes, mistake] of REFUSED) {
  test(`refused: ${what}`, async () => {
    await using directory = await makeTemporary('rules')
    const ca = `${directory.path}/ca.pem`
    await writeFile(ca, (await makeAuthority()).cert)
    const [found, ...others] = await mistakesOf(placed(changes, ca))
    assert.match(found ?? 'nothing', mistake)
    assert.deepEqual(others, [])
  })
}

test('all of them at once, each with its key', async () => {
  const mistakes = await mistakesOf({
    ...sql({ listen: 'routes', tls_ca: '/nonexistent' }, 'mysql://u@h/db?sslmode=verify-full'),
    cluster: { bus: 'redis://h:0', bus_down_ttl: '1ms' },
    'server.user': 'x',
    'mapping.redis': { url: 'redis://' },
  })
  assert.deepEqual(
    mistakes.map((text) => text.replace(/: .*/, '')).sort(),
    ['cluster.bus', 'mapping.redis.url', 'mapping.sql.listen', 'mapping.sql.tls_ca', 'server.user'],
  )
})

test('no mistake repeats a password', async () => {
  const mistakes = await mistakesOf({
    mapping: { source: 'sql', sql: { url: 'postgres://u:geheim@h', query: 'q' }, redis: { url: 'redis://u:geheim@h/x' } },
    'cluster.bus': 'redis://u:geheim@h:0',
  })
  assert.equal(mistakes.length, 3)
  assert.doesNotMatch(mistakes.join(), /geheim/)
})

test('an empty key_prefix is a warning, once, and only where it is used', async () => {
  const warned = async (changes: Changes): Promise<number> => {
    const loaded = await checkChanged(changes)
    assert.ok(loaded.ok)
    return loaded.warnings.filter((warning) => warning.startsWith('mapping.redis.key_prefix is empty')).length
  }
  assert.equal(await warned(redis({ key_prefix: '' })), 1)
  assert.equal(await warned(redis()), 0)
  assert.equal(await warned({}), 0)
})

test('what is right stays so: every kind of URL, equal times, user and group that are there', async () => {
  for (const changes of [
    redis({}, 'rediss+sentinel://u:p@a,b/group/0'),
    redis({}, 'rediss+cluster://a:1,b:2'),
    sql({ listen: 'routes' }, 'postgresql://u@h/db?sslmode=require'),
    sql({}, 'mariadb://u@h/db'),
    { ...redis(), cluster: { heartbeat: '2s', bus_down_ttl: '2s' } },
    { cluster: { heartbeat: '2s', bus_down_ttl: '0s' } },
    { 'server.user': 'mail', 'server.group': 'mail' },
  ]) assert.deepEqual(await mistakesOf(changes), [])
})

test('bundles are read at load; the bus has that of Redis when it is that server, and only then', async () => {
  await using directory = await makeTemporary('rules')
  const [one, two] = [await makeAuthority('One'), await makeAuthority('Two')]
  const [first, second] = [`${directory.path}/one.pem`, `${directory.path}/two.pem`]
  await writeFile(first, one.cert)
  await writeFile(second, two.cert)
  const read = async (changes: Changes): Promise<readonly (string | undefined)[]> => {
    const loaded = await checkChanged(changes)
    assert.ok(loaded.ok, JSON.stringify(loaded))
    const { mapping, cluster } = loaded.config
    return [mapping.redis?.ca, mapping.sql?.ca, cluster.ca]
  }
  const tls = redis({ tls_ca: first }, 'rediss://h')
  assert.deepEqual(await read(redis()), [undefined, undefined, undefined])
  assert.deepEqual(await read(tls), [one.cert, undefined, one.cert])
  assert.deepEqual(await read({ ...tls, 'cluster.tls_ca': second }), [one.cert, undefined, two.cert])
  assert.deepEqual(await read({ ...tls, 'cluster.bus': 'rediss://bus' }), [one.cert, undefined, undefined])
  assert.deepEqual(await read(sql({ tls_ca: first }, `${POSTGRES}?sslmode=require`)), [undefined, one.cert, undefined])
  assert.deepEqual(await read(sql({}, `mysql://u@h/db?sslmode=verify-ca&sslrootcert=${first}`)), [undefined, one.cert, undefined])
})

/** Every "CA" replaced by a path. */
function placed(changes: Changes, ca: string): Changes {
  const text = JSON.stringify(changes).replaceAll('"CA"', JSON.stringify(ca)).replaceAll('sslrootcert=CA', `sslrootcert=${ca}`)
  const replaced: Changes = JSON.parse(text)
  return replaced
}
