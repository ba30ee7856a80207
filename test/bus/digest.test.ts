/** Which differences between two configurations a fleet must hear of, and which are nobody's business. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { configurationDigest } from '../../src/bus/digest.ts'
import type { Config } from '../../src/config/config.ts'
import { testConfig, testDestination } from '../support/config.ts'

function redis(url: string, keyPrefix = 'route:'): Config {
  const table = { url, keyPrefix, poolSize: 4, watch: true, waitReplicas: 0 }
  return testConfig({ mapping: { source: 'redis', redis: table } })
}

function sql(url: string, query = 'select 1'): Config {
  const table = { url, query, poolSize: 4, upsertQuery: undefined, deleteQuery: undefined, listen: undefined }
  return testConfig({ mapping: { source: 'sql', sql: table } })
}

function file(path: string, shared: boolean): Config {
  return testConfig({ mapping: { source: 'file', file: { path, shared, watch: false } } })
}

function destinations(...names: string[]): Config {
  return testConfig({ destinations: names.map((name) => testDestination({ name })) })
}

const EQUAL: readonly (readonly [string, Config, Config])[] = [
  ['a password', redis('redis://u:one@h/0'), redis('redis://u:two@h/0')],
  ['a user', redis('redis://one:x@h/0'), redis('redis://h/0')],
  ['a written default database', redis('redis://h'), redis('redis://h/0')],
  ['a password of a database', sql('postgres://u:one@h/db'), sql('postgres://v:t%40o@h/db')],
  ['parameters of a connection', sql('postgres://h/db?sslmode=require&password=x'), sql('postgres://h/db')],
  ['where files lie that are not shared', file('/one', false), file('/two', false)],
  ['the order of destinations', destinations('a', 'b'), destinations('b', 'a')],
  ['the order of separators', testConfig({ routing: { masterUserSeparators: ['%', '*'] } }), testConfig({ routing: { masterUserSeparators: ['*', '%', '*'] } })],
  ['what is an instance\'s own', testConfig(), testConfig({ cluster: { instance: 'other' }, server: { threads: 9 } })],
]

const DIFFERENT: readonly (readonly [string, Config, Config])[] = [
  ['normalisation', testConfig(), testConfig({ mapping: { normalize: 'lowercase' } })],
  ['separators', testConfig(), testConfig({ routing: { masterUserSeparators: ['%', '*'] } })],
  ['the source', redis('redis://h/0'), sql('postgres://h/0')],
  ['the server', redis('redis://h/0'), redis('redis://g/0')],
  ['the database', redis('redis://h/0'), redis('redis://h/1')],
  ['the prefix', redis('redis://h/0'), redis('redis://h/0', 'other:')],
  ['the query', sql('postgres://h/db'), sql('postgres://h/db', 'select 2')],
  ['a shared file', file('/one', true), file('/two', true)],
  ['destinations', destinations('a', 'b'), destinations('a', 'c')],
  ['names that only look alike together', destinations('a', 'b'), destinations('a,b')],
]

describe('the configuration digest', () => {
  for (const [what, one, other] of EQUAL) {
    test(`${what} makes no difference`, () => assert.equal(configurationDigest(one), configurationDigest(other)))
  }
  for (const [what, one, other] of DIFFERENT) {
    test(`${what} makes a difference`, () => assert.notEqual(configurationDigest(one), configurationDigest(other)))
  }

  test('it is 16 hex digits, always the same', () => {
    assert.match(configurationDigest(testConfig()), /^[0-9a-f]{16}$/)
    assert.equal(configurationDigest(testConfig()), configurationDigest(testConfig()))
  })
})
