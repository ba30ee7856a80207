/**
 * Both submission dialogues over arbitrary bytes, mutations of real dialogues, and arbitrary cuts: nothing throws, nothing
 * is held beyond its bound, and how the bytes were cut changes nothing.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { BACKEND_LINE, BACKEND_PREAMBLE } from '../../../src/limits.ts'
import { SubmissionBackend } from '../../../src/protocol/submission/backend.ts'
import { submission } from '../../../src/protocol/submission/submission.ts'
import { base64, passwordLogin, tokenLogin } from '../imap/profile.ts'
import { backendJudgesAlike, clientAnswersAlike, clientEndsOnce, loginWaitsForTls } from '../fuzz.ts'
import { runBackend } from '../recorder.ts'
import { FACTS, OPTIONS, listener } from './profile.ts'

const BUFFER = 2_048

const CLIENT_WORDS = [
  'EHLO me\r\n',
  'HELO me\n',
  'NOOP\r\n',
  'RSET\r\n',
  'VRFY x\r\n',
  `AUTH PLAIN ${base64('\0joe\0pass')}\r\n`,
  `AUTH LOGIN\r\n${base64('joe')}\r\n${base64('pass')}\r\n`,
  `AUTH XOAUTH2\r\n${base64('user=joe\u0001auth=Bearer t\u0001\u0001')}\r\n`,
  `AUTH OAUTHBEARER ${base64('n,,\u0001auth=Bearer t\u0001\u0001')}\r\nAQ==\r\n`,
  'AUTH PLAIN =\r\n',
  'AUTH PLAIN\r\n*\r\n',
  'MAIL FROM:<a@b>\r\n',
  'QUIT\r\n',
  'STARTTLS\r\n',
  '\r\n',
  'x'.repeat(1_000),
]

const BACKEND_WORDS = [
  '220 hi\r\n',
  '220-hi\r\n220 there\r\n',
  '250-x\r\n250 AUTH PLAIN\r\n',
  '250-x\r\n250-STARTTLS\r\n250 AUTH LOGIN OAUTHBEARER\r\n',
  '250-x\r\n250-XCLIENT ADDR HELO\r\n250 AUTH=LOGIN\r\n',
  '250 AUTH PLAIN\r\n',
  '334 \r\n',
  '334 e30=\r\n',
  '235 in\r\n',
  '235-in\r\n235 in\r\n',
  '421 bye\r\n',
  '454 later\r\n',
  '535-no\r\n',
  '535 no\r\n',
  '550 no\n',
  '999 x\r\n',
  '250-',
]

const BEGINNINGS = ['', '220 hi\r\n250-x\r\n250 AUTH OAUTHBEARER\r\n', '220 hi\r\n250-x\r\n250 AUTH PLAIN\r\n', '220 hi\r\n250-x\r\n250 AUTH LOGIN\r\n']

describe('submission under fuzzing', () => {
  test('the client dialogue answers alike however the bytes are cut and whenever the session answers', () => {
    clientAnswersAlike(listener({ buffer: BUFFER, attempts: 4 }), CLIENT_WORDS, BUFFER + 2, ['', 'EHLO me\r\n'])
  })

  test('the client dialogue with STARTTLS never throws, and speaks no word after it closed', () => {
    const factory = listener({ tls: 'starttls', buffer: BUFFER, submission: { allowPlainAuthWithoutTls: true } })
    clientEndsOnce(factory, CLIENT_WORDS, ['', 'EHLO me\r\n'])
  })

  test('the backend dialogue judges alike however the bytes are cut, and once', () => {
    const logins = [
      passwordLogin('joe', 'pass', FACTS),
      passwordLogin('jöe', 'p\u00e4ss', FACTS),
      tokenLogin('OAUTHBEARER', 'n,,\u0001auth=Bearer t\u0001\u0001'),
    ]
    backendJudgesAlike({ protocol: submission, options: OPTIONS, words: BACKEND_WORDS, beginnings: BEGINNINGS, logins })
  })

  test('the backend dialogue never throws over arbitrary bytes, on the STARTTLS leg too, and no login leaves before TLS', () => {
    const beginnings = ['', '220 x\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n']
    const logins = [passwordLogin('joe', 'x', FACTS)]
    loginWaitsForTls({ protocol: submission, options: OPTIONS, words: BACKEND_WORDS, beginnings, logins }, /AUTH/)
  })

  test('no name of a client breaks out of the commands that repeat it', () => {
    const announceClient = { clientAddress: '192.0.2.1', clientPort: 1, localAddress: '192.0.2.2', localPort: 587, session: 's', ttl: 7, clientTls: undefined }
    const turns = [[Buffer.from('220 x\r\n')], [Buffer.from('250-x\r\n250 XCLIENT ADDR HELO PROTO\r\n')]]
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: fc.constantFrom('\r', '\n', '\0', ' ', '=', '+', 'ä', 'x') })), (heloName) => {
        const { calls } = runBackend(submission, { ...OPTIONS, announceClient, facts: { heloName, esmtp: true } }, turns, passwordLogin('joe', 'x', FACTS))
        assert.match(String(calls[0]?.[1]), /^EHLO [\x21-\x7e]+\r\nXCLIENT ADDR=192\.0\.2\.1( HELO=[\x21-\x7e]+)?( PROTO=ESMTP)?\r\n$/)
      }),
      { numRuns: 500 },
    )
  })

  test('a backend is bounded at N and N + 1, in a line and in all', () => {
    const judge = (bytes: Buffer): string | undefined => {
      let code: string | undefined
      const port = { write() {}, startTls() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {} }
      const dialogue = new SubmissionBackend({ ...port, trouble: (error) => { code = error.code } }, OPTIONS)
      dialogue.start()
      for (let at = 0; at < bytes.length; at += 4_096) dialogue.receive(bytes.subarray(at, at + 4_096))
      return code
    }
    const line = (size: number, end: string): Buffer => Buffer.from(`220 ${'x'.repeat(size - 4)}${end}`)
    assert.equal(judge(line(BACKEND_LINE, '\r\n')), undefined)
    assert.equal(judge(line(BACKEND_LINE, '\n')), undefined)
    assert.equal(judge(line(BACKEND_LINE + 1, '\r\n')), 'BACKEND_PROTOCOL')
    assert.equal(judge(line(BACKEND_LINE + 1, '\n')), 'BACKEND_PROTOCOL')
    assert.equal(judge(line(BACKEND_LINE + 2, '')), 'BACKEND_PROTOCOL')
    const preamble = (size: number): Buffer => Buffer.from(`220-${'y'.repeat(1_000)}\r\n`.repeat(200)).subarray(0, size)
    assert.equal(judge(preamble(BACKEND_PREAMBLE)), undefined)
    assert.equal(judge(preamble(BACKEND_PREAMBLE + 1)), 'BACKEND_PROTOCOL')
  })
})
