import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { POP3_LINE, PREAUTH_COMMANDS, SASL_LINE } from '../../../src/limits.ts'
import type { PreauthFactory } from '../../../src/protocol/protocol.ts'
import { ACCEPT, type Call, type Verdict, runPreauth, splits } from '../recorder.ts'
import { base64 } from '../imap/profile.ts'
import { listener } from './profile.ts'

const GREETING = '+OK ready\r\n'
const PASSWORD = '+OK Send your password\r\n'
const CAPA = '+OK Capability list follows\r\nTOP\r\nUIDL\r\nUTF8\r\nUSER\r\nSASL PLAIN LOGIN OAUTHBEARER XOAUTH2\r\nIMPLEMENTATION Signalbox\r\n.\r\n'
const UNAVAILABLE = '-ERR [SYS/TEMP] Service temporarily unavailable, please try again later\r\n'
const PRIVACY = '-ERR [AUTH] Logins need TLS on this connection\r\n'
const FAILED = '-ERR [AUTH] Authentication failed\r\n'
const SYNTAX = '-ERR Syntax error in arguments\r\n'
const UNKNOWN = '-ERR Unknown command, or not allowed before login\r\n'
const BEARER = 'n,a=joe@example.com,\u0001host=h\u0001auth=Bearer abc.def\u0001\u0001'

function password(authcid: string, secret: string, { mechanism = 'PLAIN', authzid = '', utf8 = false } = {}): Call {
  return ['login', { mechanism, credentials: { kind: 'password', authzid, authcid, password: secret }, facts: { utf8 } }]
}

const UNAVAILABLE_VERDICT: Verdict = { do: 'unavailable' }
const TURNED_DOWN: Verdict = { do: 'refuse', refusal: { text: Buffer.from('-ERR [AUTH] no') } }

interface Dialogue {
  readonly title: string
  readonly input: string
  readonly verdicts?: readonly Verdict[]
  readonly expect: readonly Call[]
  readonly factory?: PreauthFactory
  readonly secure?: boolean
}

