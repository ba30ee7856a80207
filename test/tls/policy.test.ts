import assert from 'node:assert/strict'
import { constants } from 'node:crypto'
import { test } from 'node:test'
import { getCiphers } from 'node:tls'
import { CIPHER_SUITES, cipherSuiteName, policyOptions } from '../../src/tls/policy.ts'
import { tlsConfigOf } from '../support/tls-config.ts'

const names = (version: '1.2' | '1.3') =>
  CIPHER_SUITES.filter((suite) => suite.version === version).map(({ openssl }) => openssl)

test('OpenSSL knows every suite by the name it has here', () => {
  const known = new Set(getCiphers())
  for (const { openssl } of CIPHER_SUITES) assert.ok(known.has(openssl.toLowerCase()), openssl)
})

test('a suite is found by its IANA, OpenSSL and rustls names, and no other is', () => {
  for (const { openssl, iana } of CIPHER_SUITES) {
    assert.equal(cipherSuiteName(openssl), openssl)
    assert.equal(cipherSuiteName(iana), openssl)
  }
  assert.equal(cipherSuiteName('TLS13_AES_256_GCM_SHA384'), 'TLS_AES_256_GCM_SHA384')
  assert.equal(cipherSuiteName('RC4-SHA'), undefined)
  assert.equal(cipherSuiteName('__proto__'), undefined)
})

test('the version goes with its last suite', () => {
  assert.equal(policyOptions(tlsConfigOf()).minVersion, 'TLSv1.2')
  assert.equal(policyOptions(tlsConfigOf()).maxVersion, 'TLSv1.3')
  assert.equal(policyOptions(tlsConfigOf({ minVersion: '1.3' })).minVersion, 'TLSv1.3')
  assert.equal(policyOptions(tlsConfigOf({ disabledCipherSuites: names('1.3') })).maxVersion, 'TLSv1.2')
  assert.equal(policyOptions(tlsConfigOf({ disabledCipherSuites: names('1.2') })).minVersion, 'TLSv1.3')
})

test('a policy that leaves nothing is a mistake', () => {
  const all = [...names('1.2'), ...names('1.3')]
  assert.throws(() => policyOptions(tlsConfigOf({ disabledCipherSuites: all })), { code: 'CONFIG_INVALID' })
  const modern = tlsConfigOf({ minVersion: '1.3', disabledCipherSuites: names('1.3') })
  assert.throws(() => policyOptions(modern), { code: 'CONFIG_INVALID' })
})

test('renegotiation is off, the order is the client’s unless it is to be ignored', () => {
  const usual = policyOptions(tlsConfigOf())
  assert.ok((usual.secureOptions ?? 0) & constants.SSL_OP_NO_RENEGOTIATION)
  assert.equal(usual.honorCipherOrder, false)
  assert.equal(policyOptions(tlsConfigOf({ ignoreClientOrder: true })).honorCipherOrder, true)
})
