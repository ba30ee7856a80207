import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { createSecureContext, type SecureContext } from 'node:tls'
import { SNI_NAMES } from '../../src/limits.ts'
import { CertificateTable, defaultKeyPair } from '../../src/tls/certificates.ts'
import { selfSigned } from '../../src/tls/self-signed.ts'
import { makeAuthority } from '../support/certificates.ts'
import { certificateOf, tlsConfigOf } from '../support/tls-config.ts'

const authority = await makeAuthority()
const one = await authority.issue({ names: ['example.com', '*.example.org'] })
const two = await authority.issue({ names: ['mail.example.com'] })
const three = await authority.issue({ names: ['other.test'] })

function tableOf(...certificates: ReturnType<typeof certificateOf>[]): CertificateTable {
  return new CertificateTable(tlsConfigOf({ certificates }), {}, undefined)
}

test('exact names come before the parent domain, the parent before the default', () => {
  const table = tableOf(
    certificateOf('one', one, ['example.com', '*.example.org']),
    certificateOf('two', two, ['mail.example.com']),
    certificateOf('three', three, ['other.test'], true),
  )
  const [first, second, fallback] = [table.find('example.com'), table.find('mail.example.com'), table.default]
  assert.equal(new Set<SecureContext>([first, second, fallback]).size, 3)
  const expected: [string, SecureContext][] = [
    ['EXAMPLE.com', first],
    ['imap.example.com', first],
    ['Mail.Example.Com', second],
    ['x.example.org', first],
    ['example.org', fallback],
    ['a.b.example.com', fallback],
    ['x.mail.example.com', second],
    ['other.test', fallback],
    ['nowhere.invalid', fallback],
    ['com', fallback],
    ['', fallback],
    ['.', fallback],
    ['__proto__', fallback],
    ['constructor', fallback],
    ['__proto__.example.com', first],
  ]
  for (const [name, context] of expected) assert.equal(table.find(name), context, name)
})

test('a wildcard says more than a bare parent, whichever comes first', () => {
  const table = tableOf(
    certificateOf('bare', one, ['example.com']),
    certificateOf('wild', two, ['*.example.com']),
  )
  assert.notEqual(table.find('example.com'), table.find('host.example.com'))
  assert.equal(table.find('example.com'), table.default)
})

test('of two certificates for one name the first is taken', () => {
  const table = tableOf(certificateOf('a', one, ['x.test']), certificateOf('b', two, ['x.test']))
  assert.equal(table.find('x.test'), table.default)
})

test('certificates have so many names among them and no more', () => {
  const names = Array.from({ length: SNI_NAMES }, (_, index) => `h${index}.test`)
  const table = tableOf(certificateOf('one', one, names.slice(1)), certificateOf('two', two, [names[0] ?? '']))
  assert.notEqual(table.find('h0.test'), table.find('h1.test'))
  assert.equal(table.find(`h${SNI_NAMES - 1}.test`), table.find('h1.test'))
  const over = () => tableOf(certificateOf('one', one, names), certificateOf('two', two, ['more.test']))
  assert.throws(over, { code: 'CONFIG_INVALID', message: /more than/ })
})

test('a single certificate serves every name without being asked', () => {
  const table = tableOf(certificateOf('one', one, ['example.com']))
  assert.equal(table.byName, false)
  assert.equal(table.find('anything.test'), table.default)
})

test('without certificates the fallback serves, without that nothing does', async () => {
  const fallback = await selfSigned(['localhost'])
  assert.equal(defaultKeyPair(tlsConfigOf(), fallback), fallback)
  assert.ok(new CertificateTable(tlsConfigOf(), {}, fallback).default)
  assert.throws(() => new CertificateTable(tlsConfigOf(), {}, undefined), { code: 'CONFIG_INVALID' })
})

test('a certificate is chosen by its name in the configuration', () => {
  const certificates = [certificateOf('one', one, []), certificateOf('two', two, [], true)]
  const config = tlsConfigOf({ certificates })
  assert.equal(defaultKeyPair(config, undefined).cert, two.cert)
  assert.equal(defaultKeyPair(config, undefined, 'one').cert, one.cert)
  assert.throws(() => defaultKeyPair(config, undefined, 'none'), { code: 'CONFIG_INVALID', message: /"none"/ })
})

test('a key that is another certificate’s is a mistake that names the certificate', () => {
  const mixed = certificateOf('mixed', { cert: one.cert, key: two.key }, [])
  assert.throws(() => tableOf(mixed), { code: 'CONFIG_INVALID', message: /"mixed"/ })
})

test('the self-signed certificate is P-256, names what it was made for, and its key fits', async () => {
  const { cert, key } = await selfSigned(['mail.example.com', '192.0.2.1', '2001:db8::1'])
  const parsed = new X509Certificate(cert)
  assert.equal(parsed.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
  assert.equal(parsed.checkHost('mail.example.com'), 'mail.example.com')
  assert.equal(parsed.checkIP('192.0.2.1'), '192.0.2.1')
  assert.ok(parsed.checkIP('2001:db8::1'))
  assert.equal(parsed.ca, false)
  assert.ok(parsed.validFromDate.getTime() < Date.now() && parsed.validToDate.getTime() > Date.now() + 300 * 86_400_000)
  assert.ok(createSecureContext({ cert, key }))
  assert.notEqual((await selfSigned([])).cert, cert)
})
