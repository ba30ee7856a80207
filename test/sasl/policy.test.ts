import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type SaslPolicy, judgeMechanism, offeredMechanisms, passwordsOffered } from '../../src/sasl/policy.ts'

const strict: SaslPolicy = { sasl: ['XOAUTH2', 'PLAIN'], allowPlainAuthWithoutTls: false }
const open: SaslPolicy = { ...strict, allowPlainAuthWithoutTls: true }

test('mechanisms are offered in the configured order once TLS is up', () => {
  assert.deepEqual(offeredMechanisms(strict, true), ['XOAUTH2', 'PLAIN'])
  assert.deepEqual(offeredMechanisms(open, false), ['XOAUTH2', 'PLAIN'])
})

test('without TLS neither a password nor a token is offered or taken', () => {
  assert.deepEqual(offeredMechanisms(strict, false), [])
  assert.equal(judgeMechanism(strict, false, 'PLAIN'), 'privacy-required')
  assert.equal(judgeMechanism(strict, false, 'XOAUTH2'), 'privacy-required')
})

test('a mechanism\'s name is taken in any case, and only when it is configured', () => {
  assert.equal(judgeMechanism(strict, true, 'pLaIn'), 'PLAIN')
  for (const name of ['LOGIN', 'CRAM-MD5', '', '__proto__', 'constructor', 'PLAIN ']) {
    assert.equal(judgeMechanism(strict, true, name), 'unsupported')
  }
})

test('password commands follow the password mechanisms', () => {
  assert.equal(passwordsOffered(strict), true)
  assert.equal(passwordsOffered({ ...strict, sasl: ['LOGIN'] }), true)
  assert.equal(passwordsOffered({ ...strict, sasl: ['OAUTHBEARER', 'XOAUTH2'] }), false)
})
