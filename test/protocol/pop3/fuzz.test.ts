/**
 * Both POP3 dialogues over arbitrary bytes, mutations of real dialogues, and arbitrary cuts: nothing throws, nothing is
 * held beyond its bound, and how the bytes were cut changes nothing.
 */
import { describe, test } from 'node:test'
import { pop3 } from '../../../src/protocol/pop3/pop3.ts'
import { base64, passwordLogin, tokenLogin } from '../imap/profile.ts'
import { backendJudgesAlike, clientAnswersAlike, clientEndsOnce, loginWaitsForTls } from '../fuzz.ts'
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

describe('POP3 under fuzzing', () => {
  test('the client dialogue answers alike however the bytes are cut and whenever the session answers', () => {
    clientAnswersAlike(listener({ buffer: BUFFER, attempts: 4 }), CLIENT_WORDS, BUFFER + 2)
  })

  test('the client dialogue with STLS never throws, and speaks no word after it closed', () => {
    const factory = listener({ tls: 'starttls', buffer: BUFFER, pop3: { allowPlainAuthWithoutTls: true } })
    clientEndsOnce(factory, CLIENT_WORDS)
  })

  test('the backend dialogue judges alike however the bytes are cut, and once', () => {
    const logins = [passwordLogin('joe', 'pass', {}), passwordLogin('jöe', 'p\u00e4ss', {}), tokenLogin('XOAUTH2', 'user=x\u0001auth=Bearer t\u0001\u0001')]
    const beginnings = ['', '+OK hi\r\n+OK\r\nSASL PLAIN XOAUTH2\r\n.\r\n', '+OK hi\r\n-ERR\r\n', '+OK hi\r\n+OK\r\nUSER\r\n.\r\n']
    backendJudgesAlike({ protocol: pop3, options: OPTIONS, words: BACKEND_WORDS, beginnings, logins })
  })

  test('nothing of a login leaves before TLS is up on the STLS leg', () => {
    const beginnings = ['', '+OK hi\r\n+OK\r\nSTLS\r\n.\r\n']
    const logins = [passwordLogin('joe', 'x', {})]
    loginWaitsForTls({ protocol: pop3, options: OPTIONS, words: BACKEND_WORDS, beginnings, logins }, /USER|AUTH|PASS/)
  })
})
