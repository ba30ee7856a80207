import assert from 'node:assert/strict'
import { test } from 'node:test'
import { protocolByName, protocols, tooBusy } from '../../src/protocol/registry.ts'
import { testConfig, testListener } from '../support/config.ts'

test('every protocol is found under its own name, once', () => {
  for (const protocol of protocols) assert.equal(protocolByName(protocol.name), protocol)
  assert.equal(new Set(protocols.map(({ name }) => name)).size, protocols.length)
  assert.equal(protocolByName('imap')?.name, 'imap')
})

test('SMTP and LMTP are bridged whole; HTTP is not carried by the connection', () => {
  for (const name of ['smtp', 'lmtp'] as const) assert.equal(protocolByName(name)?.kind, 'passthrough')
  assert.equal(protocolByName('http'), undefined)
})

test('a full listener says so in its protocol, unless TLS comes first', () => {
  for (const { name: protocol } of protocols) {
    const rest = { capabilities: testConfig().capabilities, hostname: undefined, preauthBuffer: 65_536 }
    assert.match(tooBusy({ listener: testListener({ protocol, tls: 'plain' }), ...rest }).toString(), /Too many connections.*\r\n$/)
    assert.equal(tooBusy({ listener: testListener({ protocol, tls: 'implicit' }), ...rest }).length, 0)
  }
})
