import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { PreauthFactory } from '../../../src/protocol/protocol.ts'
import { base64 } from '../imap/profile.ts'
import { ACCEPT, type Call, type Verdict, runPreauth, splits } from '../recorder.ts'
import { listener } from './profile.ts'

const SIEVE = '"SIEVE" "fileinto vacation"\r\n'
const HEAD = '"IMPLEMENTATION" "The \\"box\\""\r\n"VERSION" "1.0"\r\n'
const BLOCK = `${HEAD}"SASL" "PLAIN LOGIN OAUTHBEARER XOAUTH2"\r\n${SIEVE}`
const GREETING = `${BLOCK}OK "ready"\r\n`
const CLOSED = `${HEAD}"SASL" ""\r\n${SIEVE}`
const SYNTAX = 'NO "Syntax error in arguments"\r\n'
const UNKNOWN = 'NO "Unknown command, or not allowed before login"\r\n'
const FAILED = 'NO "Authentication failed"\r\n'
const BAD_BASE64 = 'NO "Invalid base64 in authentication exchange"\r\n'
const PRIVACY = 'NO (ENCRYPT-NEEDED) "Logins need TLS on this connection"\r\n'
const TRY_LATER = 'NO (TRYLATER) "Service temporarily unavailable, please try again later"\r\n'
const NOOP = 'OK "NOOP completed"\r\n'
const BEARER = 'n,a=joe@example.com,\u0001host=h\u0001auth=Bearer abc.def\u0001\u0001'
const XOAUTH2 = 'user=joe@example.com\u0001auth=Bearer abc.def\u0001\u0001'
const PLAIN = base64('\0joe\0pass')

const REFUSE: Verdict = { do: 'refuse', refusal: { text: Buffer.from('NO (X {3}\r\na\nb) "no"') } }
const REFUSED = 'NO (X {3}\r\na\nb) "no"\r\n'

function password(authcid: string, secret: string, extra: object = {}): Call {
  const { mechanism = 'PLAIN', authzid = '' } = extra as Record<string, unknown>
  return ['login', { mechanism, credentials: { kind: 'password', authzid, authcid, password: secret }, facts: {} }]
}

