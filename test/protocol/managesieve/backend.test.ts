import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { MANAGESIEVE_QUOTED } from '../../../src/limits.ts'
import { managesieve } from '../../../src/protocol/managesieve/managesieve.ts'
import type { BackendOptions, ClientAnnouncement, Login } from '../../../src/protocol/protocol.ts'
import { base64, passwordLogin, tokenLogin } from '../imap/profile.ts'
import { type Call, runBackend, splits } from '../recorder.ts'
import { OPTIONS } from './profile.ts'

const PLAIN = base64('\0joe\0pass')
const BEARER = 'n,a=joe@example.com,\u0001auth=Bearer t\u0001\u0001'
const XOAUTH2 = 'user=joe\u0001auth=Bearer t\u0001\u0001'
const GREETING = '"IMPLEMENTATION" "x \\"y\\""\r\n"SASL" "plain LOGIN"\r\n"SIEVE" {8}\r\nfileinto\r\nOK (X "y") "hi"\r\n'
const LOGGED_IN = `AUTHENTICATE "PLAIN" "${PLAIN}"\r\n`

const CLIENT: ClientAnnouncement = {
  clientAddress: '2001:db8::1',
  clientPort: 50_000,
  localAddress: '192.0.2.1',
  localPort: 4190,
  session: 's=1',
  ttl: 6,
  clientTls: 'TLSv1.3',
}
const XCLIENT =
  'XCLIENT ADDR=2001:db8::1 PORT=50000 DESTADDR=192.0.2.1 DESTPORT=4190 SESSION=s+3D1 TTL=6 CLIENT-TRANSPORT=TLS\r\n'

interface Dialogue {
  readonly title: string
  readonly turns: readonly string[]
  readonly login?: Login
  readonly answers?: readonly (Buffer | undefined)[]
  readonly options?: Partial<BackendOptions>
  readonly expect: readonly Call[]
}

const joe = passwordLogin('joe', 'pass', {})

