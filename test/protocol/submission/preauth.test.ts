import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { PreauthFactory } from '../../../src/protocol/protocol.ts'
import { ACCEPT, type Call, type Verdict, runPreauth, splits } from '../recorder.ts'
import { base64 } from '../imap/profile.ts'
import { listener } from './profile.ts'

const GREETING = '220 mx.example.com ready\r\n'
const AUTH = '250 AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2\r\n'
const EHLO = `250-mx.example.com\r\n250-PIPELINING\r\n250-SIZE 1000\r\n${AUTH}`
const FAILED = '535 5.7.8 Authentication credentials invalid\r\n'
const TRY_LATER = '454 4.7.0 Temporary authentication failure, please try again later\r\n'
const PRIVACY = '538 5.7.11 Logins need TLS on this connection\r\n'
const LOGIN_FIRST = '530 5.7.0 Authentication required\r\n'
const BEARER = 'n,a=joe@example.com,\u0001host=h\u0001auth=Bearer abc.def\u0001\u0001'
const XOAUTH2 = 'user=joe@example.com\u0001auth=Bearer abc.def\u0001\u0001'
const PLAIN = base64('\0joe\0pass')

const REFUSE: Verdict = { do: 'refuse', refusal: { text: Buffer.from('535-5.7.8 no\r\n535 5.7.8 really not') } }
const REFUSED = '535-5.7.8 no\r\n535 5.7.8 really not\r\n'

function password(authcid: string, secret: string, extra: object = {}): Call {
  const { mechanism = 'PLAIN', authzid = '', heloName = 'me' } = extra as Record<string, unknown>
  return ['login', { mechanism, credentials: { kind: 'password', authzid, authcid, password: secret }, facts: { heloName, esmtp: true } }]
}

function token(mechanism: string, message: string): Call {
  return [
    'login',
    {
      mechanism,
      credentials: { kind: 'token', mechanism, message, user: 'joe@example.com', token: 'abc.def' },
      facts: { heloName: 'me', esmtp: true },
    },
  ]
}

interface Dialogue {
  readonly title: string
  readonly input: string
  readonly verdicts?: readonly Verdict[]
  readonly expect: readonly Call[]
  readonly factory?: PreauthFactory
  readonly secure?: boolean
}

const plainListener = listener({ tls: 'plain' })
const TO_TLS = listener({ tls: 'starttls' })