function token(mechanism: string, message: string): Call {
  return [
    'login',
    { mechanism, credentials: { kind: 'token', mechanism, message, user: 'joe@example.com', token: 'abc.def' }, facts: {} },
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
      'CAPABILITY\r\ncapability x\r\nNoop\r\nLISTSCRIPTS\r\nPUTSCRIPT "x" {9+}\r\nLOGOUT\r\n\n\r\nUNAUTHENTICATE\r\n\r\n' +
      'STARTTLS\r\nLOGOUT now\r\nLOGOUT\r\nnever read',
    expect: [
      [
        'write',
        `${GREETING}${BLOCK}OK "CAPABILITY completed"\r\n${SYNTAX}${NOOP}${UNKNOWN.repeat(4)}NO "STARTTLS is not offered"\r\n${SYNTAX}`,
      ],
      ['close', 'OK "Logging out"\r\n', undefined],
    ],
  },
  {
    title: 'NOOP echoes its tag, in quotes or as a literal',
    input: `NOOP "a \\"b\\\\"\r\nNOOP {4+}\r\na\r\nb\r\nNOOP {2+}\r\n\u00c3\u00a4\r\nNOOP ""\r\nNOOP a\r\nNOOP "a" "b"\r\nNOOP  "a"\r\nNOOP "a\r\nNOOP "\\a"\r\nNOOP "a\rb"\r\nNOOP "a\0b"\r\n`,
    expect: [
      [
        'write',
        `${GREETING}OK (TAG "a \\"b\\\\") "Done"\r\nOK (TAG {4}\r\na\r\nb) "Done"\r\nOK (TAG {2}\r\n\u00c3\u00a4) "Done"\r\n` +
          `OK (TAG "") "Done"\r\n${SYNTAX.repeat(7)}`,
      ],
    ],
  },
  {
    title: 'AUTHENTICATE with a quoted initial response, what stands behind it goes to the backend',
    input: `authenticate "plain" "${PLAIN}"\r\nLISTSCRIPTS\r\n`,
    verdicts: [ACCEPT],
    expect: [['write', GREETING], password('joe', 'pass'), ['behind', 'LISTSCRIPTS\r\n']],
  },
  {
    title: 'AUTHENTICATE with literals and a bare LF',
    input: `AUTHENTICATE {5+}\r\nPLAIN {${PLAIN.length}+}\n${PLAIN}\nx`,
    verdicts: [ACCEPT],
    expect: [['write', GREETING], password('joe', 'pass'), ['behind', 'x']],
  },
  {
    title: 'AUTHENTICATE PLAIN in two steps, the answer quoted or a literal',
    input: `AUTHENTICATE "PLAIN"\r\n"${base64('ann\0joe\0p "\\')}"\r\nAUTHENTICATE "PLAIN"\r\n{${PLAIN.length}+}\r\n${PLAIN}\r\n`,
    verdicts: [{ do: 'refuse', refusal: { text: undefined } }, ACCEPT],
    expect: [
      ['write', `${GREETING}""\r\n`],
      password('joe', 'p "\\', { authzid: 'ann' }),
      ['deny', FAILED, false],
      ['write', '""\r\n'],
      password('joe', 'pass'),
      ['behind', ''],
    ],
  },
  {
    title: 'AUTHENTICATE LOGIN, with and without the name at once',
    input: `AUTHENTICATE "LOGIN"\r\n"${base64('joe')}"\r\n"${base64('pw')}"\r\nAUTHENTICATE "LOGIN" "${base64('jim')}"\r\n"${base64('pw')}"\r\n`,
    verdicts: [REFUSE, ACCEPT],
    expect: [
      ['write', `${GREETING}"VXNlcm5hbWU6"\r\n"UGFzc3dvcmQ6"\r\n`],
      password('joe', 'pw', { mechanism: 'LOGIN' }),
      ['deny', REFUSED, false],
      ['write', '"UGFzc3dvcmQ6"\r\n'],
      password('jim', 'pw', { mechanism: 'LOGIN' }),
      ['behind', ''],
    ],
  },
  {
    title: 'tokens, a short challenge in quotes and a long one as a literal, both answered',
    input: `AUTHENTICATE "OAUTHBEARER" "${base64(BEARER)}"\r\n"AQ=="\r\nAUTHENTICATE "XOAUTH2" "${base64(XOAUTH2)}"\r\n""\r\nNOOP\r\n`,
    verdicts: [
      { do: 'challenge', challenge: Buffer.from('{"status":"401"}') },
      REFUSE,
      { do: 'challenge', challenge: Buffer.alloc(900, 'x') },
      REFUSE,
    ],
    expect: [
      ['write', GREETING],
      token('OAUTHBEARER', BEARER),
      ['write', `"${base64('{"status":"401"}')}"\r\n`],
      ['respond', '\u0001'],
      ['deny', REFUSED, false],
      token('XOAUTH2', XOAUTH2),
      ['write', `{1200}\r\n${base64('x'.repeat(900))}\r\n`],
      ['respond', ''],
      ['deny', REFUSED, false],
      ['write', NOOP],
    ],
  },
  {
    title: 'an exchange and a relayed challenge can be cancelled, the former without counting',
    input: `AUTHENTICATE "PLAIN"\r\n"*"\r\nAUTHENTICATE "PLAIN"\r\n{1+}\r\n*\r\nAUTHENTICATE "XOAUTH2" "${base64(XOAUTH2)}"\r\n"*"\r\n`,
    verdicts: [{ do: 'challenge', challenge: Buffer.from('{}') }, REFUSE],
    factory: listener({ attempts: 1 }),
    expect: [
      ['write', `${GREETING}${'""\r\nNO "Authentication cancelled"\r\n'.repeat(2)}`],
      token('XOAUTH2', XOAUTH2),
      ['write', `"${base64('{}')}"\r\n`],
      ['respond', undefined],
      ['deny', `${REFUSED}BYE "Too many failed authentication attempts"\r\n`, true],
    ],
  },
  {
    title: 'malformed and unsupported attempts count, the last one ends the connection',
    input:
      'AUTHENTICATE\r\nAUTHENTICATE PLAIN\r\nAUTHENTICATE "PLAIN" x\r\nAUTHENTICATE "PLAIN" "" ""\r\nAUTHENTICATE "CRAM-MD5"\r\n' +
      'AUTHENTICATE "PLAIN" ""\r\nAUTHENTICATE "PLAIN" "!!!!"\r\nAUTHENTICATE "PLAIN"\r\nbare\r\nAUTHENTICATE "PLAIN"\r\n"a" "b"\r\nNOOP\r\n',
    factory: listener({ attempts: 9 }),
    expect: [
      ['write', GREETING],
      ...Array.from({ length: 4 }, (): Call => ['deny', SYNTAX, false]),
      ['deny', 'NO "Unsupported authentication mechanism"\r\n', false],
      ['deny', FAILED, false],
      ['deny', BAD_BASE64, false],
      ['write', '""\r\n'],
      ['deny', BAD_BASE64, false],
      ['write', '""\r\n'],
      ['deny', `${BAD_BASE64}BYE "Too many failed authentication attempts"\r\n`, true],
    ],
  },
  {
    title: 'trouble and a temporary refusal are no attempts',
    input: `${`AUTHENTICATE "PLAIN" "${PLAIN}"\r\n`.repeat(3)}NOOP\r\n`,
    verdicts: [
      { do: 'unavailable' },
      { do: 'refuse', refusal: { text: Buffer.from('NO (TRYLATER) "LDAP is down"'), temporary: true } },
      { do: 'unavailable' },
    ],
    factory: listener({ attempts: 1 }),
    expect: [
      ['write', GREETING],
      password('joe', 'pass'),
      ['write', TRY_LATER],
      password('joe', 'pass'),
      ['write', 'NO (TRYLATER) "LDAP is down"\r\n'],
      password('joe', 'pass'),
      ['write', TRY_LATER + NOOP],
    ],
  },
  {
    title: 'without TLS no credential is asked for or accepted',
    factory: plainListener,
    secure: false,
    input: `AUTHENTICATE "PLAIN"\r\nAUTHENTICATE "XOAUTH2" "${base64(XOAUTH2)}"\r\nSTARTTLS\r\n`,
    expect: [
      ['write', `${CLOSED}OK "ready"\r\n`],
      ['deny', PRIVACY, false],
      ['deny', PRIVACY, false],
      ['write', 'NO "STARTTLS is not offered"\r\n'],
    ],
  },
  {
    title: 'a literal as a server writes it ends the connection',
    input: 'NOOP {3}\r\nabc\r\n',
    expect: [
      ['write', GREETING],
      ['close', 'BYE "A literal of a client is written {n+}"\r\n', 'CLIENT_PROTOCOL'],
    ],
  },
  {
    title: 'what only looks like a literal is none',
    input: 'NOOP "{3+}"\r\nFOO{3+}\r\n',
    expect: [['write', `${GREETING}OK (TAG "{3+}") "Done"\r\n${UNKNOWN}`]],
  },
  {
    title: 'a browser is sent away after its first line',
    input: 'POST /x HTTP/1.1\r\nHost: x\r\n\r\nNOOP\r\n',
    expect: [
      ['write', GREETING],
      ['close', 'BYE "This is a ManageSieve server"\r\n', 'CLIENT_PROTOCOL'],
    ],
  },
  {
    title: 'a TLS client on a plain port is sent away',
    input: '\u0016\u0003\u0001\u0002\u0000\u0001',
    factory: plainListener,
    secure: false,
    expect: [
      ['write', `${CLOSED}OK "ready"\r\n`],
      ['close', '', 'CLIENT_PROTOCOL'],
    ],
  },
]