const CORPUS: readonly Dialogue[] = [
  {
    title: 'commands before a login',
    input: 'CAPA\r\nnoop\r\nAUTH\r\nSTAT\r\nAPOP joe 0123\r\nNOOP x\r\nPASS x\r\nSTLS\r\nQUIT\r\nnever read',
    expect: [
      [
        'write',
        `${GREETING}${CAPA}+OK\r\n+OK Mechanisms follow\r\nPLAIN\r\nLOGIN\r\nOAUTHBEARER\r\nXOAUTH2\r\n.\r\n${UNKNOWN}` +
          `-ERR APOP is not offered\r\n${SYNTAX}-ERR USER comes first\r\n-ERR STLS is not offered\r\n`,
      ],
      ['close', '+OK Logging out\r\n', undefined],
    ],
  },
  {
    title: 'USER and PASS, with what is sent behind them',
    input: 'USER joe@example.com\r\nPASS secret\r\nSTAT\r\nRETR 1\r\n',
    verdicts: [ACCEPT],
    expect: [['write', GREETING + PASSWORD], password('joe@example.com', 'secret'), ['behind', 'STAT\r\nRETR 1\r\n']],
  },
  {
    title: 'a password is the whole rest of the line, spaces, quotes, backslashes and 8-bit included',
    input: 'user joe\npass  a "b\\ c\u00e4 \n',
    expect: [['write', GREETING + PASSWORD], password('joe', ' a "b\\ c\u00e4 ')],
  },
  {
    title: 'CAPA and NOOP between USER and PASS change nothing, any other command does',
    input: 'USER joe\r\nCAPA\r\nNOOP\r\nPASS x\r\n',
    verdicts: [UNAVAILABLE_VERDICT],
    expect: [['write', `${GREETING}${PASSWORD}${CAPA}+OK\r\n`], password('joe', 'x'), ['write', UNAVAILABLE]],
  },
  {
    title: 'a name is forgotten with the next command',
    input: 'USER joe\r\nSTAT\r\nPASS x\r\n',
    expect: [['write', `${GREETING}${PASSWORD}${UNKNOWN}-ERR USER comes first\r\n`]],
  },
  {
    title: 'an empty name, an empty password, a NUL in either',
    input: 'USER\r\nUSER \r\nUSER joe\r\nPASS\r\nUSER joe\r\nPASS a\0b\r\nUSER a\0b\r\nPASS x\r\n',
    expect: [
      ['write', GREETING + SYNTAX + SYNTAX + PASSWORD],
      ['deny', FAILED, false],
      ['write', PASSWORD],
      ['deny', FAILED, false],
      ['write', PASSWORD],
      ['deny', FAILED, true],
    ],
  },
  {
    title: 'a refusal in the words of the backend, then another attempt, then one too many',
    input: 'USER joe\r\nPASS 1\r\nUSER joe\r\nPASS 2\r\nUSER joe\r\nPASS 3\r\nQUIT\r\n',
    verdicts: [TURNED_DOWN, { do: 'refuse', refusal: { text: undefined } }, TURNED_DOWN],
    expect: [
      ['write', GREETING + PASSWORD],
      password('joe', '1'),
      ['deny', '-ERR [AUTH] no\r\n', false],
      ['write', PASSWORD],
      password('joe', '2'),
      ['deny', FAILED, false],
      ['write', PASSWORD],
      password('joe', '3'),
      ['deny', '-ERR [AUTH] no\r\n', true],
    ],
  },
  {
    title: 'a temporary refusal is no failed attempt',
    input: 'USER joe\r\nPASS 1\r\nUSER joe\r\nPASS 2\r\n',
    verdicts: [
      { do: 'refuse', refusal: { text: Buffer.from('-ERR [IN-USE] later'), temporary: true } },
      { do: 'refuse', refusal: { text: undefined, temporary: true } },
    ],
    expect: [
      ['write', GREETING + PASSWORD],
      password('joe', '1'),
      ['write', `-ERR [IN-USE] later\r\n${PASSWORD}`],
      password('joe', '2'),
      ['write', UNAVAILABLE],
    ],
  },
  {
    title: 'AUTH PLAIN with an initial response, and without one',
    input: `AUTH PLAIN ${base64('\0joe\0x')}\r\nAUTH plain\r\n${base64('ann\0joe\0y')}\r\n`,
    verdicts: [TURNED_DOWN],
    expect: [
      ['write', GREETING],
      password('joe', 'x'),
      ['deny', '-ERR [AUTH] no\r\n', false],
      ['write', '+ \r\n'],
      password('joe', 'y', { authzid: 'ann' }),
    ],
  },
  {
    title: 'AUTH LOGIN as Outlook speaks it, and with the name as initial response',
    input: `AUTH LOGIN\r\n${base64('joe')}\r\n${base64('p w')}\r\nAUTH LOGIN ${base64('joe')}\r\n${base64('q')}\r\n`,
    verdicts: [TURNED_DOWN],
    expect: [
      ['write', `${GREETING}+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n`],
      password('joe', 'p w', { mechanism: 'LOGIN' }),
      ['deny', '-ERR [AUTH] no\r\n', false],
      ['write', '+ UGFzc3dvcmQ6\r\n'],
      password('joe', 'q', { mechanism: 'LOGIN' }),
    ],
  },
  {
    title: 'a cancelled exchange, bad base64, an unknown mechanism, too many words',
    input: 'AUTH PLAIN\r\n*\r\nAUTH PLAIN !\r\nAUTH CRAM-MD5\r\nAUTH PLAIN a b\r\n',
    factory: listener({ attempts: 9 }),
    expect: [
      ['write', `${GREETING}+ \r\n-ERR Authentication cancelled\r\n`],
      ['deny', '-ERR Invalid base64 in authentication exchange\r\n', false],
      ['deny', '-ERR [AUTH] Unsupported authentication mechanism\r\n', false],
      ['deny', SYNTAX, false],
    ],
  },
  {
    title: 'a token that fails: the challenge goes to the client, its answer back',
    input: `AUTH OAUTHBEARER ${base64(BEARER)}\r\nAQ==\r\n`,
    verdicts: [{ do: 'challenge', challenge: Buffer.from('{"status":"invalid_token"}') }, TURNED_DOWN],
    expect: [
      ['write', GREETING],
      [
        'login',
        {
          mechanism: 'OAUTHBEARER',
          credentials: { kind: 'token', mechanism: 'OAUTHBEARER', message: BEARER, user: 'joe@example.com', token: 'abc.def' },
          facts: { utf8: false },
        },
      ],
      ['write', `+ ${base64('{"status":"invalid_token"}')}\r\n`],
      ['respond', '\u0001'],
      ['deny', '-ERR [AUTH] no\r\n', false],
    ],
  },
  {
    title: 'UTF8 is remembered for the backend where it is offered',
    input: 'UTF8\r\nUSER j\u00c3\u00b6e\r\nPASS x\r\n',
    expect: [['write', `${GREETING}+OK UTF8 enabled\r\n${PASSWORD}`], password('jöe', 'x', { utf8: true })],
  },
  {
    title: 'UTF8 is refused where it is not offered',
    input: 'UTF8\r\n',
    factory: listener({ pop3: { capa: [] } }),
    expect: [['write', GREETING + UNKNOWN]],
  },
  {
    title: 'without TLS no password is read and nothing is offered',
    input: `CAPA\r\nUSER joe\r\nPASS x\r\nAUTH PLAIN ${base64('\0joe\0x')}\r\n`,
    factory: listener({ tls: 'starttls', pop3: { capa: [] } }),
    secure: false,
    expect: [
      ['write', `${GREETING}+OK Capability list follows\r\nSTLS\r\nIMPLEMENTATION Signalbox\r\n.\r\n`],
      ['deny', PRIVACY, false],
      ['deny', PRIVACY, false],
      ['deny', PRIVACY, true],
    ],
  },
  {
    title: 'HTTP is hung up on after its first line',
    input: 'POST / HTTP/1.1\r\nUSER joe\r\nPASS x\r\n',
    expect: [['write', GREETING], ['close', '-ERR This is a POP3 server\r\n', 'CLIENT_PROTOCOL']],
  },
  {
    title: 'a TLS handshake is hung up on at once',
    input: '\u0016\u0003\u0001',
    expect: [['write', GREETING], ['close', '', 'CLIENT_PROTOCOL']],
  },
]