const CORPUS: readonly Dialogue[] = [
  {
    title: 'commands before login are answered',
    input:
      'HELO me\r\nehlo me \r\nNOOP x y\r\nRSET\r\nRSET x\r\nVRFY joe\r\nVRFY\r\nHELP\r\nHELP MAIL\r\nEXPN all\r\nFOO\r\n\r\nQUIT x\r\nQUIT \r\nnever read',
    expect: [
      [
        'write',
        `${GREETING}250 mx.example.com\r\n${EHLO}250 2.0.0 OK\r\n250 2.0.0 OK\r\n501 5.5.4 Syntax error in arguments\r\n` +
          '252 2.5.2 Cannot verify here, send some mail and see\r\n501 5.5.4 Syntax error in arguments\r\n' +
          '214 2.0.0 See RFC 6409\r\n214 2.0.0 See RFC 6409\r\n502 5.5.1 Command not implemented\r\n' +
          '500 5.5.1 Unknown command\r\n500 5.5.1 Unknown command\r\n501 5.5.4 Syntax error in arguments\r\n',
      ],
      ['close', '221 2.0.0 Bye\r\n', undefined],
    ],
  },
  {
    title: 'no mail without a login',
    input: 'EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nBDAT 4 LAST\r\n',
    expect: [['write', GREETING + EHLO + LOGIN_FIRST.repeat(4)]],
  },
  {
    title: 'AUTH PLAIN with an initial response, what stands behind it goes to the backend',
    input: `EHLO me\r\nAUTH PLAIN ${PLAIN}\r\nMAIL FROM:<a@b>\r\n`,
    verdicts: [ACCEPT],
    expect: [['write', GREETING + EHLO], password('joe', 'pass'), ['behind', 'MAIL FROM:<a@b>\r\n']],
  },
  {
    title: 'AUTH PLAIN in two steps, with an authzid and a bare LF',
    input: `EHLO me\nauth plain\n${base64('ann\0joe\0p \u00c3\u00a4"\\')}\n`,
    verdicts: [ACCEPT],
    expect: [
      ['write', `${GREETING}${EHLO}334 \r\n`],
      password('joe', 'p \u00c3\u00a4"\\', { authzid: 'ann' }),
      ['behind', ''],
    ],
  },
  {
    title: 'AUTH LOGIN as Outlook says it',
    input: `EHLO me\r\nAUTH LOGIN\r\n${base64('joe')}\r\n${base64('p\\ "w')}\r\n`,
    verdicts: [ACCEPT],
    expect: [
      ['write', `${GREETING}${EHLO}334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n`],
      password('joe', 'p\\ "w', { mechanism: 'LOGIN' }),
      ['behind', ''],
    ],
  },
  {
    title: 'AUTH LOGIN with the name at once',
    input: `EHLO me\r\nAUTH LOGIN ${base64('joe')}\r\n${base64('pw')}\r\n`,
    verdicts: [ACCEPT],
    expect: [
      ['write', `${GREETING}${EHLO}334 UGFzc3dvcmQ6\r\n`],
      password('joe', 'pw', { mechanism: 'LOGIN' }),
      ['behind', ''],
    ],
  },
  {
    title: 'tokens, at once and in two steps, a challenge passed on and answered',
    input: `EHLO me\r\nAUTH OAUTHBEARER ${base64(BEARER)}\r\nAQ==\r\nAUTH XOAUTH2\r\n${base64(XOAUTH2)}\r\n\r\nNOOP\r\n`,
    verdicts: [
      { do: 'challenge', challenge: Buffer.from('{"status":"401"}') },
      REFUSE,
      { do: 'challenge', challenge: Buffer.from('{}') },
      REFUSE,
    ],
    expect: [
      ['write', GREETING + EHLO],
      token('OAUTHBEARER', BEARER),
      ['write', `334 ${base64('{"status":"401"}')}\r\n`],
      ['respond', '\u0001'],
      ['deny', REFUSED, false],
      ['write', '334 \r\n'],
      token('XOAUTH2', XOAUTH2),
      ['write', `334 ${base64('{}')}\r\n`],
      ['respond', ''],
      ['deny', REFUSED, false],
      ['write', '250 2.0.0 OK\r\n'],
    ],
  },
  {
    title: 'an exchange and a relayed challenge can be cancelled, the former without counting',
    input: `EHLO me\r\nAUTH PLAIN\r\n*\r\nAUTH XOAUTH2 ${base64(XOAUTH2)}\r\n*\r\n`,
    verdicts: [{ do: 'challenge', challenge: Buffer.from('{}') }, REFUSE],
    factory: listener({ attempts: 1 }),
    expect: [
      ['write', `${GREETING}${EHLO}334 \r\n501 5.7.0 Authentication cancelled\r\n`],
      token('XOAUTH2', XOAUTH2),
      ['write', `334 ${base64('{}')}\r\n`],
      ['respond', undefined],
      ['deny', `${REFUSED}421 4.7.0 Too many failed authentication attempts\r\n`, true],
    ],
  },
  {
    title: 'AUTH before EHLO and under HELO is out of sequence, and no attempt',
    input: `AUTH PLAIN ${PLAIN}\r\nHELO me\r\nAUTH PLAIN ${PLAIN}\r\nEHLO me\r\nAUTH PLAIN ${PLAIN}\r\n`,
    factory: listener({ attempts: 1 }),
    expect: [
      ['write', `${GREETING}503 5.5.1 Send EHLO first\r\n250 mx.example.com\r\n503 5.5.1 Send EHLO first\r\n${EHLO}`],
      password('joe', 'pass'),
    ],
  },
  {
    title: 'malformed, unsupported and refused attempts count, the last one ends the connection',
    input: `EHLO me\r\nAUTH PLAIN =\r\nAUTH CRAM-MD5\r\nAUTH PLAIN a b\r\nAUTH PLAIN !!!!\r\nAUTH PLAIN ${PLAIN}\r\nNOOP\r\n`,
    verdicts: [REFUSE],
    factory: listener({ attempts: 5 }),
    expect: [
      ['write', GREETING + EHLO],
      ['deny', FAILED, false],
      ['deny', '504 5.5.4 Unsupported authentication mechanism\r\n', false],
      ['deny', '501 5.5.4 Syntax error in arguments\r\n', false],
      ['deny', '501 5.5.2 Cannot decode that base64\r\n', false],
      password('joe', 'pass'),
      ['deny', `${REFUSED}421 4.7.0 Too many failed authentication attempts\r\n`, true],
    ],
  },
  {
    title: 'after a refusal with the generic words the dialogue goes on, EHLO still counts',
    input: `EHLO me\r\nAUTH PLAIN ${PLAIN}\r\nNOOP\r\nAUTH PLAIN ${PLAIN}\r\ntail`,
    verdicts: [{ do: 'refuse', refusal: { text: undefined } }, ACCEPT],
    expect: [
      ['write', GREETING + EHLO],
      password('joe', 'pass'),
      ['deny', FAILED, false],
      ['write', '250 2.0.0 OK\r\n'],
      password('joe', 'pass'),
      ['behind', 'tail'],
    ],
  },
  {
    title: 'trouble and a temporary refusal are no attempts',
    input: `EHLO me\r\n${`AUTH PLAIN ${PLAIN}\r\n`.repeat(3)}NOOP\r\n`,
    verdicts: [
      { do: 'unavailable' },
      { do: 'refuse', refusal: { text: Buffer.from('454 4.3.0 LDAP is down'), temporary: true } },
      { do: 'unavailable' },
    ],
    factory: listener({ attempts: 1 }),
    expect: [
      ['write', GREETING + EHLO],
      password('joe', 'pass'),
      ['write', TRY_LATER],
      password('joe', 'pass'),
      ['write', '454 4.3.0 LDAP is down\r\n'],
      password('joe', 'pass'),
      ['write', `${TRY_LATER}250 2.0.0 OK\r\n`],
    ],
  },
  {
    title: 'without TLS no credential is asked for or accepted, with any mechanism',
    factory: plainListener,
    secure: false,
    input: 'EHLO me\r\nAUTH LOGIN\r\nAUTH XOAUTH2\r\nMAIL FROM:<a@b>\r\nSTARTTLS\r\n',
    expect: [
      ['write', `${GREETING}250-mx.example.com\r\n250-PIPELINING\r\n250 SIZE 1000\r\n`],
      ['deny', PRIVACY, false],
      ['deny', PRIVACY, false],
      ['write', `${LOGIN_FIRST}502 5.5.1 STARTTLS is not offered\r\n`],
    ],
  },
  {
    title: 'where STARTTLS is offered mail is told to go there',
    factory: TO_TLS,
    secure: false,
    input: 'MAIL FROM:<a@b>\r\nSTARTTLS now\r\n',
    expect: [['write', `${GREETING}530 5.7.0 Must issue a STARTTLS command first\r\n501 5.5.4 Syntax error in arguments\r\n`]],
  },
  {
    title: 'names in EHLO: any word, no control characters, none longer than 255 bytes',
    input: `EHLO\r\nEHLO \r\nEHLO a\0b\r\nEHLO a\rb\r\nEHLO ${'x'.repeat(256)}\r\nEHLO ${'x'.repeat(255)}\r\nEHLO me [1] +=\u00c3\u00a4\r\nAUTH PLAIN ${PLAIN}\r\n`,
    expect: [
      ['write', GREETING + '501 5.5.4 Syntax: the name of the client is missing or malformed\r\n'.repeat(5) + EHLO.repeat(2)],
      password('joe', 'pass', { heloName: 'me [1] +=ä' }),
    ],
  },
  {
    title: 'a browser is sent away after its first line',
    input: 'POST /x HTTP/1.1\r\nHost: x\r\n\r\nEHLO me\r\n',
    expect: [
      ['write', GREETING],
      ['close', '421 4.7.0 This is a mail submission server\r\n', 'CLIENT_PROTOCOL'],
    ],
  },
  {
    title: 'a TLS client on a plain port is sent away',
    input: '\u0016\u0003\u0001\u0002\u0000\u0001',
    factory: plainListener,
    secure: false,
    expect: [
      ['write', GREETING],
      ['close', '', 'CLIENT_PROTOCOL'],
    ],
  },
]

