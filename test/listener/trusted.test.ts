import { equal } from 'node:assert/strict'
import { test } from 'node:test'
import { isTrusted } from '../../src/listener/trusted.ts'
import { testListener } from '../support/config.ts'

const trusts = (proxyTrusted: readonly string[], address: string) => isTrusted(testListener({ proxyTrusted }), address)

test('an address is trusted inside of a network, in its own family', () => {
  equal(trusts(['10.0.0.0/8'], '10.255.0.1'), true)
  equal(trusts(['10.0.0.0/8'], '11.0.0.1'), false)
  equal(trusts(['192.0.2.7/32', '2001:db8::/32'], '2001:db8:1::1'), true)
  equal(trusts(['192.0.2.7/32', '2001:db8::/32'], '192.0.2.8'), false)
  equal(trusts(['0.0.0.0/0'], '2001:db8::1'), false)
  equal(trusts(['::/0'], '192.0.2.1'), false)
})

test('IPv4-mapped addresses and networks are IPv4', () => {
  equal(trusts(['10.0.0.0/8'], '::ffff:10.1.2.3'), true)
  equal(trusts(['::ffff:10.0.0.0/104'], '10.1.2.3'), true)
  equal(trusts(['::ffff:10.0.0.0/104'], '11.1.2.3'), false)
})

test('nobody is trusted where no network is named, and what is no address never is', () => {
  equal(trusts([], '127.0.0.1'), false)
  for (const text of ['', 'unknown', 'localhost', '127.0.0.1:80']) equal(trusts(['0.0.0.0/0', '::/0'], text), false)
})