describe('POP3 with a client', () => {
  for (const { title, input, verdicts, expect, factory = listener(), secure = true } of CORPUS) {
    test(`${title}, however it is cut`, () => {
      for (const pieces of splits(Buffer.from(input, 'latin1'))) {
        assert.deepEqual(runPreauth(factory, secure, pieces, verdicts).calls, expect)
      }
      assert.deepEqual(runPreauth(factory, secure, [Buffer.from(input, 'latin1')], verdicts, 'within').calls, expect)
    })
  }

  test('STLS starts everything afresh, and logins are offered then', () => {
    const factory = listener({ tls: 'starttls', pop3: { capa: ['UTF8'], allowPlainAuthWithoutTls: true } })
    const before = 'UTF8\r\nUSER joe\r\nSTLS\r\n'
    const after = 'PASS x\r\nSTLS\r\nUSER joe\r\nPASS x\r\n'
    for (const first of splits(Buffer.from(before))) {
      const { calls } = runPreauth(factory, false, [...first, Buffer.from(after)])
      assert.deepEqual(calls, [
        ['write', `${GREETING}+OK UTF8 enabled\r\n${PASSWORD}+OK Begin TLS negotiation now\r\n`],
        ['startTls'],
        ['write', `-ERR USER comes first\r\n-ERR STLS is not offered\r\n${PASSWORD}`],
        password('joe', 'x'),
      ])
    }
  })

  test('plaintext behind STLS ends the connection unread', () => {
    for (const behind of ['USER joe\r\n', 'x', '\r\n']) {
      const { calls } = runPreauth(listener({ tls: 'starttls' }), false, [Buffer.from(`STLS\r\n${behind}`)])
      assert.deepEqual(calls.slice(1), [['close', '-ERR Unexpected data behind STLS\r\n', 'CLIENT_PROTOCOL']])
    }
  })

  test('the end of the time or of the instance is told', () => {
    for (const [reason, code, words] of [
      ['timeout', 'CLIENT_TIMEOUT', '-ERR Login timed out\r\n'],
      ['shutdown', 'DRAINING', '-ERR [SYS/TEMP] Server is shutting down\r\n'],
    ] as const) {
      const run = runPreauth(listener(), true, [Buffer.from('USE')])
      run.dialogue.expire(reason)
      assert.deepEqual(run.calls.slice(1), [['close', words, code]])
      assert.equal(run.dialogue.held, 0)
    }
  })

  test('a line is bounded at N and N + 1, an AUTH line by the SASL message that it may carry', () => {
    const judge = (text: string): unknown => runPreauth(listener(), true, [Buffer.from(text)]).calls.at(-1)?.[2]
    const fill = (head: string, size: number, end: string): string => head + 'x'.repeat(size - head.length) + end
    assert.equal(judge(fill('USER ', POP3_LINE, '\r\n')), undefined)
    assert.equal(judge(fill('USER ', POP3_LINE + 1, '\r\n')), 'CLIENT_PROTOCOL')
    assert.equal(judge(fill('USER ', POP3_LINE + 2, '')), 'CLIENT_PROTOCOL')
    assert.equal(judge(fill('AUTH PLAIN ', POP3_LINE + 1, '\r\n')), false)
    assert.equal(judge(fill('AUTH PLAIN ', SASL_LINE + 65, '\r\n')), 'CLIENT_PROTOCOL')
  })

  test('commands are bounded at N and N + 1', () => {
    const judge = (count: number): unknown => runPreauth(listener(), true, [Buffer.from('NOOP\r\n'.repeat(count))]).calls.at(-1)?.[0]
    assert.equal(judge(PREAUTH_COMMANDS), 'write')
    assert.equal(judge(PREAUTH_COMMANDS + 1), 'close')
  })

  test('a listener without password mechanisms has no USER', () => {
    const { calls } = runPreauth(listener({ pop3: { sasl: ['XOAUTH2'], capa: [] } }), true, [Buffer.from('CAPA\r\nUSER joe\r\n')])
    assert.deepEqual(calls, [
      ['write', `${GREETING}+OK Capability list follows\r\nSASL XOAUTH2\r\nIMPLEMENTATION Signalbox\r\n.\r\n`],
      ['deny', '-ERR [AUTH] USER and PASS are not offered\r\n', false],
    ])
  })

})
