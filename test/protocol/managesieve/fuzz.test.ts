/**
 * Both ManageSieve dialogues over arbitrary bytes, mutations of real dialogues, and arbitrary cuts: nothing throws, nothing
 * is held beyond its bound, and how the bytes were cut changes nothing. Strings survive being written and read.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { BACKEND_LINE, BACKEND_PREAMBLE } from '../../../src/limits.ts'
import { ManageSieveBackend } from '../../../src/protocol/managesieve/backend.ts'
import { managesieve } from '../../../src/protocol/managesieve/managesieve.ts'
import { SieveReader, readStrings, writeString } from '../../../src/protocol/managesieve/wire.ts'
import { base64, passwordLogin, tokenLogin } from '../imap/profile.ts'
import { backendJudgesAlike, clientAnswersAlike, clientEndsOnce, cuts, loginWaitsForTls } from '../fuzz.ts'
import { cutAt } from '../recorder.ts'
import { OPTIONS, listener } from './profile.ts'

const BUFFER = 2_048

const CLIENT_WORDS = [
  'CAPABILITY\r\n',
  'NOOP\n',
  'NOOP "x\\"y"\r\n',
  'NOOP {3+}\r\na\r\n\r\n',
  `AUTHENTICATE "PLAIN" "${base64('\0joe\0pass')}"\r\n`,
  `AUTHENTICATE "PLAIN" {12+}\r\n${base64('\0joe\0pass')}\r\n`,
  `AUTHENTICATE "LOGIN"\r\n"${base64('joe')}"\r\n{8+}\r\n${base64('pass')}\r\n`,
  `AUTHENTICATE "XOAUTH2"\r\n"${base64('user=joe\u0001auth=Bearer t\u0001\u0001')}"\r\n`,
  `AUTHENTICATE "OAUTHBEARER" "${base64('n,,\u0001auth=Bearer t\u0001\u0001')}"\r\n"AQ=="\r\n`,
  'AUTHENTICATE "PLAIN" ""\r\n',
  'AUTHENTICATE "PLAIN"\r\n"*"\r\n',
  'PUTSCRIPT "x" {5+}\r\nkeep;\r\n',
  'LOGOUT\r\n',
  'STARTTLS\r\n',
  'NOOP {5}\r\n',
  'NOOP {2047+}\r\n',
  '\r\n',
  '{3+}\r\n',
  '"',
  'x'.repeat(1_000),
]

const BACKEND_WORDS = [
  '"SASL" "PLAIN"\r\n',
  '"SASL" {5}\r\nLOGIN\r\n',
  '"SASL" "OAUTHBEARER"\r\n',
  '"STARTTLS"\r\n',
  '"XCLIENT"\r\n',
  'OK "hi"\r\n',
  'OK\n',
  'OK (SASL "AQ==") {2}\r\nab\r\n',
  'NO "no"\r\n',
  'NO (TRYLATER) "later"\r\n',
  'NO (ENCRYPT-NEEDED)\r\n',
  'BYE\r\n',
  '""\r\n',
  '"e30="\r\n',
  '{4}\r\ne30=\r\n',
  '"',
  '{3}\r\n',
]

const BEGINNINGS = ['', '"SASL" "OAUTHBEARER"\r\nOK\r\n', '"SASL" "PLAIN"\r\nOK\r\n', '"SASL" "LOGIN"\r\nOK\r\n']

describe('ManageSieve under fuzzing', () => {
  test('a string is read as it was written, however it is cut, and nothing behind it is', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 2_000 }),
      fc.string({ unit: fc.constantFrom('"', '\\', '{', '}', '+', '1', '\r', '\n', '\0', ' '), maxLength: 40 }).map((text) => Buffer.from(text)),
    )
    fc.assert(
      fc.property(fc.array(bytes, { minLength: 1, maxLength: 3 }), fc.constantFrom<'client' | 'server'>('client', 'server'), cuts, (values, side, places) => {
        const strings = values.map((value) => writeString(Buffer.from(value), side).toString('latin1')).join(' ')
        const reader = new SieveReader(side)
        const limits = { line: 10_000, literals: 10_000, total: 20_000 }
        let event = ''
        for (const piece of cutAt(Buffer.from(`${strings}\r\nNOOP\r\n`, 'latin1'), places)) {
          reader.bytes.feed(Buffer.from(piece))
          event = reader.next(limits)
          reader.bytes.settle()
          if (event === 'whole') break
        }
        assert.equal(event, 'whole')
        assert.deepEqual(readStrings(reader.whole, 3)?.map((value) => value.toString('latin1')), values.map((value) => Buffer.from(value).toString('latin1')))
      }),
      { numRuns: 1_000 },
    )
  })

  test('the client dialogue answers alike however the bytes are cut and whenever the session answers', () => {
    clientAnswersAlike(listener({ buffer: BUFFER, attempts: 4 }), CLIENT_WORDS, BUFFER + 64)
  })

  test('the client dialogue with STARTTLS never throws, and speaks no word after it closed', () => {
    const factory = listener({ tls: 'starttls', buffer: BUFFER, managesieve: { allowPlainAuthWithoutTls: true } })
    clientEndsOnce(factory, CLIENT_WORDS)
  })

  test('the backend dialogue judges alike however the bytes are cut, and once', () => {
    const logins = [
      passwordLogin('joe', 'pass', {}),
      passwordLogin('jöe', 'p\u00e4ss', {}),
      tokenLogin('OAUTHBEARER', 'n,,\u0001auth=Bearer t\u0001\u0001'),
    ]
    backendJudgesAlike({ protocol: managesieve, options: OPTIONS, words: BACKEND_WORDS, beginnings: BEGINNINGS, logins })
  })

  test('the backend dialogue never throws over arbitrary bytes, on the STARTTLS leg too, and no login leaves before TLS', () => {
    const beginnings = ['', '"STARTTLS"\r\nOK\r\nOK\r\n']
    const logins = [passwordLogin('joe', 'x', {})]
    loginWaitsForTls({ protocol: managesieve, options: OPTIONS, words: BACKEND_WORDS, beginnings, logins }, /AUTHENTICATE/)
  })

  test('a backend is bounded at N and N + 1, in a line, in a literal and in all', () => {
    const judge = (bytes: Buffer): string | undefined => {
      let code: string | undefined
      const port = { write() {}, startTls() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {} }
      const dialogue = new ManageSieveBackend({ ...port, trouble: (error) => { code = error.code } }, OPTIONS)
      dialogue.start()
      for (let at = 0; at < bytes.length; at += 4_096) dialogue.receive(bytes.subarray(at, at + 4_096))
      return code
    }
    const line = (size: number, end: string): Buffer => Buffer.from(`"X" "${'x'.repeat(size - 6)}"${end}`)
    assert.equal(judge(line(BACKEND_LINE, '\r\n')), undefined)
    assert.equal(judge(line(BACKEND_LINE, '\n')), undefined)
    assert.equal(judge(line(BACKEND_LINE + 1, '\r\n')), 'BACKEND_PROTOCOL')
    assert.equal(judge(line(BACKEND_LINE + 1, '\n')), 'BACKEND_PROTOCOL')
    assert.equal(judge(line(BACKEND_LINE + 2, '')), 'BACKEND_PROTOCOL')
    const announced = (size: number): Buffer => Buffer.from(`"X" {${size}}\r\n`)
    assert.equal(judge(announced(BACKEND_PREAMBLE - announced(BACKEND_PREAMBLE).length)), undefined)
    assert.equal(judge(announced(BACKEND_PREAMBLE - announced(BACKEND_PREAMBLE).length + 1)), 'BACKEND_PROTOCOL')
    assert.equal(judge(Buffer.from('"X" {99999999999999999999}\r\n')), 'BACKEND_PROTOCOL')
    const preamble = (size: number): Buffer => Buffer.from(`"X" "${'y'.repeat(1_000)}"\r\n`.repeat(200)).subarray(0, size)
    assert.equal(judge(preamble(BACKEND_PREAMBLE)), undefined)
    assert.equal(judge(preamble(BACKEND_PREAMBLE + 1)), 'BACKEND_PROTOCOL')
  })
})
