import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Mechanism } from '../../src/config/config.ts'
import { SASL_LINE } from '../../src/limits.ts'
import { decodeBase64 } from '../../src/sasl/base64.ts'
import { SaslExchange, type SaslStep, readResponse } from '../../src/sasl/exchange.ts'

function begin(mechanism: Mechanism, message: string | undefined): SaslStep {
  return new SaslExchange(mechanism).begin(message === undefined ? undefined : encode(message))
}

function encode(message: string): Buffer {
  return Buffer.from(Buffer.from(message, 'latin1').toString('base64'))
}

function kind(step: SaslStep): string {
  return step.kind === 'malformed' ? step.reason : step.kind
}

describe('base64', () => {
  test('what an encoder writes is read', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const text = Buffer.from(Buffer.from(bytes).toString('base64'))
        assert.deepEqual(decodeBase64(text), Buffer.from(bytes))
      }),
    )
  })

  test('anything else is not', () => {
    for (const text of ['=', 'A', 'AA', 'AAA', 'A===', '====', 'AA=A', 'AB==', 'AAB=', 'QQ==QQ==', 'AA AA', 'AA-_', 'AAA\n', 'AAAA=', '*', 'ÿAAA']) {
      assert.equal(decodeBase64(Buffer.from(text, 'latin1')), undefined, text)
    }
    assert.deepEqual(decodeBase64(Buffer.alloc(0)), Buffer.alloc(0))
  })
})

