/**
 * Both IMAP dialogues over arbitrary bytes, mutations of real dialogues, and arbitrary cuts: nothing throws, nothing
 * is held beyond its bound, and how the bytes were cut changes nothing.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { BACKEND_LINE, BACKEND_PREAMBLE } from '../../../src/limits.ts'
import { ImapBackend } from '../../../src/protocol/imap/backend.ts'
import { imap } from '../../../src/protocol/imap/imap.ts'
import { ACCEPT, REFUSE, type Verdict, cutAt, runBackend, runPreauth } from '../recorder.ts'
import { OPTIONS, base64, listener, passwordLogin, tokenLogin } from './profile.ts'

const BUFFER = 2_048

const CLIENT_WORDS = [
  'a CAPABILITY\r\n',
  'b NOOP\n',
  'c ID ("name" {3+}\r\nabc "x-proxy-ttl" "4")\r\n',
  'd ID NIL\r\n',
  'e LOGIN joe pass\r\n',
  'f LOGIN "jo\\"e" {4}\r\npass\r\n',
  'g LOGIN {3+}\r\njoe {2}\r\n\r\n\r\n',
  `h AUTHENTICATE PLAIN ${base64('\0joe\0pass')}\r\n`,
  `i AUTHENTICATE LOGIN\r\n${base64('joe')}\r\n${base64('pass')}\r\n`,
  `j AUTHENTICATE XOAUTH2\r\n${base64('user=joe\u0001auth=Bearer t\u0001\u0001')}\r\n`,
  `k AUTHENTICATE OAUTHBEARER ${base64('n,,\u0001auth=Bearer t\u0001\u0001')}\r\nAQ==\r\n`,
  'l AUTHENTICATE PLAIN =\r\n',
  'm AUTHENTICATE PLAIN\r\n*\r\n',
  'n LOGOUT\r\n',
  'o STARTTLS\r\n',
  'p X {5}\r\n',
  'q LOGIN {2047}\r\n',
  '\r\n',
  '{3}\r\n',
  ' {1+}\r\n',
  '"',
  'x'.repeat(1_000),
]

const BACKEND_WORDS = [
  '* OK hi\r\n',
  '* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n',
  '* OK [CAPABILITY IMAP4rev1 AUTH=LOGIN LITERAL+] hi\r\n',
  '* OK [CAPABILITY IMAP4rev1 STARTTLS ID] hi\r\n',
  '* CAPABILITY IMAP4rev1 AUTH=OAUTHBEARER UNAUTHENTICATE\r\n',
  'S1 OK\r\n',
  'S2 OK done\r\n',
  'S3 OK done\r\n',
  'S4 OK in\r\n',
  'S4 OK [CAPABILITY X] in\r\n',
  'S4 NO [UNAVAILABLE] no\r\n',
  'S4 BAD no\r\n',
  'S5 OK\r\n',
  '+ \r\n',
  '+ e30=\r\n',
  '* 1 FETCH (X {5}\r\nS4 OK)\r\n',
  '* BYE\r\n',
  '* ',
  '{3}\r\n',
]

const verdict = fc.constantFrom<Verdict>(ACCEPT, REFUSE, REFUSE, { do: 'unavailable' }, { do: 'challenge', challenge: Buffer.from('c') })
const cuts = fc.array(fc.nat({ max: 20_000 }), { maxLength: 30 })

/** Dialogues of known words, some of them damaged, with anything in between. */
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

