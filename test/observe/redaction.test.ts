import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { asSignalboxError, SignalboxError } from '../../src/errors.ts'
import { REDACTIONS_REMEMBERED } from '../../src/limits.ts'
import { errorFields } from '../../src/observe/error-fields.ts'
import { createRedactor, printable, redactUrl, redactUrls } from '../../src/observe/redaction.ts'

describe('redacted accounts', () => {
  const redact = createRedactor({ accounts: 'redacted', redactionKey: 'k1' })

  test('two characters and a hash, the same on every instance with the key, another with another key', () => {
    const once = redact('alice@example.org')
    assert.match(once, /^al\*[0-9a-f]{12}$/)
    assert.equal(redact('alice@example.org'), once)
    assert.equal(createRedactor({ accounts: 'redacted', redactionKey: 'k1' })('alice@example.org'), once)
    assert.notEqual(createRedactor({ accounts: 'redacted', redactionKey: 'k2' })('alice@example.org'), once)
    assert.notEqual(redact('alicf@example.org'), once)
  })

  test('are remembered, so many of them: one more, and the one that was asked for longest ago is made anew', (t) => {
    const hashed = t.mock.method(crypto, 'createHmac')
    syncBuiltinESMExports()
    t.after(() => {
      hashed.mock.restore()
      syncBuiltinESMExports()
    })
    const fresh = createRedactor({ accounts: 'redacted', redactionKey: 'k3' })
    for (let number = 0; number < REDACTIONS_REMEMBERED; number++) fresh(`account${number}`)
    assert.equal(hashed.mock.callCount(), REDACTIONS_REMEMBERED)
    fresh('account0')
    assert.equal(hashed.mock.callCount(), REDACTIONS_REMEMBERED, 'the first is still remembered')
    fresh('one more')
    fresh('account0')
    assert.equal(hashed.mock.callCount(), REDACTIONS_REMEMBERED + 1)
    fresh('account1')
    assert.equal(hashed.mock.callCount(), REDACTIONS_REMEMBERED + 2, 'the oldest has made room')
  })

  test('characters are not torn and control characters become visible', () => {
    assert.match(redact('😀😀😀'), /^😀😀\*/)
    assert.match(redact('\r\nevil'), /^\\u000d\\u000a\*/)
    assert.match(redact(''), /^\*[0-9a-f]{12}$/)
    assert.match(redact('a'), /^a\*/)
  })

  test('full accounts are whole, but printable', () => {
    const full = createRedactor({ accounts: 'full', redactionKey: 'k1' })
    assert.equal(full('alice@example.org'), 'alice@example.org')
    assert.equal(full('a\u001b[2J\u009b\n'), 'a\\u001b[2J\\u009b\\u000a')
  })

  test('whatever the account, nothing unprintable is left and no more than two characters of it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (account) => {
        const redacted = redact(account)
        assert.doesNotMatch(redacted, /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
        assert.equal(redacted, printable(redacted))
        assert.equal(redacted.slice(0, redacted.lastIndexOf('*')), printable(Array.from(account).slice(0, 2).join('')))
      }),
    )
  })
})

describe('redacted URLs', () => {
  for (const [url, expected] of [
    ['redis://h:6379/0', 'redis://h:6379/0'],
    ['redis://user@h', 'redis://user@h'],
    ['redis://user:pw@h:6379/0', 'redis://user:***@h:6379/0'],
    ['redis://:pw@h', 'redis://:***@h'],
    ['redis+sentinel://:p%40w@a:26379,b:26379/mymaster/0', 'redis+sentinel://:***@a:26379,b:26379/mymaster/0'],
    ['redis://u:p@w@h/0', 'redis://u:***@h/0'],
    ['redis://u:p/w@h/0', 'redis://u:***@h/0'],
    ['redis://u:p?w#x@h/0', 'redis://u:***@h/0'],
    ['postgres://u:pw@h/db?sslmode=require&sslpassword=abc&x=1', 'postgres://u:***@h/db?sslmode=require&sslpassword=***&x=1'],
    ['postgres://h/db?user=u&password=abc', 'postgres://h/db?user=u&password=***'],
    ['sqlite:///var/lib/a.db', 'sqlite:///var/lib/a.db'],
    ['no url at all', 'no url at all'],
  ] as const) {
    test(`${url} becomes ${expected}`, () => assert.equal(redactUrl(url), expected))
  }

  test('URLs inside a sentence are redacted one by one', () => {
    assert.equal(redactUrls('from redis://a:b@h to "mysql://c:d@i/x" now'), 'from redis://a:***@h to "mysql://c:***@i/x" now')
  })

  test('no password survives, whatever it is made of', () => {
    const word = fc.stringMatching(/^[a-z]{1,8}$/)
    const password = fc.stringMatching(/^[\x21-\x7e]{1,20}$/).map((text) => `Zq9${text}`)
    fc.assert(
      fc.property(word, password, word, (user, secret, host) => {
        assert.ok(!redactUrl(`redis://${user}:${secret}@${host}/0`).includes('Zq9'))
      }),
    )
  })
})

describe('errors in the log', () => {
  test('code, side, message and the chain of causes, without passwords or further fields', () => {
    const reply = Object.assign(new Error('WRONGPASS at redis://u:hunter2@h'), {
      code: 'WRONGPASS', command: { name: 'auth', args: ['hunter2'] },
    })
    const error = new SignalboxError('SOURCE_UNAVAILABLE', 'cannot ask\r\nthe source', { cause: reply })
    const fields = errorFields(error)
    assert.partialDeepStrictEqual(fields, {
      code: 'SOURCE_UNAVAILABLE', side: 'source', message: 'cannot ask\\u000d\\u000athe source',
      cause: { code: 'WRONGPASS', type: 'Error', message: 'WRONGPASS at redis://u:***@h' },
    })
    assert.equal(fields.stack, undefined)
    assert.doesNotMatch(JSON.stringify(fields), /hunter2/)
  })

  test('our own mistakes show where they happened, once', () => {
    const fields = errorFields(new SignalboxError('INTERNAL', 'oh'))
    assert.ok(fields.stack?.some((frame) => frame.includes('redaction.test.ts')))
    const wrapped = errorFields(asSignalboxError(new TypeError('inner')))
    assert.equal(wrapped.stack, undefined)
    assert.ok(wrapped.cause?.stack?.some((frame) => frame.includes('redaction.test.ts')))
    assert.ok(errorFields(Object.assign(new Error('unforeseen'), { code: 'ECONNRESET' })).stack)
  })

  test('what the system reports as the cause of a failure brings no stack, and facts for code are left out', () => {
    const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
    const fields = errorFields(new SignalboxError('BACKEND_CONNECT', 'not reached', { cause: refused }))
    assert.deepEqual(fields.cause, { code: 'ECONNREFUSED', type: 'Error', message: 'connect ECONNREFUSED' })
    assert.equal(errorFields(new SignalboxError('SOURCE_INVALID', 'line 2', { cause: { mistakes: [] } })).cause, undefined)
  })

  test('what is no error, endless causes and giant messages are bounded', () => {
    assert.deepEqual(errorFields({ password: 'x' }), { type: 'object', message: 'a thrown object' })
    assert.deepEqual(errorFields(undefined), { type: 'undefined', message: 'a thrown undefined' })
    const loop = new Error('x'.repeat(1_000_000))
    loop.cause = loop
    assert.ok(JSON.stringify(errorFields(loop)).length < 8_000)
  })
})
