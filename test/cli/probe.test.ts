import assert from 'node:assert/strict'
import { test } from 'node:test'
import { judge } from '../../src/cli/probe.ts'
import type { Probed } from '../../src/cli/probe.ts'
import type { CapabilitiesConfig, DialogueProtocol } from '../../src/config/config.ts'
import { protocolByName } from '../../src/protocol/registry.ts'
import { testConfig } from '../support/config.ts'

function verdictOf(protocol: DialogueProtocol, capabilities: Partial<CapabilitiesConfig>, servers: Readonly<Record<string, readonly string[] | undefined>>) {
  const found = protocolByName(protocol)
  assert.ok(found?.kind === 'login')
  const config = testConfig()
  const legs = Object.entries(servers).map(([destination, list]): Probed => ({ destination, protocol, port: 1, capabilities: list, error: list === undefined ? 'BACKEND_CONNECT: no' : undefined }))
  const { common, untrue, unfit } = judge(found, { ...config, capabilities: { ...config.capabilities, ...capabilities } }, legs)
  return { common, untrue: untrue.map(({ name, of }) => `${name}: ${of.join()}`), unfit: unfit.map(({ name, of }) => `${name}: ${of.join()}`) }
}

const { capabilities } = testConfig()

test('IMAP: the intersection, what is claimed beyond it, mechanisms that some server lacks', () => {
  const imap = { ...capabilities.imap, advertise: ['IMAP4rev1', 'LITERAL-', 'IDLE'], sasl: ['PLAIN', 'XOAUTH2'] as const }
  assert.deepEqual(
    verdictOf('imap', { imap }, {
      old: ['IMAP4rev1', 'LITERAL+', 'ID', 'STARTTLS', 'AUTH=PLAIN', 'AUTH=XOAUTH2'],
      new: ['imap4REV1', 'LITERAL-', 'IDLE', 'id', 'AUTH=CRAM-MD5'],
      gone: undefined,
    }),
    { common: ['IMAP4rev1', 'ID', 'LITERAL-'], untrue: ['IDLE: old'], unfit: ['XOAUTH2: new'] },
  )
})

test('IMAP: a server that takes no password at all can repeat none', () => {
  const imap = { ...capabilities.imap, advertise: [], sasl: ['PLAIN', 'LOGIN'] as const }
  const { unfit } = verdictOf('imap', { imap }, { old: ['LOGINDISABLED', 'AUTH=GSSAPI'], new: ['AUTH=LOGIN', 'LOGINDISABLED'] })
  assert.deepEqual(unfit, ['PLAIN: old', 'LOGIN: old'])
})

test('POP3: capabilities by their names; a server from before CAPA has USER', () => {
  const pop3 = { ...capabilities.pop3, capa: ['TOP', 'EXPIRE 30'], sasl: ['PLAIN'] as const }
  assert.deepEqual(verdictOf('pop3', { pop3 }, { old: [], new: ['TOP', 'EXPIRE NEVER', 'SASL PLAIN', 'STLS'] }), {
    common: [],
    untrue: ['TOP: old', 'EXPIRE: old'],
    unfit: [],
  })
})

test('ManageSieve: the extensions', () => {
  const managesieve = { ...capabilities.managesieve, sieve: ['fileinto', 'regex'], sasl: ['OAUTHBEARER'] as const }
  assert.deepEqual(verdictOf('managesieve', { managesieve }, { one: ['IMPLEMENTATION x', 'SIEVE fileinto vacation', 'SASL PLAIN'] }), {
    common: ['fileinto', 'vacation'],
    untrue: ['regex: one'],
    unfit: ['OAUTHBEARER: one'],
  })
})

test('submission: the keywords', () => {
  const submission = { ...capabilities.submission, ehlo: ['SIZE 100', 'DSN'], sasl: ['LOGIN'] as const }
  assert.deepEqual(verdictOf('submission', { submission }, { one: ['SIZE 200', 'AUTH PLAIN', 'XCLIENT ADDR', '8BITMIME'], two: ['SIZE', 'DSN', 'AUTH GSSAPI'] }), {
    common: ['SIZE'],
    untrue: ['DSN: one'],
    unfit: ['LOGIN: two'],
  })
})

test('names of prototype properties are names', () => {
  const imap = { ...capabilities.imap, advertise: ['__proto__'], sasl: [] }
  assert.deepEqual(verdictOf('imap', { imap }, { constructor: ['toString'] }), { common: ['toString'], untrue: ['__proto__: constructor'], unfit: [] })
})