describe('IMAP under fuzzing', () => {
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
      { numRuns: 1_500 },
    )
  })

  test('the client dialogue with STARTTLS never throws, and speaks no word after it closed', () => {
    const factory = listener({ tls: 'starttls', buffer: BUFFER, imap: { allowPlainAuthWithoutTls: true } })
    fc.assert(
      fc.property(stream(CLIENT_WORDS, ['']), cuts, fc.array(verdict, { maxLength: 5 }), (bytes, places, verdicts) => {
        const { calls, dialogue } = runPreauth(factory, false, cutAt(bytes, places), verdicts)
        const closed = calls.findIndex(([name, , final]) => name === 'close' || (name === 'deny' && final === true))
        assert.ok(closed < 0 || closed === calls.length - 1)
        if (closed >= 0) assert.equal(dialogue.held, 0)
      }),
      { numRuns: 700 },
    )
  })

  test('the backend dialogue judges alike however the bytes are cut, and once', () => {
    const logins = [
      passwordLogin('joe', 'pass', { tag: 'c7', askedCapability: true }),
      passwordLogin('jöe', 'p\u00e4ss'),
      tokenLogin('OAUTHBEARER', 'n,,\u0001auth=Bearer t\u0001\u0001'),
    ]
    fc.assert(
      fc.property(
        stream(BACKEND_WORDS, ['', '* OK hi\r\n* CAPABILITY AUTH=OAUTHBEARER\r\nS2 OK\r\n', '* OK [CAPABILITY AUTH=PLAIN] x\r\n', '* OK [CAPABILITY IMAP4] x\r\n']),
        cuts,
        fc.constantFrom(...logins),
        fc.boolean(),
        (bytes, places, login, hideAuthErrors) => {
          const options = { ...OPTIONS, hideAuthErrors }
          const whole = runBackend(imap, options, [[bytes]], login, [Buffer.from('x')], 'within')
          const cut = runBackend(imap, options, [cutAt(bytes, places)], login, [Buffer.from('x')], 'within')
          assert.deepEqual(cut.calls, whole.calls)
          const verdicts = whole.calls.filter(([name]) => name === 'accepted' || name === 'refused' || name === 'trouble')
          assert.ok(verdicts.length <= 1)
        },
      ),
      { numRuns: 1_500 },
    )
  })

  test('the backend dialogue never throws over arbitrary bytes, on the STARTTLS leg too', () => {
    fc.assert(
      fc.property(stream(BACKEND_WORDS, ['', '* OK [CAPABILITY STARTTLS] x\r\n']), cuts, (bytes, places) => {
        const { calls } = runBackend(imap, { ...OPTIONS, startTls: true }, [cutAt(bytes, places)], passwordLogin('joe', 'x'))
        // Nothing of a login leaves before TLS is up.
        const secured = calls.findIndex(([name]) => name === 'startTls')
        const written = calls.findIndex(([name, text]) => name === 'write' && /LOGIN|AUTHENTICATE/.test(String(text)))
        assert.ok(written < 0 || (secured >= 0 && secured < written))
      }),
      { numRuns: 700 },
    )
  })

  test('a backend is bounded at N and N + 1, in a line and in all', () => {
    const judge = (bytes: Buffer): string | undefined => {
      let code: string | undefined
      const port = { write() {}, startTls() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {} }
      const dialogue = new ImapBackend({ ...port, trouble: (error) => { code = error.code } }, OPTIONS)
      dialogue.start()
      for (let at = 0; at < bytes.length; at += 4_096) dialogue.receive(bytes.subarray(at, at + 4_096))
      return code
    }
    const line = (size: number, end: string): Buffer => Buffer.from(`* OK ${'x'.repeat(size - 5)}${end}`)
    assert.equal(judge(line(BACKEND_LINE, '\r\n')), undefined)
    assert.equal(judge(line(BACKEND_LINE, '\n')), undefined)
    assert.equal(judge(line(BACKEND_LINE + 1, '\r\n')), 'BACKEND_PROTOCOL')
    assert.equal(judge(line(BACKEND_LINE + 1, '\n')), 'BACKEND_PROTOCOL')
    assert.equal(judge(line(BACKEND_LINE + 2, '')), 'BACKEND_PROTOCOL')
    const greeting = '* OK hi\r\n'
    const preamble = (size: number): Buffer => Buffer.from(greeting + `* X ${'y'.repeat(1_000)}\r\n`.repeat(200)).subarray(0, size)
    assert.equal(judge(preamble(BACKEND_PREAMBLE)), undefined)
    assert.equal(judge(preamble(BACKEND_PREAMBLE + 1)), 'BACKEND_PROTOCOL')
  })
})
