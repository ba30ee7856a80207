import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { PreauthFactory } from '../../../src/protocol/protocol.ts'
import { ACCEPT, type Call, REFUSE, type Verdict, runPreauth, splits } from '../recorder.ts'
import { base64, listener } from './profile.ts'

const AUTHS = 'AUTH=PLAIN AUTH=LOGIN AUTH=OAUTHBEARER AUTH=XOAUTH2'
const GREETING = `* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL- ID ENABLE ${AUTHS}] ready\r\n`
const ASKED = `* CAPABILITY IMAP4rev1 SASL-IR LITERAL- ID ENABLE ${AUTHS}\r\n`
const BEARER = 'n,a=joe@example.com,\u0001host=h\u0001auth=Bearer abc.def\u0001\u0001'
const XOAUTH2 = 'user=joe@example.com\u0001auth=Bearer abc.def\u0001\u0001'

function password(tag: string, authcid: string, secret: string, extra: object = {}): Call {
  const { mechanism = 'PLAIN', authzid = '', askedCapability = false, announcedTtl } = extra as Record<string, unknown>
  return [
    'login',
    {
      mechanism,
      credentials: { kind: 'password', authzid, authcid, password: secret },
      facts: { tag, askedCapability, ...(announcedTtl === undefined ? {} : { announcedTtl }) },
    },
  ]
}

