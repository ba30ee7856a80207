import assert from 'node:assert/strict'
import { test } from 'node:test'
import { authorities, certificatesIn } from '../src/authorities.ts'
import { SignalboxError } from '../src/errors.ts'
import { makeAuthority } from './support/certificates.ts'

test('without a bundle it is the system that is trusted, and a caller can change nothing about it', () => {
  const first = authorities(undefined)
  assert.ok(first.length > 10, String(first.length))
  first.length = 0
  assert.ok(authorities(undefined).length > 10)
})

test('a bundle replaces the system: its certificates, without the text between them', async () => {
  const [one, two] = [await makeAuthority('One'), await makeAuthority('Two')]
  assert.deepEqual(authorities(`# ours\n${one.cert}\nand theirs\n${two.cert}`), [one.cert.trim(), two.cert.trim()])
})

test('a bundle without a certificate, or with something that is none, is refused', async () => {
  const { cert, key } = await makeAuthority()
  const broken = cert.replace(/\n[A-Za-z0-9+/]{20}/, '\nAAAAAAAAAAAAAAAAAAAA')
  assert.equal(certificatesIn(broken).length, 1)
  for (const bundle of ['', key, broken, cert + broken]) {
    assert.throws(() => authorities(bundle), (error) => error instanceof SignalboxError && error.code === 'CONFIG_INVALID')
  }
})
