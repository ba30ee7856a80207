import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Mechanism } from '../../src/config/config.ts'
import type { Credentials } from '../../src/protocol/protocol.ts'
import { type PasswordCredentials, SASL_MESSAGE, passwordCredentials } from '../../src/sasl/password.ts'
import { decodePlain, encodePlain } from '../../src/sasl/plain.ts'
import { SaslReplay, chooseMechanism } from '../../src/sasl/replay.ts'

function joe(authzid = ''): PasswordCredentials {
  return { kind: 'password', authzid, authcid: 'joe', password: Buffer.from('pw') }
}

const token: Credentials = { kind: 'token', mechanism: 'XOAUTH2', message: Buffer.from('message'), user: undefined, token: 't' }

function offering(...names: Mechanism[]): (mechanism: Mechanism) => boolean {
  return (mechanism) => names.includes(mechanism)
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}

describe('the replay of a login by SASL', () => {
  test('passwords go by PLAIN, else by LOGIN, else not', () => {
    assert.equal(chooseMechanism(joe(), offering('LOGIN', 'PLAIN')), 'PLAIN')
    assert.equal(chooseMechanism(joe(), offering('LOGIN')), 'LOGIN')
    assert.equal(chooseMechanism(joe('joe'), offering('LOGIN')), 'LOGIN')
    assert.equal(chooseMechanism(joe('ann'), offering('LOGIN')), undefined)
    assert.equal(chooseMechanism(joe(), offering('XOAUTH2', 'OAUTHBEARER')), undefined)
  })

  test('tokens go by their own mechanism and by no other', () => {
    assert.equal(chooseMechanism(token, offering('XOAUTH2')), 'XOAUTH2')
    assert.equal(chooseMechanism(token, offering('OAUTHBEARER', 'PLAIN', 'LOGIN')), undefined)
  })

  test('PLAIN says one message', () => {
    const replay = new SaslReplay(joe('ann'), 'PLAIN')
    assert.equal(replay.initial, base64('ann\0joe\0pw'))
    assert.deepEqual(replay.next(), { text: base64('ann\0joe\0pw') })
    assert.equal(replay.next(), 'unexpected')
    const sent = new SaslReplay(joe(), 'PLAIN')
    sent.initialSent()
    assert.equal(sent.next(), 'unexpected')
  })

  test('LOGIN says name and password when asked', () => {
    const replay = new SaslReplay(joe(), 'LOGIN')
    assert.equal(replay.initial, undefined)
    assert.deepEqual([replay.next(), replay.next(), replay.next()], [{ text: base64('joe') }, { text: base64('pw') }, 'unexpected'])
  })

  test('a token\'s further challenges are the client\'s', () => {
    const replay = new SaslReplay(token, 'XOAUTH2')
    assert.deepEqual([replay.next(), replay.next()], [{ text: base64('message') }, 'relay'])
  })

  test('what passes the gate survives PLAIN unchanged, and nothing breaks out of its field', () => {
    const field = fc.string({ unit: 'binary', maxLength: 20 })
    fc.assert(
      fc.property(field, field, field, (authzid, authcid, password) => {
        const credentials = passwordCredentials(Buffer.from(authzid), Buffer.from(authcid), Buffer.from(password))
        const clean = authcid !== '' && password !== '' && !/[\0\r\n]/.test(authzid + authcid + password)
        assert.equal(credentials !== undefined, clean)
        if (credentials !== undefined) assert.deepEqual(decodePlain(encodePlain(credentials)), credentials)
      }),
      { numRuns: 1_000 },
    )
    assert.throws(() => encodePlain({ ...joe(), authcid: 'a\0b' }), { code: 'INTERNAL' })
    assert.throws(() => encodePlain({ ...joe(), password: Buffer.from('a\0b') }), { code: 'INTERNAL' })
  })

  test('names are UTF-8, passwords any bytes, all of it bounded', () => {
    const none = Buffer.alloc(0)
    assert.equal(passwordCredentials(none, Buffer.from([0xff]), Buffer.from('x')), undefined)
    assert.deepEqual(passwordCredentials(none, Buffer.from('j'), Buffer.from([0xff]))?.password, Buffer.from([0xff]))
    assert.notEqual(passwordCredentials(none, Buffer.from('j'), Buffer.alloc(SASL_MESSAGE - 3, 'x')), undefined)
    assert.equal(passwordCredentials(none, Buffer.from('j'), Buffer.alloc(SASL_MESSAGE - 2, 'x')), undefined)
  })
})
