import assert from 'node:assert/strict'
import { test } from 'node:test'
import { canonicalAddress, isAddress, isHostName, isLoopback, parseCidr, parseSocketAddress } from '../../src/config/address.ts'

test('socket addresses of both families are taken apart', () => {
  assert.deepEqual(
    parseSocketAddress('1.2.3.4:993'),
    { ok: true, value: { host: '1.2.3.4', port: 993, family: 4, text: '1.2.3.4:993' } },
  )
  assert.deepEqual(
    parseSocketAddress('[::]:0'),
    { ok: true, value: { host: '::', port: 0, family: 6, text: '[::]:0' } },
  )
})

test('names, bare IPv6, shortened IPv4, mapped addresses and bad ports are no socket addresses', () => {
  const bad = [
    'localhost:993',
    '::1:993',
    '127.1:993',
    '010.0.0.1:993',
    '[::ffff:1.2.3.4]:993',
    '[::1]',
    '1.2.3.4',
    '1.2.3.4:',
    ':993',
    '1.2.3.4:65536',
    '[1.2.3.4]:1',
    '[::1%lo]:1x',
    '1.2.3.4:-1',
    '1.2.3.4:99999',
  ]
  for (const text of bad) assert.equal(parseSocketAddress(text).ok, false, text)
  assert.deepEqual(
    parseSocketAddress('::1'),
    { ok: false, reason: 'IPv6 addresses stand in brackets, before the port' },
  )
})

test('networks need their prefix length, and the reason shows how a single address is written', () => {
  for (const text of ['10.0.0.0/8', '192.0.2.1/32', '2001:db8::/32', '::/0']) assert.equal(
    parseCidr(text).ok,
    true,
    text,
  )
  for (const text of ['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/-1', 'example.com/8', '10/8', '::/129', '/8', '']) {
    assert.equal(parseCidr(text).ok, false, text)
  }
  assert.deepEqual(parseCidr('192.0.2.1'), { ok: false, reason: 'write 192.0.2.1/32 for a single address' })
})

test('host names are told from addresses and from nonsense', () => {
  for (const text of ['a', 'mail.example.com', 'mail.example.com.', 'x-1.example', '_dc.example']) assert.ok(
    isHostName(text),
    text,
  )
  for (const text of ['', '.', '-a.example', 'a..b', 'a b', '1.2.3.4', '1.2.3.300', 'exämple.com', `${'a'.repeat(64)}.com`, 'a/b', 'a:1']) {
    assert.equal(isHostName(text), false, text)
  }
  assert.ok(isAddress('::1') && isAddress('10.0.0.1'))
  assert.equal(isAddress('fe80::1%eth0'), false)
})

test('two ways to write an address are one address', () => {
  assert.equal(canonicalAddress('0:0:0:0:0:0:0:1'), canonicalAddress('::1'))
  assert.equal(canonicalAddress('::ffff:10.0.0.1'), '10.0.0.1')
  assert.equal(canonicalAddress('example.com'), undefined)
  assert.ok(isLoopback('127.9.9.9') && isLoopback('::1') && !isLoopback('10.0.0.1') && !isLoopback('localhost'))
})
