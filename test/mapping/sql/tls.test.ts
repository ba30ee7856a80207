import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseSqlUrl } from '../../../src/config/sql-url.ts'
import { SignalboxError } from '../../../src/errors.ts'
import { tlsOf } from '../../../src/mapping/sql/tls.ts'
import { makeAuthority } from '../../support/certificates.ts'

function tls(mode: string, ca?: string): ReturnType<typeof tlsOf> {
  const target = parseSqlUrl(`postgres://u@h/d?sslmode=${mode}`)
  assert.ok(target.kind !== 'sqlite')
  return tlsOf({ ...target, ca })
}

test('what each sslmode verifies', () => {
  assert.equal(tls('disable'), undefined)
  assert.equal(tls('prefer')?.rejectUnauthorized, false)
  assert.equal(tls('require')?.rejectUnauthorized, false)
  assert.equal(tls('verify-ca')?.rejectUnauthorized, true)
  assert.equal(typeof tls('verify-ca')?.checkServerIdentity, 'function')
  assert.equal(tls('verify-full')?.rejectUnauthorized, true)
  assert.equal(tls('verify-full')?.checkServerIdentity, undefined)
})

test('with a CA of its own "require" verifies the chain, and nothing else is trusted', async () => {
  const { cert } = await makeAuthority()
  const required = tls('require', cert)
  assert.equal(required?.rejectUnauthorized, true)
  assert.equal(typeof required?.checkServerIdentity, 'function')
  assert.deepEqual(required?.ca, [cert.trim()])
})

test('a CA that the URL names but nobody has read verifies nothing silently: it is an error', () => {
  assert.throws(() => tls('require&sslrootcert=/ca.pem'), (error) => error instanceof SignalboxError && error.code === 'INTERNAL')
})