function token(tag: string, mechanism: string, message: string, user: string | undefined): Call {
  return [
    'login',
    {
      mechanism,
      credentials: { kind: 'token', mechanism, message, user, token: 'abc.def' },
      facts: { tag, askedCapability: false },
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
const NO_LOGIN = '* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL- ID ENABLE LOGINDISABLED] ready\r\n'

const CORPUS: readonly Dialogue[] = [
  {
    title: 'commands before login are answered under their own tags',
    input: 'a1 CAPABILITY\r\na2 noop\r\na3 ID NIL\r\na4 ENABLE CONDSTORE\r\na5 NOOP x\r\na6 LOGOUT\r\nnever read',
    expect: [
      [
        'write',
        `${GREETING}${ASKED}a1 OK CAPABILITY completed\r\na2 OK NOOP completed\r\n* ID NIL\r\na3 OK ID completed\r\n` +
          'a4 BAD Unknown command, or not allowed before login\r\na5 BAD Syntax error in arguments\r\n',
      ],
      ['close', '* BYE Logging out\r\na6 OK LOGOUT completed\r\n', undefined],
    ],
  },
  {
    title: 'LOGIN with atoms, what stands behind it goes to the backend',
    input: 'a CAPABILITY\r\nb LOGIN joe@example.com%admin se*cret\r\nc SELECT INBOX\r\nd IDLE\r\n',
    verdicts: [ACCEPT],
    expect: [
      ['write', `${GREETING}${ASKED}a OK CAPABILITY completed\r\n`],
      password('b', 'joe@example.com%admin', 'se*cret', { askedCapability: true }),
      ['behind', 'c SELECT INBOX\r\nd IDLE\r\n'],
    ],
  },
  {
    title: 'LOGIN with quoted strings, escapes and a bare LF',
    input: 'b login "jo\\"e" "a \\\\ b"\n',
    verdicts: [ACCEPT],
    expect: [['write', GREETING], password('b', 'jo"e', 'a \\ b'), ['behind', '']],
  },
  {
    title: 'LOGIN with a synchronising and a non-synchronising literal',
    input: 'b LOGIN {3}\r\njoe {6+}\r\npa{3}"\r\nx',
    verdicts: [ACCEPT],
    expect: [['write', `${GREETING}+ OK\r\n`], password('b', 'joe', 'pa{3}"'), ['behind', 'x']],
  },
  {
    title: 'a literal whose bytes look like lines',
    input: 'b LOGIN {4+}\r\na\r\nb {1}\r\nx\r\nc NOOP\r\n',
    expect: [
      ['write', `${GREETING}+ OK\r\n`],
      ['deny', 'b NO [AUTHENTICATIONFAILED] Authentication failed\r\n', false],
      ['write', 'c OK NOOP completed\r\n'],
    ],
  },
  {
    title: 'after a refusal what came behind the login are further commands',
    input: 'b LOGIN joe x\r\nc NOOP\r\nd LOGIN joe y\r\ntail',
    verdicts: [REFUSE, ACCEPT],
    expect: [
      ['write', GREETING],
      password('b', 'joe', 'x'),
      ['deny', 'b NO [AUTHENTICATIONFAILED] no\r\n', false],
      ['write', 'c OK NOOP completed\r\n'],
      password('d', 'joe', 'y'),
      ['behind', 'tail'],
    ],
  },
  {
    title: 'a refusal with the generic words',
    input: 'b LOGIN joe x\r\n',
    verdicts: [{ do: 'refuse', refusal: { text: undefined } }],
    expect: [
      ['write', GREETING],
      password('b', 'joe', 'x'),
      ['deny', 'b NO [AUTHENTICATIONFAILED] Authentication failed\r\n', false],
    ],
  },
  {
    title: 'trouble and a temporary refusal are no attempts',
    input: 'a LOGIN j x\r\nb LOGIN j x\r\nc LOGIN j x\r\nd NOOP\r\n',
    verdicts: [
      { do: 'unavailable' },
      { do: 'refuse', refusal: { text: Buffer.from('NO [INUSE] busy'), temporary: true } },
      { do: 'unavailable' },
    ],
    factory: listener({ attempts: 1 }),
    expect: [
      ['write', GREETING],
      password('a', 'j', 'x'),
      ['write', 'a NO [UNAVAILABLE] Service temporarily unavailable, please try again later\r\n'],
      password('b', 'j', 'x'),
      ['write', 'b NO [INUSE] busy\r\n'],
      password('c', 'j', 'x'),
      ['write', 'c NO [UNAVAILABLE] Service temporarily unavailable, please try again later\r\nd OK NOOP completed\r\n'],
    ],
  },
  {
    title: 'the last attempt ends the connection; malformed, unsupported and refused ones count',
    input: `a AUTHENTICATE CRAM-MD5\r\nb AUTHENTICATE PLAIN ${base64('\0joe\0')}\r\nc LOGIN joe x\r\nd NOOP\r\n`,
    verdicts: [REFUSE],
    expect: [
      ['write', GREETING],
      ['deny', 'a NO [CANNOT] Unsupported authentication mechanism\r\n', false],
      ['deny', 'b NO [AUTHENTICATIONFAILED] Authentication failed\r\n', false],
      password('c', 'joe', 'x'),
      [
        'deny',
        'c NO [AUTHENTICATIONFAILED] no\r\n* BYE Too many failed authentication attempts\r\n',
        true,
      ],
    ],
  },
  {
    title: 'AUTHENTICATE PLAIN with and without an initial response',
    input: `a AUTHENTICATE PLAIN ${base64('\0joe\0no')}\r\nb authenticate plain\r\n${base64('adm\0joe\0yes')}\r\nc X\r\n`,
    verdicts: [REFUSE, ACCEPT],
    expect: [
      ['write', GREETING],
      password('a', 'joe', 'no'),
      ['deny', 'a NO [AUTHENTICATIONFAILED] no\r\n', false],
      ['write', '+ \r\n'],
      password('b', 'joe', 'yes', { authzid: 'adm' }),
      ['behind', 'c X\r\n'],
    ],
  },
  {
    title: 'AUTHENTICATE LOGIN asks for name and password',
    input: `a AUTHENTICATE LOGIN\r\n${base64('joe')}\r\n${base64('pw')}\r\nb AUTHENTICATE LOGIN ${base64('ann')}\r\n${base64('pw')}\r\n`,
    verdicts: [REFUSE, ACCEPT],
    expect: [
      ['write', `${GREETING}+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n`],
      password('a', 'joe', 'pw', { mechanism: 'LOGIN' }),
      ['deny', 'a NO [AUTHENTICATIONFAILED] no\r\n', false],
      ['write', '+ UGFzc3dvcmQ6\r\n'],
      password('b', 'ann', 'pw', { mechanism: 'LOGIN' }),
      ['behind', ''],
    ],
  },
  {
    title: 'an empty initial response, a cancelled exchange, bad base64',
    input: `a AUTHENTICATE PLAIN =\r\nb AUTHENTICATE PLAIN\r\n*\r\nc AUTHENTICATE PLAIN\r\nA\r\nd NOOP\r\n`,
    expect: [
      ['write', GREETING],
      ['deny', 'a NO [AUTHENTICATIONFAILED] Authentication failed\r\n', false],
      ['write', '+ \r\nb BAD Authentication cancelled\r\n+ \r\n'],
      ['deny', 'c BAD Invalid base64 in authentication exchange\r\n', false],
      ['write', 'd OK NOOP completed\r\n'],
    ],
  },
  {
    title: 'OAUTHBEARER, and the failure challenge answered by the client',
    input: `a AUTHENTICATE OAUTHBEARER ${base64(BEARER)}\r\nAQ==\r\nb NOOP\r\n`,
    verdicts: [{ do: 'challenge', challenge: Buffer.from('{"status":"invalid_token"}') }, REFUSE],
    expect: [
      ['write', GREETING],
      token('a', 'OAUTHBEARER', BEARER, 'joe@example.com'),
      ['write', `+ ${base64('{"status":"invalid_token"}')}\r\n`],
      ['respond', '\u0001'],
      ['deny', 'a NO [AUTHENTICATIONFAILED] no\r\n', false],
      ['write', 'b OK NOOP completed\r\n'],
    ],
  },
  {
    title: 'XOAUTH2, and the failure challenge cancelled',
    input: `a AUTHENTICATE XOAUTH2\r\n${base64(XOAUTH2)}\r\n*\r\n`,
    verdicts: [{ do: 'challenge', challenge: Buffer.from('{}') }, REFUSE],
    expect: [
      ['write', `${GREETING}+ \r\n`],
      token('a', 'XOAUTH2', XOAUTH2, 'joe@example.com'),
      ['write', '+ e30=\r\n'],
      ['respond', undefined],
      ['deny', 'a NO [AUTHENTICATIONFAILED] no\r\n', false],
    ],
  },
  {
    title: 'ID with literals and an announced time-to-live, answered from configuration',
    input: 'a ID ({4}\r\nname "x" "x-proxy-ttl" {1+}\r\n5 "vendor" NIL)\r\nb ID ()\r\nc ID ("a")\r\nd ID\r\ne LOGIN j x\r\n',
    factory: listener({ imap: { id: [['name', 'Sig"nal'], ['x', 'y']] } }),
    expect: [
      [
        'write',
        `${GREETING}+ OK\r\n* ID ("name" "Sig\\"nal" "x" "y")\r\na OK ID completed\r\n` +
          '* ID ("name" "Sig\\"nal" "x" "y")\r\nb OK ID completed\r\n' +
          'c BAD Syntax error in arguments\r\nd BAD Syntax error in arguments\r\n',
      ],
      password('e', 'j', 'x', { announcedTtl: 5 }),
    ],
  },
  {
    title: 'empty lines, bad tags, tags alone',
    input: `\r\n+ NOOP\r\na+b NOOP\r\nabc\r\nabc \r\n${'t'.repeat(64)} NOOP\r\n${'t'.repeat(65)} NOOP\r\n`,
    expect: [
      [
        'write',
        `${GREETING}${'* BAD Invalid tag\r\n'.repeat(3)}${'abc BAD Missing command\r\n'.repeat(2)}` +
          `${'t'.repeat(64)} OK NOOP completed\r\n* BAD Invalid tag\r\n`,
      ],
    ],
  },
  {
    title: 'LOGIN with broken arguments is an attempt and a syntax error',
    input: 'a LOGIN joe\r\nb LOGIN "joe x\r\nc LOGIN {5 {3+}\r\nabc x\r\nd AUTHENTICATE PLAIN \r\ne LOGIN joe  x\r\n',
    factory: listener({ attempts: 9 }),
    expect: [
      ['write', GREETING],
      ...['a', 'b', 'c', 'd', 'e'].map((tag) => ['deny', `${tag} BAD Syntax error in arguments\r\n`, false] as const),
    ],
  },
  {
    title: 'LOGIN without a space, and what only begins like a command',
    input: 'a LOGIN"joe" x\r\nb LOGINX joe x\r\n',
    expect: [
      ['write', `${GREETING}a BAD Missing command\r\nb BAD Unknown command, or not allowed before login\r\n`],
    ],
  },
  {
    title: 'two syntax errors are two attempts',
    input: 'a LOGIN joe\r\nb LOGIN "joe x\r\n',
    expect: [
      ['write', GREETING],
      ['deny', 'a BAD Syntax error in arguments\r\n', false],
      ['deny', 'b BAD Syntax error in arguments\r\n', false],
    ],
  },
  {
    title: 'a literal where none is of use, or too large, is refused where it is announced',
    input: 'a NOOP {5}\r\nb LOGIN {65537}\r\nc ID ({70000}\r\nd NOOP\r\n',
    expect: [
      [
        'write',
        `${GREETING}a BAD Unknown command, or not allowed before login\r\nb BAD [TOOBIG] Literal too large\r\n` +
          'c BAD [TOOBIG] Literal too large\r\nd OK NOOP completed\r\n',
      ],
    ],
  },
  {
    title: 'a non-synchronising literal above 4096 ends the connection with LITERAL-',
    input: 'a LOGIN {4097+}\r\nxxxx',
    expect: [
      ['write', GREETING],
      ['close', '* BYE [TOOBIG] Literal too large\r\n', 'CLIENT_PROTOCOL'],
    ],
  },
  {
    title: 'without TLS no credential is asked for or accepted',
    factory: plainListener,
    secure: false,
    input: 'a LOGIN {3}\r\nb AUTHENTICATE XOAUTH2\r\nc NOOP\r\n',
    expect: [
      ['write', NO_LOGIN],
      ['deny', 'a NO [PRIVACYREQUIRED] Logins need TLS on this connection\r\n', false],
      ['deny', 'b NO [PRIVACYREQUIRED] Logins need TLS on this connection\r\n', false],
      ['write', 'c OK NOOP completed\r\n'],
    ],
  },
  {
    title: 'STARTTLS is refused where it is not offered or done already',
    input: 'a STARTTLS\r\nb NOOP\r\n',
    expect: [['write', `${GREETING}a BAD STARTTLS is not offered\r\nb OK NOOP completed\r\n`]],
  },
  {
    title: 'a browser is sent away after its first line',
    input: 'POST /x HTTP/1.1\r\nHost: x\r\n\r\na LOGIN joe x\r\n',
    expect: [
      ['write', GREETING],
      ['close', '* BYE This is an IMAP server\r\n', 'CLIENT_PROTOCOL'],
    ],
  },
  {
    title: 'a TLS client on a plain port is sent away',
    input: '\u0016\u0003\u0001\u0002\u0000\u0001',
    factory: plainListener,
    secure: false,
    expect: [
      ['write', NO_LOGIN],
      ['close', '', 'CLIENT_PROTOCOL'],
    ],
  },
]

describe('the IMAP dialogue before login', () => {
  for (const { title, input, verdicts, expect, factory = listener(), secure = true } of CORPUS) {
    test(`${title}, however it is cut`, () => {
      for (const pieces of splits(Buffer.from(input, 'latin1'))) {
        const { calls } = runPreauth(factory, secure, pieces, verdicts)
        assert.deepEqual(calls, expect)
      }
    })
  }

  test('STARTTLS starts everything afresh, and logins are offered then', () => {
    const factory = listener({ tls: 'starttls' })
    const before = 'a CAPABILITY\r\nb ID ("x-proxy-ttl" "3")\r\nc STARTTLS\r\n'
    const after = 'd CAPABILITY\r\ne STARTTLS\r\nf LOGIN joe x\r\n'
    for (const first of splits(Buffer.from(before))) {
      for (const second of [[Buffer.from(after)], Array.from(after, (char) => Buffer.from(char))]) {
        const { calls } = runPreauth(factory, false, [...first, ...second])
        const list = 'IMAP4rev1 SASL-IR LITERAL- ID ENABLE STARTTLS LOGINDISABLED'
        assert.deepEqual(calls, [
          [
            'write',
            `* OK [CAPABILITY ${list}] ready\r\n* CAPABILITY ${list}\r\na OK CAPABILITY completed\r\n` +
              '* ID NIL\r\nb OK ID completed\r\nc OK Begin TLS negotiation now\r\n',
          ],
          ['startTls'],
          ['write', `${ASKED}d OK CAPABILITY completed\r\ne BAD STARTTLS is not offered\r\n`],
          password('f', 'joe', 'x', { askedCapability: true }),
        ])
      }
    }
  })

  test('a capability asked for before STARTTLS is forgotten with it', () => {
    const pieces = ['a CAPABILITY\r\nb STARTTLS\r\n', 'c LOGIN joe x\r\n'].map((text) => Buffer.from(text))
    const { calls } = runPreauth(listener({ tls: 'starttls' }), false, pieces)
    assert.deepEqual(calls.at(-1), password('c', 'joe', 'x'))
  })

  test('passwords that may cross a plain connection are offered and taken', () => {
    const factory = listener({ tls: 'plain', imap: { allowPlainAuthWithoutTls: true } })
    const { calls } = runPreauth(factory, false, [Buffer.from('a LOGIN joe x\r\n')])
    assert.deepEqual(calls, [['write', GREETING], password('a', 'joe', 'x')])
  })

  test('a listener without password mechanisms has no LOGIN', () => {
    const factory = listener({ imap: { sasl: ['XOAUTH2'], banner: '' } })
    const { calls } = runPreauth(factory, true, [Buffer.from('a LOGIN joe x\r\n')])
    assert.deepEqual(calls, [
      ['write', '* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL- ID ENABLE AUTH=XOAUTH2 LOGINDISABLED]\r\n'],
      ['deny', 'a NO [CANNOT] Password logins are not offered\r\n', false],
    ])
  })

  test('the end of the time or of the instance is told', () => {
    for (const [reason, code, words] of [
      ['timeout', 'CLIENT_TIMEOUT', '* BYE Login timed out\r\n'],
      ['shutdown', 'DRAINING', '* BYE [UNAVAILABLE] Server is shutting down\r\n'],
    ] as const) {
      const run = runPreauth(listener(), true, [Buffer.from('a LOG')])
      run.dialogue.expire(reason)
      run.dialogue.expire(reason)
      assert.deepEqual(run.calls.slice(1), [['close', words, code]])
      assert.equal(run.dialogue.held, 0)
    }
  })

  test('in the handshake nothing is said', () => {
    const run = runPreauth(listener({ tls: 'starttls' }), false, [])
    run.dialogue.receive(Buffer.from('a STARTTLS\r\n'))
    run.dialogue.expire('timeout')
    assert.deepEqual(run.calls.slice(1), [['startTls'], ['close', '', 'CLIENT_TIMEOUT']])
  })

  test('answers that the state does not allow are mistakes of ours', () => {
    const { dialogue } = runPreauth(listener(), true, [])
    assert.throws(() => dialogue.accepted(), { code: 'INTERNAL' })
    assert.throws(() => dialogue.resume(), { code: 'INTERNAL' })
    assert.throws(() => dialogue.secured(), { code: 'INTERNAL' })
    assert.throws(() => dialogue.refused({ text: undefined }), { code: 'INTERNAL' })
  })
})
