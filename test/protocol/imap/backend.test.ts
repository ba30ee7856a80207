import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { BackendOptions, Login } from '../../../src/protocol/protocol.ts'
import { imap } from '../../../src/protocol/imap/imap.ts'
import { type Call, runBackend, splits } from '../recorder.ts'
import { OPTIONS, base64, passwordLogin, tokenLogin } from './profile.ts'

const PLAIN = base64('\0joe\0pass')
const BEARER = 'n,a=joe@example.com,\u0001auth=Bearer t\u0001\u0001'
const ASKED = { tag: 'c7', askedCapability: true }
const GREETING = '* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n'

interface Dialogue {
  readonly title: string
  readonly turns: readonly string[]
  readonly login?: Login
  readonly answers?: readonly (Buffer | undefined)[]
  readonly options?: Partial<BackendOptions>
  readonly expect: readonly Call[]
}

const joe = passwordLogin('joe', 'pass')

const CORPUS: readonly Dialogue[] = [
  {
    title: 'PLAIN in one go where SASL-IR is advertised',
    turns: [GREETING, '* OK still here\r\nS4 OK [CAPABILITY IMAP4rev1 IDLE UNAUTHENTICATE] Logged in\r\n* 1 EXISTS\r\n'],
    expect: [
      ['announced'],
      ['write', `S4 AUTHENTICATE PLAIN ${PLAIN}\r\n`],
      ['accepted', '* OK still here\r\nc7 OK [CAPABILITY IMAP4rev1 IDLE] Logged in\r\n* 1 EXISTS\r\n'],
    ],
  },
  {
    title: 'PLAIN after the continuation where SASL-IR is not advertised, capabilities asked for',
    turns: ['* OK hi\r\n', '* CAPABILITY IMAP4rev1 auth=plain\r\nS2 OK done\r\n', '+ \r\n', 'S4 OK Logged in\r\n'],
    login: passwordLogin('joe', 'pass', { tag: 'c7' }, 'ann'),
    expect: [
      ['write', 'S2 CAPABILITY\r\n'],
      ['announced'],
      ['write', `S4 AUTHENTICATE PLAIN\r\n${base64('ann\0joe\0pass')}\r\n`],
      ['accepted', 'c7 OK Logged in\r\n'],
    ],
  },
  {
    title: 'LOGIN for a backend that has only that',
    turns: ['* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=LOGIN] hi\r\n', '+ VXNlcm5hbWU6\r\n', '+ UGFzc3dvcmQ6\r\n', 'S4 ok yes\r\n'],
    expect: [
      ['announced'],
      ['write', `S4 AUTHENTICATE LOGIN\r\n${base64('joe')}\r\n${base64('pass')}\r\n`],
      ['accepted', 'c7 ok yes\r\n'],
    ],
  },
  {
    title: 'an authzid of its own cannot go by LOGIN',
    turns: ['* OK [CAPABILITY IMAP4rev1 AUTH=LOGIN] hi\r\n'],
    login: passwordLogin('joe', 'pass', { tag: 'c7' }, 'ann'),
    expect: [['announced'], ['trouble', 'BACKEND_NO_MECHANISM']],
  },
  {
    title: 'the LOGIN command for a backend with neither, quoted',
    turns: ['* OK [CAPABILITY IMAP4rev1] hi\r\n', 'S4 OK yes\r\n'],
    login: passwordLogin('jo"e', 'pa\\ss w'),
    expect: [['announced'], ['write', 'S4 LOGIN "jo\\"e" "pa\\\\ss w"\r\n'], ['accepted', 'c7 OK yes\r\n']],
  },
  {
    title: 'the LOGIN command with synchronising literals',
    turns: ['* OK [CAPABILITY IMAP4rev1] hi\r\n', '+ go\r\n', '+ go\r\n', 'S4 OK yes\r\n'],
    login: passwordLogin('jöe', 'p\u00e4ss'),
    expect: [
      ['announced'],
      ['write', 'S4 LOGIN {4}\r\nj\u00c3\u00b6e {4}\r\np\u00e4ss\r\n'],
      ['accepted', 'c7 OK yes\r\n'],
    ],
  },
  {
    title: 'the LOGIN command with a literal at once where LITERAL- allows it',
    turns: ['* OK [CAPABILITY IMAP4rev1 LITERAL-] hi\r\n', 'S4 OK yes\r\n'],
    login: passwordLogin('joe', 'p\u00e4ss'),
    expect: [['announced'], ['write', 'S4 LOGIN "joe" {4+}\r\np\u00e4ss\r\n'], ['accepted', 'c7 OK yes\r\n']],
  },
  {
    title: 'LOGINDISABLED is honoured',
    turns: ['* OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=GSSAPI] hi\r\n'],
    expect: [['announced'], ['trouble', 'BACKEND_NO_MECHANISM']],
  },
  {
    title: 'a token that the backend turns down: challenge, the client answers, refusal',
    turns: ['* OK [CAPABILITY SASL-IR AUTH=OAUTHBEARER] hi\r\n', `+ ${base64('{"status":"401"}')}\r\n`, 'S4 NO [AUTHENTICATIONFAILED] bad token\r\n'],
    login: tokenLogin('OAUTHBEARER', BEARER),
    answers: [Buffer.from('\u0001')],
    expect: [
      ['announced'],
      ['write', `S4 AUTHENTICATE OAUTHBEARER ${base64(BEARER)}\r\n`],
      ['challenge', '{"status":"401"}'],
      ['write', 'AQ==\r\n'],
      ['refused', 'NO [AUTHENTICATIONFAILED] bad token', false],
    ],
  },
  {
    title: 'a token without SASL-IR, the challenge cancelled',
    turns: ['* OK [CAPABILITY AUTH=XOAUTH2] hi\r\n', '+\r\n', '+ e30=\r\n', 'S4 BAD cancelled\r\n'],
    login: tokenLogin('XOAUTH2', 'user=joe\u0001auth=Bearer t\u0001\u0001'),
    answers: [undefined],
    expect: [
      ['announced'],
      ['write', `S4 AUTHENTICATE XOAUTH2\r\n${base64('user=joe\u0001auth=Bearer t\u0001\u0001')}\r\n`],
      ['challenge', '{}'],
      ['write', '*\r\n'],
      ['refused', 'BAD cancelled', false],
    ],
  },
  {
    title: 'a token mechanism that is not advertised',
    turns: ['* OK [CAPABILITY AUTH=XOAUTH2 AUTH=PLAIN] hi\r\n'],
    login: tokenLogin('OAUTHBEARER', BEARER),
    expect: [['announced'], ['trouble', 'BACKEND_NO_MECHANISM']],
  },
  {
    title: 'capabilities are fetched for a client that asked and got none',
    turns: [GREETING, 'S4 OK Logged in\r\n', '* 3 EXISTS\r\n* CAPABILITY IMAP4rev1 unauthenticate IDLE\r\nS5 OK done\r\n'],
    login: passwordLogin('joe', 'pass', ASKED),
    expect: [
      ['announced'],
      ['write', `S4 AUTHENTICATE PLAIN ${PLAIN}\r\nS5 CAPABILITY\r\n`],
      ['accepted', '* 3 EXISTS\r\nc7 OK [CAPABILITY IMAP4rev1 IDLE] Logged in\r\n'],
    ],
  },
  {
    title: 'fetched capabilities go before an OK that has another code',
    turns: [GREETING, 'S4 OK [ALERT] Logged in\r\n', '* CAPABILITY IMAP4rev1 IDLE\r\nS5 OK done\r\n'],
    login: passwordLogin('joe', 'pass', ASKED),
    expect: [
      ['announced'],
      ['write', `S4 AUTHENTICATE PLAIN ${PLAIN}\r\nS5 CAPABILITY\r\n`],
      ['accepted', '* CAPABILITY IMAP4rev1 IDLE\r\nc7 OK [ALERT] Logged in\r\n'],
    ],
  },
  {
    title: 'nothing is fetched when the list came by itself',
    turns: [GREETING, '* CAPABILITY IMAP4rev1 UNAUTHENTICATE\r\nS4 OK Logged in\r\n'],
    login: passwordLogin('joe', 'pass', ASKED),
    expect: [
      ['announced'],
      ['write', `S4 AUTHENTICATE PLAIN ${PLAIN}\r\n`],
      ['accepted', '* CAPABILITY IMAP4rev1\r\nc7 OK Logged in\r\n'],
    ],
  },
  {
    title: 'a literal in an untagged response is part of it',
    turns: [GREETING, '* LIST () "/" {9}\r\nS4 OK no\n\r\n* OK text {5}\r\nS4 OK yes\r\n'],
    expect: [
      ['announced'],
      ['write', `S4 AUTHENTICATE PLAIN ${PLAIN}\r\n`],
      ['accepted', '* LIST () "/" {9}\r\nS4 OK no\n\r\n* OK text {5}\r\nc7 OK yes\r\n'],
    ],
  },
  {
    title: 'refused with the generic words when they are to be hidden',
    turns: [GREETING, 'S4 NO [AUTHENTICATIONFAILED] joe has no such password\r\n'],
    options: { hideAuthErrors: true },
    expect: [['announced'], ['write', `S4 AUTHENTICATE PLAIN ${PLAIN}\r\n`], ['refused', undefined, false]],
  },
  {
    title: 'a backend that cannot judge for the moment is no refusal of the credentials',
    turns: [GREETING, 'S4 NO [UNAVAILABLE] LDAP is down\r\n'],
    expect: [
      ['announced'],
      ['write', `S4 AUTHENTICATE PLAIN ${PLAIN}\r\n`],
      ['refused', 'NO [UNAVAILABLE] LDAP is down', true],
    ],
  },
  {
    title: 'a refusal whose text ends like a literal',
    turns: [GREETING, 'S4 NO see {5}\r\n'],
    expect: [['announced'], ['write', `S4 AUTHENTICATE PLAIN ${PLAIN}\r\n`], ['refused', 'NO see {5}', false]],
  },
  {
    title: 'the same with hidden words',
    turns: [GREETING, 'S4 NO [INUSE] joe is being moved\r\n'],
    options: { hideAuthErrors: true },
    expect: [
      ['announced'],
      ['write', `S4 AUTHENTICATE PLAIN ${PLAIN}\r\n`],
      ['refused', 'NO [UNAVAILABLE] Service temporarily unavailable, please try again later', true],
    ],
  },
  {
    title: 'the client is announced by ID where it is advertised',
    turns: ['* OK [CAPABILITY ID AUTH=PLAIN SASL-IR] hi\r\n', '* ID ("name" "x")\r\nS3 OK thanks\r\n', 'S4 OK\r\n'],
    options: {
      facts: {},
      announceClient: {
        clientAddress: '2001:db8::1',
        clientPort: 50_000,
        localAddress: '192.0.2.1',
        localPort: 993,
        session: 's"1',
        ttl: 6,
        clientTls: 'TLSv1.3',
      },
    },
    expect: [
      [
        'write',
        'S3 ID ("x-originating-ip" "2001:db8::1" "x-originating-port" "50000" "x-connected-ip" "192.0.2.1" ' +
          '"x-connected-port" "993" "x-proxy-ttl" "6" "x-session-id" "s\\"1" "x-client-transport" "TLS")\r\n',
      ],
      ['announced'],
      ['write', `S4 AUTHENTICATE PLAIN ${PLAIN}\r\n`],
      ['accepted', 'c7 OK\r\n'],
    ],
  },
  {
    title: 'STARTTLS, and what was advertised in the clear does not count behind it',
    turns: ['* OK [CAPABILITY STARTTLS AUTH=PLAIN SASL-IR] hi\r\n', 'S1 OK go\r\n', '* CAPABILITY AUTH=PLAIN\r\nS2 OK done\r\n', '+ \r\n', 'S4 OK in\r\n'],
    options: { startTls: true },
    expect: [
      ['write', 'S1 STARTTLS\r\n'],
      ['startTls'],
      ['write', 'S2 CAPABILITY\r\n'],
      ['announced'],
      ['write', `S4 AUTHENTICATE PLAIN\r\n${PLAIN}\r\n`],
      ['accepted', 'c7 OK in\r\n'],
    ],
  },
  {
    title: 'STARTTLS that is not advertised',
    turns: ['* OK hi\r\n', '* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nS2 OK done\r\n'],
    options: { startTls: true },
    expect: [['write', 'S2 CAPABILITY\r\n'], ['trouble', 'BACKEND_PROTOCOL']],
  },
  {
    title: 'STARTTLS that is refused',
    turns: ['* OK [CAPABILITY STARTTLS] hi\r\n', 'S1 NO not today\r\n'],
    options: { startTls: true },
    expect: [['write', 'S1 STARTTLS\r\n'], ['trouble', 'BACKEND_PROTOCOL']],
  },
  ...['* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n', '* BYE busy\r\n', '+OK POP3\r\n', '220 smtp ESMTP\r\n', '\r\n'].map((line) => ({
    title: `a greeting ${JSON.stringify(line)} is trouble`,
    turns: [line],
    expect: [['trouble', 'BACKEND_GREETING']] as const,
  })),
  {
    title: 'a goodbye before the answer is a closed backend',
    turns: [GREETING, '* BYE going down\r\nS4 OK yes\r\n'],
    expect: [['announced'], ['write', `S4 AUTHENTICATE PLAIN ${PLAIN}\r\n`], ['trouble', 'BACKEND_CLOSED']],
  },
  ...['+ what?\r\n', 'S9 OK yes\r\n', 'S4 MAYBE\r\n', '\r\n'].map((line) => ({
    title: `an answer ${JSON.stringify(line)} is trouble`,
    turns: [GREETING, line],
    expect: [['announced'], ['write', `S4 AUTHENTICATE PLAIN ${PLAIN}\r\n`], ['trouble', 'BACKEND_PROTOCOL']] as const,
  })),
]