const CORPUS: readonly Dialogue[] = [
  {
    title: 'PLAIN in one go',
    turns: [GREETING, 'OK "Logged in"\r\nearly'],
    expect: [['announced'], ['write', LOGGED_IN], ['accepted', 'OK "Logged in"\r\nearly']],
  },
  {
    title: 'behind a PROXY header in the clear a command of ours is answered before the login goes out',
    turns: [GREETING, '"SASL" "LOGIN PLAIN"\r\nOK\r\n', 'OK\r\n'],
    options: { headerInClear: true },
    expect: [['write', 'CAPABILITY\r\n'], ['announced'], ['write', LOGGED_IN], ['accepted', 'OK\r\n']],
  },
  ...['NO "Unknown command."\r\n', 'BYE "Disconnected"\r\n', 'NO\r\nNO\r\nOK\r\n', 'what\r\n'].map((answer) => ({
    title: `an answer to the PROXY header is none to the login: ${JSON.stringify(answer)}`,
    turns: [GREETING, answer],
    options: { headerInClear: true },
    expect: [['write', 'CAPABILITY\r\n'], ['trouble', answer.startsWith('BYE') ? 'BACKEND_CLOSED' : 'BACKEND_PROTOCOL']] as const,
  })),
  {
    title: 'behind a PROXY header STARTTLS is a command of ours',
    turns: ['"STARTTLS"\r\nOK\r\n', 'OK\r\n', GREETING, 'OK\r\n'],
    options: { headerInClear: true, startTls: true },
    expect: [['write', 'STARTTLS\r\n'], ['startTls'], ['announced'], ['write', LOGGED_IN], ['accepted', 'OK\r\n']],
  },
  {
    title: 'what comes with the OK goes to the client, literals included',
    turns: [GREETING, 'ok (SASL {4}\r\nAQ==) {3}\r\na\nb\r\n'],
    login: passwordLogin('joe', 'pass', {}, 'ann'),
    expect: [
      ['announced'],
      ['write', `AUTHENTICATE "PLAIN" "${base64('ann\0joe\0pass')}"\r\n`],
      ['accepted', 'ok (SASL {4}\r\nAQ==) {3}\r\na\nb\r\n'],
    ],
  },
  {
    title: 'LOGIN for a backend that has only that, challenges quoted and as literals, with bare LFs',
    turns: ['"SASL" "LOGIN"\nOK\n', '"VXNlcm5hbWU6"\n', '{12}\nUGFzc3dvcmQ6\n', 'OK\n'],
    expect: [
      ['announced'],
      ['write', `AUTHENTICATE "LOGIN"\r\n"${base64('joe')}"\r\n"${base64('pass')}"\r\n`],
      ['accepted', 'OK\r\n'],
    ],
  },
  {
    title: 'an authzid of its own cannot go by LOGIN',
    turns: ['"SASL" "LOGIN"\r\nOK\r\n'],
    login: passwordLogin('joe', 'pass', {}, 'ann'),
    expect: [['announced'], ['trouble', 'BACKEND_NO_MECHANISM']],
  },
  {
    title: 'a backend that offers no logins',
    turns: ['"SASL" ""\r\n"STARTTLS"\r\nOK\r\n'],
    expect: [['announced'], ['trouble', 'BACKEND_NO_MECHANISM']],
  },
  {
    title: 'a token that the backend turns down: challenge, the client answers, refusal',
    turns: ['"SASL" "OAUTHBEARER"\r\nOK\r\n', `{24}\r\n${base64('{"status":"401"}')}\r\n`, 'NO "bad token"\r\n'],
    login: tokenLogin('OAUTHBEARER', BEARER),
    answers: [Buffer.from('\u0001')],
    expect: [
      ['announced'],
      ['write', `AUTHENTICATE "OAUTHBEARER" "${base64(BEARER)}"\r\n`],
      ['challenge', '{"status":"401"}'],
      ['write', '"AQ=="\r\n'],
      ['refused', 'NO "bad token"', false],
    ],
  },
  {
    title: 'a relayed challenge that the client cancels',
    turns: ['"SASL" "XOAUTH2"\r\nOK\r\n', '"e30="\r\n', 'NO "cancelled"\r\n'],
    login: tokenLogin('XOAUTH2', XOAUTH2),
    answers: [undefined],
    expect: [
      ['announced'],
      ['write', `AUTHENTICATE "XOAUTH2" "${base64(XOAUTH2)}"\r\n`],
      ['challenge', '{}'],
      ['write', '"*"\r\n'],
      ['refused', 'NO "cancelled"', false],
    ],
  },
  {
    title: 'refused with words in a literal, from which nothing breaks out',
    turns: [GREETING, 'NO (AUTH-TOO-WEAK) {7}\r\na\rb\0c\r\n\r\n'],
    expect: [['announced'], ['write', LOGGED_IN], ['refused', 'NO (AUTH-TOO-WEAK) {7}\r\na b c\r\n', false]],
  },
  {
    title: 'refused with the generic words when they are to be hidden',
    turns: [GREETING, 'NO "joe has no such password"\r\n'],
    options: { hideAuthErrors: true },
    expect: [['announced'], ['write', LOGGED_IN], ['refused', undefined, false]],
  },
  {
    title: 'a backend that cannot judge for the moment is no refusal of the credentials',
    turns: [GREETING, 'NO (TRYLATER) "LDAP is down"\r\n'],
    expect: [['announced'], ['write', LOGGED_IN], ['refused', 'NO (TRYLATER) "LDAP is down"', true]],
  },
  {
    title: 'the same with hidden words',
    turns: [GREETING, 'no (trylater) "joe is being moved"\r\n'],
    options: { hideAuthErrors: true },
    expect: [
      ['announced'],
      ['write', LOGGED_IN],
      ['refused', 'NO (TRYLATER) "Service temporarily unavailable, please try again later"', true],
    ],
  },
  {
    title: 'a leg without the TLS that the backend wants is nobody’s wrong password',
    turns: [GREETING, 'NO (ENCRYPT-NEEDED) "use STARTTLS"\r\n'],
    expect: [['announced'], ['write', LOGGED_IN], ['trouble', 'BACKEND_NO_MECHANISM']],
  },
  {
    title: 'STARTTLS, and what was advertised in the clear does not count behind it',
    turns: ['"SASL" "LOGIN"\r\n"XCLIENT"\r\n"STARTTLS"\r\nOK\r\n', 'OK "go"\r\n', '"SASL" "PLAIN"\r\nOK\r\n', 'OK "in"\r\n'],
    options: { startTls: true, announceClient: CLIENT },
    expect: [
      ['write', 'STARTTLS\r\n'],
      ['startTls'],
      ['addressLost'],
      ['announced'],
      ['write', LOGGED_IN],
      ['accepted', 'OK "in"\r\n'],
    ],
  },
  {
    title: 'STARTTLS that is not advertised',
    turns: [GREETING],
    options: { startTls: true },
    expect: [['trouble', 'BACKEND_PROTOCOL']],
  },
  ...['NO "not today"\r\n', '"OK"\r\n'].map((line) => ({
    title: `STARTTLS that is answered ${JSON.stringify(line)}`,
    turns: ['"STARTTLS"\r\nOK\r\n', line],
    options: { startTls: true },
    expect: [['write', 'STARTTLS\r\n'], ['trouble', 'BACKEND_PROTOCOL']] as const,
  })),
  {
    title: 'a NO where the block behind TLS is due',
    turns: ['"STARTTLS"\r\nOK\r\n', 'OK\r\n', 'NO "x"\r\n'],
    options: { startTls: true },
    expect: [['write', 'STARTTLS\r\n'], ['startTls'], ['trouble', 'BACKEND_PROTOCOL']],
  },
  {
    title: 'XCLIENT where it is advertised, then the capabilities again',
    turns: ['"SASL" ""\r\n"xclient"\r\nOK\r\n', 'OK "Updated"\r\n', '"SASL" "PLAIN"\r\n"XCLIENT"\r\nOK\r\n', 'OK "in"\r\n'],
    options: { announceClient: CLIENT },
    expect: [
      ['write', `${XCLIENT}CAPABILITY\r\n`],
      ['announced'],
      ['write', LOGGED_IN],
      ['accepted', 'OK "in"\r\n'],
    ],
  },
  {
    title: 'the address is lost where XCLIENT is not advertised',
    turns: [GREETING, 'OK "in"\r\n'],
    options: { announceClient: CLIENT },
    expect: [['addressLost'], ['announced'], ['write', LOGGED_IN], ['accepted', 'OK "in"\r\n']],
  },
  {
    title: 'the address is lost on a backend that refuses XCLIENT',
    turns: ['"SASL" "PLAIN"\r\n"XCLIENT" "ADDR"\r\nOK\r\n', 'NO "You are not from trusted IP"\r\n', 'OK "in"\r\n'],
    options: { announceClient: CLIENT },
    expect: [['write', XCLIENT], ['addressLost'], ['announced'], ['write', LOGGED_IN], ['accepted', 'OK "in"\r\n']],
  },
  {
    title: 'an answer to XCLIENT that is none',
    turns: ['"XCLIENT"\r\nOK\r\n', '"x"\r\n'],
    options: { announceClient: CLIENT },
    expect: [['write', XCLIENT], ['trouble', 'BACKEND_PROTOCOL']],
  },
  ...['BYE (TRYLATER) "busy"\r\n', 'NO "x"\r\n', '* OK imap\r\n', '220 smtp\r\n', '\r\n', 'OKAY\r\n', '"a" "b" "c"\r\n', '"SASL""PLAIN"\r\n', '"a\r\n'].map(
    (line) => ({ title: `a greeting ${JSON.stringify(line)} is trouble`, turns: [line], expect: [['trouble', 'BACKEND_GREETING']] as const }),
  ),
  {
    title: 'a goodbye before the answer is a closed backend',
    turns: [GREETING, 'BYE "going down"\r\nOK\r\n'],
    expect: [['announced'], ['write', LOGGED_IN], ['trouble', 'BACKEND_CLOSED']],
  },
  ...['""\r\n', '"e30="\r\n', 'YES\r\n', '\r\n', '"a" "b"\r\n'].map((line) => ({
    title: `an answer ${JSON.stringify(line)} is trouble`,
    turns: [GREETING, line],
    expect: [['announced'], ['write', LOGGED_IN], ['trouble', 'BACKEND_PROTOCOL']] as const,
  })),
  ...['"!"\r\n', '"e30=" "e30="\r\n'].map((line) => ({
    title: `a challenge ${JSON.stringify(line)} to a token is trouble`,
    turns: ['"SASL" "XOAUTH2"\r\nOK\r\n', line],
    login: tokenLogin('XOAUTH2', XOAUTH2),
    expect: [
      ['announced'],
      ['write', `AUTHENTICATE "XOAUTH2" "${base64(XOAUTH2)}"\r\n`],
      ['trouble', 'BACKEND_PROTOCOL'],
    ] as const,
  })),
]

