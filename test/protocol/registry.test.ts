import assert from 'node:assert/strict'
import { test } from 'node:test'
import { protocolByName, protocols } from '../../src/protocol/registry.ts'

test('every protocol is found under its own name, once', () => {
  for (const protocol of protocols) assert.equal(protocolByName(protocol.name), protocol)
  assert.equal(new Set(protocols.map(({ name }) => name)).size, protocols.length)
  assert.equal(protocolByName('imap')?.name, 'imap')
})

test('what is bridged whole has no dialogue', () => {
  for (const name of ['smtp', 'lmtp', 'http'] as const) assert.equal(protocolByName(name), undefined)
})