describe('the dialogue with an IMAP backend', () => {
  for (const { title, turns, login = joe, answers, options, expect } of CORPUS) {
    test(`${title}, however it is cut`, () => {
      const whole = turns.map((turn) => Buffer.from(turn, 'latin1'))
      whole.forEach((bytes, index) => {
        for (const pieces of splits(bytes)) {
          const fed = whole.map((turn, at) => (at === index ? pieces : [turn]))
          assert.deepEqual(runBackend(imap, { ...OPTIONS, ...options }, fed, login, answers).calls, expect)
        }
      })
    })
  }

  test('an initial response that would make the command too long waits for the continuation', () => {
    const fits = runBackend(imap, OPTIONS, [[Buffer.from(GREETING)]], passwordLogin('joe', 'x'.repeat(6_117)))
    const long = runBackend(imap, OPTIONS, [[Buffer.from(GREETING)]], passwordLogin('joe', 'x'.repeat(6_140)))
    assert.match(String(fits.calls.at(-1)?.[1]), /^S4 AUTHENTICATE PLAIN \S+\r\n$/)
    assert.deepEqual(long.calls.at(-1), ['write', 'S4 AUTHENTICATE PLAIN\r\n'])
  })

  test('calls out of turn are mistakes of ours', () => {
    const port = { write() {}, startTls() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {}, trouble() {} }
    const dialogue = imap.backend(port, OPTIONS)
    assert.throws(() => dialogue.replay(joe), { code: 'INTERNAL' })
    assert.throws(() => dialogue.secured(), { code: 'INTERNAL' })
    assert.throws(() => dialogue.respond(undefined), { code: 'INTERNAL' })
    dialogue.receive(Buffer.from(GREETING))
    assert.throws(() => dialogue.replay(passwordLogin('joe', 'x', {})), { code: 'INTERNAL' })
    assert.throws(() => dialogue.replay(passwordLogin('jo\0e', 'x')), { code: 'INTERNAL' })
  })
})