describe('the ManageSieve dialogue before login', () => {
  for (const { title, input, verdicts, expect, factory = listener(), secure = true } of CORPUS) {
    test(`${title}, however it is cut`, () => {
      for (const pieces of splits(Buffer.from(input, 'latin1'))) {
        const { calls } = runPreauth(factory, secure, pieces, verdicts)
        assert.deepEqual(calls, expect)
      }
    })
  }

  test('STARTTLS is followed by a block of its own, in which logins are offered', () => {
    const before = 'NOOP\r\nSTARTTLS\r\n'
    const after = `STARTTLS\r\nAUTHENTICATE "PLAIN" "${PLAIN}"\r\n`
    for (const first of splits(Buffer.from(before))) {
      for (const second of [[Buffer.from(after)], Array.from(after, (char) => Buffer.from(char))]) {
        const { calls } = runPreauth(TO_TLS, false, [...first, ...second])
        assert.deepEqual(calls, [
          ['write', `${CLOSED}"STARTTLS"\r\nOK "ready"\r\n${NOOP}OK "Begin TLS negotiation now"\r\n`],
          ['startTls'],
          ['write', `${BLOCK}OK "TLS negotiation successful"\r\nNO "STARTTLS is not offered"\r\n`],
          password('joe', 'pass'),
        ])
      }
    }
  })

  test('passwords that may cross a plain connection are offered and taken', () => {
    const factory = listener({ tls: 'plain', managesieve: { allowPlainAuthWithoutTls: true } })
    const { calls } = runPreauth(factory, false, [Buffer.from(`AUTHENTICATE "PLAIN" "${PLAIN}"\r\n`)])
    assert.deepEqual(calls, [['write', GREETING], password('joe', 'pass')])
  })

  test('a list of extensions too long for a quoted string is a literal', () => {
    const sieve = Array.from({ length: 200 }, (_, index) => `vnd.example.${index}`)
    const { calls } = runPreauth(listener({ managesieve: { sieve } }), true, [])
    assert.ok(String(calls[0]?.[1]).includes(`"SIEVE" {${sieve.join(' ').length}}\r\n${sieve.join(' ')}\r\nOK "ready"\r\n`))
  })

  test('a string is written in quotes up to 1024 bytes, its escapes counted, and as a literal above', () => {
    for (const [tag, quoted] of [['x'.repeat(1_024), true], ['x'.repeat(1_025), false], ['"'.repeat(512), true], ['"'.repeat(513), false]] as const) {
      const { calls } = runPreauth(listener(), true, [Buffer.from(`NOOP {${tag.length}+}\r\n${tag}\r\n`)])
      assert.ok(String(calls[0]?.[1]).includes(quoted ? '(TAG "' : `(TAG {${tag.length}}\r\n${tag})`), tag)
    }
  })

  test('the end of the time or of the instance is told', () => {
    for (const [reason, code, words] of [
      ['timeout', 'CLIENT_TIMEOUT', 'BYE "Login timed out"\r\n'],
      ['shutdown', 'DRAINING', 'BYE (TRYLATER) "Server is shutting down"\r\n'],
    ] as const) {
      const run = runPreauth(listener(), true, [Buffer.from('NOOP {5+}\r\nab')])
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
