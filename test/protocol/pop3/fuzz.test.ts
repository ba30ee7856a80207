/**
 * Both POP3 dialogues over arbitrary bytes, mutations of real dialogues, and arbitrary cuts: nothing throws, nothing is
 * held beyond its bound, and how the bytes were cut changes nothing.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { pop3 } from '../../../src/protocol/pop3/pop3.ts'
import { base64, passwordLogin, tokenLogin } from '../imap/profile.ts'
import { ACCEPT, REFUSE, type Verdict, cutAt, runBackend, runPreauth } from '../recorder.ts'
import { OPTIONS, listener } from './profile.ts'

const BUFFER = 2_048

const CLIENT_WORDS = [
  'CAPA\r\n',
  'NOOP\n',
  'UTF8\r\n',
  'USER joe\r\n',
  'PASS p a ss\r\n',
  'USER joe\r\nPASS x\r\n',
  `AUTH PLAIN ${base64('\0joe\0pass')}\r\n`,
  `AUTH LOGIN\r\n${base64('joe')}\r\n${base64('pass')}\r\n`,
  `AUTH XOAUTH2\r\n${base64('user=joe\u0001auth=Bearer t\u0001\u0001')}\r\n`,
  'AUTH PLAIN =\r\n',
  'AUTH PLAIN\r\n*\r\n',
  'AUTH\r\n',
  'APOP joe x\r\n',
  'STLS\r\n',
  'QUIT\r\n',
  '\r\n',
  'x'.repeat(1_000),
]

const BACKEND_WORDS = [
  '+OK hi\r\n',
  '+OK [XCLIENT] hi\r\n',
  '+OK\r\nUSER\r\nSASL PLAIN LOGIN\r\n.\r\n',
  '+OK\r\nSTLS\r\n.\r\n',
  '-ERR no\r\n',
  '-ERR [IN-USE] no\r\n',
  '+ \r\n',
  '+ e30=\r\n',
  '.\r\n',
  '* OK\r\n',
  '\r\n',
]

const verdict = fc.constantFrom<Verdict>(ACCEPT, REFUSE, REFUSE, { do: 'unavailable' }, { do: 'challenge', challenge: Buffer.from('c') })
const cuts = fc.array(fc.nat({ max: 20_000 }), { maxLength: 30 })

function stream(words: readonly string[], beginnings: readonly string[]): fc.Arbitrary<Buffer> {
  const word = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...words).map((text) => Buffer.from(text, 'latin1')) },
    {
      weight: 2,
      arbitrary: fc.tuple(fc.constantFrom(...words), fc.nat(), fc.nat({ max: 255 })).map(([text, at, byte]) => {
        const bytes = Buffer.from(text, 'latin1')
        bytes[at % bytes.length] = byte
        return bytes
      }),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)) },
  )
  return fc
    .tuple(fc.constantFrom(...beginnings), fc.array(word, { maxLength: 12 }))
    .map(([beginning, rest]) => Buffer.concat([Buffer.from(beginning), ...rest]))
}

describe('POP3 under fuzzing', () => {
  test('the client dialogue answers alike however the bytes are cut and whenever the session answers', () => {
    const factory = listener({ buffer: BUFFER, attempts: 4 })
    fc.assert(
      fc.property(stream(CLIENT_WORDS, ['']), cuts, fc.array(verdict, { maxLength: 5 }), (bytes, places, verdicts) => {
        const pieces = cutAt(bytes, places)
        const within = runPreauth(factory, true, [bytes], verdicts, 'within')
        const cut = runPreauth(factory, true, pieces, verdicts, 'within')
        assert.deepEqual(cut.calls, within.calls)
        const later = runPreauth(factory, true, pieces, verdicts)
        const full = later.calls.some(([name, , code]) => name === 'close' && code === 'CLIENT_BUFFER')
        if (!full) assert.deepEqual(later.calls, within.calls)
        for (const { mostHeld } of [within, cut, later]) assert.ok(mostHeld <= BUFFER + 2, `${mostHeld} held`)
      }),
      { numRuns: 1_000 },
    )
  })

  test('the client dialogue with STLS never throws, and speaks no word after it closed', () => {
    const factory = listener({ tls: 'starttls', buffer: BUFFER, pop3: { allowPlainAuthWithoutTls: true } })
    fc.assert(
      fc.property(stream(CLIENT_WORDS, ['']), cuts, fc.array(verdict, { maxLength: 5 }), (bytes, places, verdicts) => {
        const { calls, dialogue } = runPreauth(factory, false, cutAt(bytes, places), verdicts)
        const closed = calls.findIndex(([name, , final]) => name === 'close' || (name === 'deny' && final === true))
        assert.ok(closed < 0 || closed === calls.length - 1)
        if (closed >= 0) assert.equal(dialogue.held, 0)
      }),
      { numRuns: 500 },
    )
  })

  test('the backend dialogue judges alike however the bytes are cut, and once', () => {
    const logins = [passwordLogin('joe', 'pass', {}), passwordLogin('jöe', 'p\u00e4ss', {}), tokenLogin('XOAUTH2', 'user=x\u0001auth=Bearer t\u0001\u0001')]
    const beginnings = ['', '+OK hi\r\n+OK\r\nSASL PLAIN XOAUTH2\r\n.\r\n', '+OK hi\r\n-ERR\r\n', '+OK hi\r\n+OK\r\nUSER\r\n.\r\n']
    fc.assert(
      fc.property(stream(BACKEND_WORDS, beginnings), cuts, fc.constantFrom(...logins), fc.boolean(), (bytes, places, login, hideAuthErrors) => {
        const options = { ...OPTIONS, hideAuthErrors }
        const whole = runBackend(pop3, options, [[bytes]], login, [Buffer.from('x')], 'within')
        const cut = runBackend(pop3, options, [cutAt(bytes, places)], login, [Buffer.from('x')], 'within')
        assert.deepEqual(cut.calls, whole.calls)
        const verdicts = whole.calls.filter(([name]) => name === 'accepted' || name === 'refused' || name === 'trouble')
        assert.ok(verdicts.length <= 1)
      }),
      { numRuns: 1_000 },
    )
  })

  test('nothing of a login leaves before TLS is up on the STLS leg', () => {
    fc.assert(
      fc.property(stream(BACKEND_WORDS, ['', '+OK hi\r\n+OK\r\nSTLS\r\n.\r\n']), cuts, (bytes, places) => {
        const { calls } = runBackend(pop3, { ...OPTIONS, startTls: true }, [cutAt(bytes, places)], passwordLogin('joe', 'x', {}))
        const secured = calls.findIndex(([name]) => name === 'startTls')
        const written = calls.findIndex(([name, text]) => name === 'write' && /USER|AUTH|PASS/.test(String(text)))
        assert.ok(written < 0 || (secured >= 0 && secured < written))
      }),
      { numRuns: 500 },
    )
  })
})
