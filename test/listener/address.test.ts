import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { addressKey, plainAddress } from '../../src/listener/address.ts'

test('an IPv4-mapped address is shown as IPv4, any other as it stands', () => {
  assert.equal(plainAddress('::ffff:192.0.2.1'), '192.0.2.1')
  for (const address of ['192.0.2.1', '2001:db8::1', '::1', '::ffff:c000:201', '']) assert.equal(plainAddress(address), address)
})

test('a link-local address is shown without its zone, which means nothing elsewhere', () => {
  assert.equal(plainAddress('fe80::1%eth0'), 'fe80::1')
})

test('IPv4 is counted as itself, mapped forms of it alike, and IPv6 as its /64', () => {
  for (const address of ['192.0.2.1', '::ffff:192.0.2.1', '::ffff:c000:201', '::FFFF:192.0.2.1']) assert.equal(addressKey(address), '192.0.2.1')
  for (const address of ['2001:db8:0:1::', '2001:db8:0:1:ffff:ffff:ffff:ffff', '2001:DB8:0:1::5']) {
    assert.equal(addressKey(address), '2001:db8:0:1::/64')
  }
  assert.equal(addressKey('fe80::1%eth0'), addressKey('fe80::2%eth0'))
})

test('what is no address is counted as it is', () => {
  for (const text of ['', 'unix', ':::', '1:2', '%', '__proto__']) assert.equal(addressKey(text), text)
})

test('two IPv6 addresses share a key exactly when their first four groups agree', () => {
  const group = fc.integer({ min: 0, max: 0xffff })
  const address = fc.tuple(group, group, group, fc.constantFrom(0, 1), group, group, group, group).map((groups) => groups.map((part) => part.toString(16)))
  fc.assert(
    fc.property(address, address, fc.boolean(), (one, other, share) => {
      const second = share ? [...one.slice(0, 4), ...other.slice(4)] : other
      const agree = one.slice(0, 4).join(':') === second.slice(0, 4).join(':')
      assert.equal(addressKey(one.join(':')) === addressKey(second.join(':')), agree)
    }),
  )
})