describe('the dialogue with a ManageSieve backend', () => {
  for (const { title, turns, login = joe, answers, options, expect } of CORPUS) {
    test(`${title}, however it is cut`, () => {
      const whole = turns.map((turn) => Buffer.from(turn, 'latin1'))
      whole.forEach((bytes, index) => {
        for (const pieces of splits(bytes)) {
          const fed = whole.map((turn, at) => (at === index ? pieces : [turn]))
          assert.deepEqual(runBackend(managesieve, { ...OPTIONS, ...options }, fed, login, answers).calls, expect)
        }
      })
    })
  }

  test('an initial response goes quoted up to 1024 bytes, as a literal above', () => {
    const run = (size: number): string =>
      String(runBackend(managesieve, OPTIONS, [[Buffer.from(GREETING)]], passwordLogin('joe', 'x'.repeat(size), {})).calls[1]?.[1])
    const of = (size: number): string => base64(`\0joe\0${'x'.repeat(size)}`)
    assert.equal(of(763).length, MANAGESIEVE_QUOTED)
    assert.equal(run(763), `AUTHENTICATE "PLAIN" "${of(763)}"\r\n`)
    assert.equal(run(764), `AUTHENTICATE "PLAIN" {${of(764).length}+}\r\n${of(764)}\r\n`)
  })

  test('what the backend said it can do is given as written', () => {
    const port = { write() {}, startTls() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {}, trouble() {} }
    const dialogue = managesieve.backend(port, OPTIONS)
    assert.deepEqual(dialogue.capabilities, [])
    dialogue.receive(Buffer.from(GREETING))
    assert.deepEqual(dialogue.capabilities, ['IMPLEMENTATION x "y"', 'SASL plain LOGIN', 'SIEVE fileinto'])
  })

  test('calls out of turn are mistakes of ours', () => {
    const port = { write() {}, startTls() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {}, trouble() {} }
    const dialogue = managesieve.backend(port, OPTIONS)
    assert.throws(() => dialogue.replay(joe), { code: 'INTERNAL' })
    assert.throws(() => dialogue.secured(), { code: 'INTERNAL' })
    assert.throws(() => dialogue.respond(undefined), { code: 'INTERNAL' })
    dialogue.receive(Buffer.from(GREETING))
    assert.throws(() => dialogue.start(), { code: 'INTERNAL' })
    assert.throws(() => dialogue.replay(passwordLogin('jo\0e', 'x')), { code: 'INTERNAL' })
  })
})
