import { equal } from 'node:assert/strict'
import { test } from 'node:test'
import { OwnListeners } from '../../src/destination/own-listeners.ts'
import { DNS_TTL_MS } from '../../src/limits.ts'
import { testListener } from '../support/config.ts'
import { FakeClock } from '../support/fake-clock.ts'

const bound = (...hosts: readonly string[]) => [
  testListener({ bind: hosts.map((host) => ({ host, port: 993, family: host.includes(':') ? 6 as const : 4 as const, text: host })) }),
]
const own = (hosts: readonly string[], interfaces: readonly string[] = []) => new OwnListeners(bound(...hosts), new FakeClock(), () => interfaces)

test('a listener on one address is ours there, on its port, and nowhere else', () => {
  const ours = own(['192.0.2.1'])
  equal(ours.has('192.0.2.1', 993), true)
  equal(ours.has('192.0.2.1', 994), false)
  equal(ours.has('192.0.2.2', 993), false)
  equal(ours.has('127.0.0.1', 993), false)
})

test('every way to write an address is that address', () => {
  equal(own(['192.0.2.1']).has('::ffff:192.0.2.1', 993), true)
  equal(own(['2001:db8:0:0::1']).has('2001:DB8::1', 993), true)
  equal(own(['fe80::1']).has('fe80::1%eth0', 993), true)
})

test('a wildcard is ours on every address of this host, of its family', () => {
  const ours = own(['0.0.0.0'], ['127.0.0.1', '192.0.2.1', '2001:db8::1', '::1'])
  for (const address of ['192.0.2.1', '127.0.0.1', '127.8.9.1']) equal(ours.has(address, 993), true, address)
  for (const address of ['192.0.2.2', '2001:db8::1', '::1']) equal(ours.has(address, 993), false, address)
  const six = own(['::'], ['127.0.0.1', '192.0.2.1', '2001:db8::1', 'fe80::1%eth0'])
  for (const address of ['2001:db8::1', '::1', 'fe80::1']) equal(six.has(address, 993), true, address)
  for (const address of ['192.0.2.1', '127.0.0.1', '2001:db8::2']) equal(six.has(address, 993), false, address)
})

test('connecting to the unspecified address means the loopback', () => {
  equal(own(['127.0.0.1']).has('0.0.0.0', 993), true)
  equal(own(['0.0.0.0']).has('0.0.0.0', 993), true)
  equal(own(['::1']).has('::', 993), true)
  equal(own(['192.0.2.1']).has('0.0.0.0', 993), false)
})

test('the interfaces are looked at again after a while, and only where a wildcard makes it necessary', () => {
  let looks = 0
  let interfaces = ['192.0.2.1']
  const clock = new FakeClock()
  const ours = new OwnListeners(bound('0.0.0.0'), clock, () => (looks++, interfaces))
  equal(ours.has('192.0.2.2', 143), false)
  equal(looks, 0)
  equal(ours.has('192.0.2.2', 993), false)
  interfaces = ['192.0.2.2']
  equal(ours.has('192.0.2.2', 993), false)
  equal(looks, 1)
  clock.advance(DNS_TTL_MS)
  equal(ours.has('192.0.2.2', 993), true)
  equal(looks, 2)
})

test('a port that the kernel chooses is known to nobody', () => {
  const listeners = [testListener({ bind: [{ host: '127.0.0.1', port: 0, family: 4, text: '127.0.0.1:0' }] })]
  equal(new OwnListeners(listeners, new FakeClock(), () => []).has('127.0.0.1', 0), false)
})
