/**
 * Both IMAP dialogues over arbitrary bytes, mutations of real dialogues, and arbitrary cuts: nothing throws, nothing
 * is held beyond its bound, and how the bytes were cut changes nothing.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BACKEND_LINE, BACKEND_PREAMBLE } from '../../../src/limits.ts'
import { ImapBackend } from '../../../src/protocol/imap/backend.ts'
import { imap } from '../../../src/protocol/imap/imap.ts'
import { backendJudgesAlike, clientAnswersAlike, clientEndsOnce, loginWaitsForTls } from '../fuzz.ts'
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

describe('IMAP under fuzzing', () => {
  test('the client dialogue answers alike however the bytes are cut and whenever the session answers', () => {
    clientAnswersAlike(listener({ buffer: BUFFER, attempts: 4 }), CLIENT_WORDS, BUFFER + 2)
  })

  test('the client dialogue with STARTTLS never throws, and speaks no word after it closed', () => {
    const factory = listener({ tls: 'starttls', buffer: BUFFER, imap: { allowPlainAuthWithoutTls: true } })
    clientEndsOnce(factory, CLIENT_WORDS)
  })

  test('the backend dialogue judges alike however the bytes are cut, and once', () => {
    const logins = [
      passwordLogin('joe', 'pass', { tag: 'c7', askedCapability: true }),
      passwordLogin('jöe', 'p\u00e4ss'),
      tokenLogin('OAUTHBEARER', 'n,,\u0001auth=Bearer t\u0001\u0001'),
    ]
    const beginnings = ['', '* OK hi\r\n* CAPABILITY AUTH=OAUTHBEARER\r\nS2 OK\r\n', '* OK [CAPABILITY AUTH=PLAIN] x\r\n', '* OK [CAPABILITY IMAP4] x\r\n']
    backendJudgesAlike({ protocol: imap, options: OPTIONS, words: BACKEND_WORDS, beginnings, logins })
  })

  test('the backend dialogue never throws over arbitrary bytes, on the STARTTLS leg too', () => {
    const beginnings = ['', '* OK [CAPABILITY STARTTLS] x\r\n']
    const logins = [passwordLogin('joe', 'x')]
    loginWaitsForTls({ protocol: imap, options: OPTIONS, words: BACKEND_WORDS, beginnings, logins }, /LOGIN|AUTHENTICATE/)
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