describe('the submission dialogue before login', () => {
  for (const { title, input, verdicts, expect, factory = listener(), secure = true } of CORPUS) {
    test(`${title}, however it is cut`, () => {
      for (const pieces of splits(Buffer.from(input, 'latin1'))) {
        const { calls } = runPreauth(factory, secure, pieces, verdicts)
        assert.deepEqual(calls, expect)
      }
    })
  }

  test('STARTTLS starts everything afresh: EHLO is due again, and logins are offered then', () => {
    const before = 'EHLO other\r\nSTARTTLS\r\n'
    const after = `AUTH PLAIN ${PLAIN}\r\nSTARTTLS\r\nEHLO me\r\nAUTH PLAIN ${PLAIN}\r\n`
    for (const first of splits(Buffer.from(before))) {
      for (const second of [[Buffer.from(after)], Array.from(after, (char) => Buffer.from(char))]) {
        const { calls } = runPreauth(TO_TLS, false, [...first, ...second])
        assert.deepEqual(calls, [
          [
            'write',
            `${GREETING}250-mx.example.com\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 STARTTLS\r\n220 2.0.0 Ready to start TLS\r\n`,
          ],
          ['startTls'],
          ['write', `503 5.5.1 Send EHLO first\r\n503 5.5.1 TLS is active already\r\n${EHLO}`],
          password('joe', 'pass'),
        ])
      }
    }
  })

  test('a server without a name calls itself by the address that was reached', () => {
    const bare = listener({ hostname: undefined, submission: { banner: '', ehlo: [], sasl: ['PLAIN'] } })
    const greetingAt = (localAddress: string): string => {
      let said = ''
      const port = { write: (bytes: Buffer) => (said += bytes.toString()), startTls() {}, login() {}, respond() {}, deny() {}, close() {} }
      const dialogue = bare.open(port, { secure: false, localAddress, clientAddress: '', session: '' })
      dialogue.start()
      dialogue.receive(Buffer.from('EHLO me\r\n'))
      return said
    }
    assert.equal(greetingAt('192.0.2.1'), '220 [192.0.2.1]\r\n250 [192.0.2.1]\r\n')
    assert.equal(greetingAt('2001:db8::1'), '220 [IPv6:2001:db8::1]\r\n250 [IPv6:2001:db8::1]\r\n')
    assert.equal(greetingAt(''), '220 localhost\r\n250 localhost\r\n')
    for (let last = 0; last < 300; last++) assert.match(greetingAt(`10.0.${last % 2}.${last >> 1}`), /^220 \[10\.0\./)
  })

  test('passwords that may cross a plain connection are offered and taken', () => {
    const factory = listener({ tls: 'plain', submission: { allowPlainAuthWithoutTls: true } })
    const { calls } = runPreauth(factory, false, [Buffer.from(`EHLO me\r\nAUTH PLAIN ${PLAIN}\r\n`)])
    assert.deepEqual(calls, [['write', GREETING + EHLO], password('joe', 'pass')])
  })

  test('the end of the time or of the instance is told', () => {
    for (const [reason, code, words] of [
      ['timeout', 'CLIENT_TIMEOUT', '421 4.4.2 Login timed out\r\n'],
      ['shutdown', 'DRAINING', '421 4.3.2 Server is shutting down\r\n'],
    ] as const) {
      const run = runPreauth(listener(), true, [Buffer.from('EHL')])
      run.dialogue.expire(reason)
      run.dialogue.expire(reason)
      assert.deepEqual(run.calls.slice(1), [['close', words, code]])
      assert.equal(run.dialogue.held, 0)
    }
  })

  test('answers that the state does not allow are mistakes of ours', () => {
    const { dialogue } = runPreauth(listener(), true, [])
    assert.throws(() => dialogue.accepted(), { code: 'INTERNAL' })
    assert.throws(() => dialogue.resume(), { code: 'INTERNAL' })
    assert.throws(() => dialogue.secured(), { code: 'INTERNAL' })
    assert.throws(() => dialogue.refused({ text: undefined }), { code: 'INTERNAL' })
  })
})