describe('a client\'s SASL exchange', () => {
  test('PLAIN gives identity to act as, name and password', () => {
    const step = begin('PLAIN', 'ann\0joe\0p w')
    assert.deepEqual(step, {
      kind: 'credentials',
      credentials: { kind: 'password', authzid: 'ann', authcid: 'joe', password: Buffer.from('p w') },
    })
  })

  test('malformed PLAIN messages fail the attempt', () => {
    for (const message of ['', 'joe', 'joe\0pw', '\0joe\0', '\0\0pw', '\0joe\0pw\0', 'a\0b\0c\0d', '\0\xff\0pw', '\0joe\0\xff', '\0jo\re\0pw', '\0joe\0p\nw', 'a\r\0joe\0pw']) {
      assert.equal(kind(begin('PLAIN', message)), 'message', JSON.stringify(message))
    }
  })

  test('LOGIN takes the name as initial response or asks for both', () => {
    const asked = new SaslExchange('LOGIN')
    assert.deepEqual(asked.begin(undefined), { kind: 'challenge', text: Buffer.from('VXNlcm5hbWU6') })
    assert.deepEqual(asked.answer(encode('joe')), { kind: 'challenge', text: Buffer.from('UGFzc3dvcmQ6') })
    const expected = { kind: 'credentials', credentials: { kind: 'password', authzid: '', authcid: 'joe', password: Buffer.from('pw') } }
    assert.deepEqual(asked.answer(encode('pw')), expected)
    const given = new SaslExchange('LOGIN')
    assert.equal(given.begin(encode('joe')).kind, 'challenge')
    assert.deepEqual(given.answer(encode('pw')), expected)
  })

  test('an empty name or password of LOGIN is malformed', () => {
    assert.equal(kind(new SaslExchange('LOGIN').begin(Buffer.from('='))), 'message')
    const exchange = new SaslExchange('LOGIN')
    exchange.begin(encode('joe'))
    assert.equal(kind(exchange.answer(Buffer.alloc(0))), 'message')
  })

  test('OAUTHBEARER: the header\'s name, unescaped, and the token', () => {
    const message = 'n,a=jo=2Ce=3D@example.com,\u0001host=h\u0001port=993\u0001auth=bearer  a.b~c==\u0001\u0001'
    assert.deepEqual(begin('OAUTHBEARER', message), {
      kind: 'credentials',
      credentials: { kind: 'token', mechanism: 'OAUTHBEARER', message: Buffer.from(message), user: 'jo,e=@example.com', token: 'a.b~c==' },
    })
    const step = begin('OAUTHBEARER', 'y,,\u0001auth=Bearer t\u0001\u0001')
    assert.equal(step.kind === 'credentials' && step.credentials.kind === 'token' && step.credentials.user, undefined)
  })

  test('malformed OAUTHBEARER messages fail the attempt', () => {
    for (const message of [
      '',
      '\u0001',
      'auth=Bearer t\u0001\u0001',
      'n,,auth=Bearer t\u0001\u0001',
      'n,,\u0001auth=Bearer t\u0001',
      'n,,\u0001\u0001',
      'n,,\u0001auth=\u0001\u0001',
      'n,,\u0001auth=Basic t\u0001\u0001',
      'n,,\u0001auth=Bearer \u0001\u0001',
      'n,,\u0001auth=Bearer a b\u0001\u0001',
      'n,,\u0001auth=Bearer t\u0001auth=Bearer u\u0001\u0001',
      'n,,\u0001no equals\u0001auth=Bearer t\u0001\u0001',
      'n,,\u0001x1=y\u0001auth=Bearer t\u0001\u0001',
      'p=tls-unique,,\u0001auth=Bearer t\u0001\u0001',
      'n,a=,\u0001auth=Bearer t\u0001\u0001',
      'n,a=j=41,\u0001auth=Bearer t\u0001\u0001',
      'n,a=j\r\ne,\u0001auth=Bearer t\u0001\u0001',
      'n,a=\xff,\u0001auth=Bearer t\u0001\u0001',
    ]) {
      assert.equal(kind(begin('OAUTHBEARER', message)), 'message', JSON.stringify(message))
    }
  })

  test('XOAUTH2: the name and the token', () => {
    const message = 'user=joe@example.com\u0001auth=Bearer t\u0001\u0001'
    assert.deepEqual(begin('XOAUTH2', message), {
      kind: 'credentials',
      credentials: { kind: 'token', mechanism: 'XOAUTH2', message: Buffer.from(message), user: 'joe@example.com', token: 't' },
    })
    for (const nameless of ['auth=Bearer t\u0001\u0001', 'user=\u0001auth=Bearer t\u0001\u0001']) {
      const step = begin('XOAUTH2', nameless)
      assert.equal(step.kind === 'credentials' && step.credentials.kind === 'token' && step.credentials.user, undefined)
    }
    for (const bad of ['user=joe\u0001\u0001', 'user=j\noe\u0001auth=Bearer t\u0001\u0001', 'user=joe\u0001auth=Bearer t', '__proto__=x\u0001auth=Bearer t\u0001\u0001']) {
      assert.equal(kind(begin('XOAUTH2', bad)), 'message', JSON.stringify(bad))
    }
  })

  test('`*` cancels an exchange under way, and is no initial response', () => {
    for (const mechanism of ['PLAIN', 'LOGIN', 'OAUTHBEARER', 'XOAUTH2'] as const) {
      const exchange = new SaslExchange(mechanism)
      exchange.begin(undefined)
      assert.equal(kind(exchange.answer(Buffer.from('*'))), 'cancelled')
      assert.equal(kind(new SaslExchange(mechanism).begin(Buffer.from('*'))), 'base64')
    }
  })

  test('`=` is an empty initial response, and no base64 later on', () => {
    for (const mechanism of ['PLAIN', 'LOGIN', 'OAUTHBEARER', 'XOAUTH2'] as const) {
      assert.equal(kind(new SaslExchange(mechanism).begin(Buffer.from('='))), 'message')
      const exchange = new SaslExchange(mechanism)
      exchange.begin(undefined)
      assert.equal(kind(exchange.answer(Buffer.from('='))), 'base64')
    }
  })

  test('a message of SASL_LINE bytes is read, a longer one is not', () => {
    assert.equal(readResponse(Buffer.alloc(SASL_LINE, 'A'))?.length, (SASL_LINE / 4) * 3)
    assert.equal(readResponse(Buffer.alloc(SASL_LINE + 4, 'A')), undefined)
    assert.equal(kind(new SaslExchange('PLAIN').begin(Buffer.alloc(SASL_LINE + 4, 'A'))), 'base64')
  })

  test('no message, however made, throws', () => {
    const mechanism = fc.constantFrom<Mechanism>('PLAIN', 'LOGIN', 'OAUTHBEARER', 'XOAUTH2')
    const part = fc.oneof(fc.constantFrom('n,', 'a=', ',', '\u0001', 'auth=Bearer ', 'user=', '\0', 't'), fc.string({ maxLength: 5 }))
    fc.assert(
      fc.property(mechanism, fc.array(part, { maxLength: 12 }), (name, parts) => {
        const step = begin(name, parts.join(''))
        assert.ok(['message', 'credentials', 'challenge'].includes(kind(step)))
      }),
      { numRuns: 1_000 },
    )
  })
})
