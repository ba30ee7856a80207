import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { SMTP_COMMAND } from '../../../src/limits.ts'
import { submission } from '../../../src/protocol/submission/submission.ts'
import type { BackendOptions, ClientAnnouncement, Login } from '../../../src/protocol/protocol.ts'
import { base64, passwordLogin, tokenLogin } from '../imap/profile.ts'
import { type Call, runBackend, splits } from '../recorder.ts'
import { FACTS, OPTIONS } from './profile.ts'

const PLAIN = base64('\0joe\0pass')
const BEARER = 'n,a=joe@example.com,\u0001auth=Bearer t\u0001\u0001'
const XOAUTH2 = 'user=joe\u0001auth=Bearer t\u0001\u0001'
const GREETING = '220-mx.example.com\r\n220 at your service\r\n'
const EHLO = '250-mx\r\n250-SIZE 10\r\n250 auth plain login\r\n'
const SAID = 'EHLO me\r\n'
const LOGGED_IN = `AUTH PLAIN ${PLAIN}\r\n`
/** Postfix's XCLIENT, in short. */
const OFFER = '250-x\r\n250-AUTH PLAIN\r\n250 XCLIENT NAME ADDR PORT LOGIN\r\n'
const TOLD = 'XCLIENT ADDR=IPV6:2001:db8::1 PORT=50000 NAME=[UNAVAILABLE]\r\n'
const NOBODY = 'XCLIENT ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] NAME=[UNAVAILABLE]\r\n'
/** Dovecot's, which ends with the login. */
const ENDING = '250-x\r\n250-AUTH PLAIN\r\n250 XCLIENT ADDR LOGIN SESSION\r\n'

const CLIENT: ClientAnnouncement = {
  clientAddress: '2001:db8::1',
  clientPort: 50_000,
  localAddress: '192.0.2.1',
  localPort: 587,
  session: 's=1',
  ttl: 6,
  clientTls: 'TLSv1.3',
}

interface Dialogue {
  readonly title: string
  readonly turns: readonly string[]
  readonly login?: Login
  readonly answers?: readonly (Buffer | undefined)[]
  readonly options?: Partial<BackendOptions>
  readonly expect: readonly Call[]
}

const joe = passwordLogin('joe', 'pass', FACTS)

const CORPUS: readonly Dialogue[] = [
  {
    title: 'PLAIN in one go, answers of several lines',
    turns: [GREETING, EHLO, '235-2.7.0 welcome\r\n235 2.7.0 joe\r\n250 early\r\n'],
    expect: [
      ['write', SAID],
      ['announced'],
      ['write', LOGGED_IN],
      ['accepted', '235-2.7.0 welcome\r\n235 2.7.0 joe\r\n250 early\r\n'],
    ],
  },
  {
    title: 'LOGIN for a backend that has only that, in the old way to write it, with bare LFs',
    turns: ['220 x\n', '250-x\n250 AUTH=LOGIN\n', '334 VXNlcm5hbWU6\n', '334\n', '235 yes\n'],
    expect: [
      ['write', SAID],
      ['announced'],
      ['write', `AUTH LOGIN\r\n${base64('joe')}\r\n${base64('pass')}\r\n`],
      ['accepted', '235 yes\r\n'],
    ],
  },
  {
    title: 'what stands in several lines counts together',
    turns: ['220 x\r\n', '250-x\r\n250-AUTH=PLAIN\r\n250 AUTH LOGIN\r\n', '235 yes\r\n'],
    expect: [['write', SAID], ['announced'], ['write', LOGGED_IN], ['accepted', '235 yes\r\n']],
  },
  {
    title: 'an authzid of its own cannot go by LOGIN',
    turns: ['220 x\r\n', '250-x\r\n250 AUTH LOGIN\r\n'],
    login: passwordLogin('joe', 'pass', FACTS, 'ann'),
    expect: [['write', SAID], ['announced'], ['trouble', 'BACKEND_NO_MECHANISM']],
  },
  {
    title: 'a backend that offers no logins',
    turns: ['220 x\r\n', '250 x AUTH PLAIN\r\n'],
    expect: [['write', SAID], ['announced'], ['trouble', 'BACKEND_NO_MECHANISM']],
  },
  {
    title: 'a token that the backend turns down: challenge, the client answers, refusal',
    turns: [GREETING, '250-x\r\n250 AUTH OAUTHBEARER\r\n', `334 ${base64('{"status":"401"}')}\r\n`, '535 5.7.8 bad token\r\n'],
    login: tokenLogin('OAUTHBEARER', BEARER),
    answers: [Buffer.from('\u0001')],
    expect: [
      ['write', SAID],
      ['announced'],
      ['write', `AUTH OAUTHBEARER ${base64(BEARER)}\r\n`],
      ['challenge', '{"status":"401"}'],
      ['write', 'AQ==\r\n'],
      ['refused', '535 5.7.8 bad token', false],
    ],
  },
  {
    title: 'a relayed challenge that the client cancels',
    turns: [GREETING, '250-x\r\n250 AUTH XOAUTH2\r\n', '334 e30=\r\n', '501 cancelled\r\n'],
    login: tokenLogin('XOAUTH2', XOAUTH2),
    answers: [undefined],
    expect: [
      ['write', SAID],
      ['announced'],
      ['write', `AUTH XOAUTH2 ${base64(XOAUTH2)}\r\n`],
      ['challenge', '{}'],
      ['write', '*\r\n'],
      ['refused', '501 cancelled', false],
    ],
  },
  {
    title: 'refused in several lines',
    turns: [GREETING, EHLO, '535-5.7.8 a\rb\0c\r\n535 5.7.8 no\r\n'],
    expect: [['write', SAID], ['announced'], ['write', LOGGED_IN], ['refused', '535-5.7.8 a b c\r\n535 5.7.8 no', false]],
  },
  {
    title: 'refused with the generic words when they are to be hidden',
    turns: [GREETING, EHLO, '535 5.7.8 joe has no such password\r\n'],
    options: { hideAuthErrors: true },
    expect: [['write', SAID], ['announced'], ['write', LOGGED_IN], ['refused', undefined, false]],
  },
  {
    title: 'a backend that cannot judge for the moment is no refusal of the credentials',
    turns: [GREETING, EHLO, '454 4.7.0 LDAP is down\r\n'],
    expect: [['write', SAID], ['announced'], ['write', LOGGED_IN], ['refused', '454 4.7.0 LDAP is down', true]],
  },
  {
    title: 'the same with hidden words',
    turns: [GREETING, EHLO, '432 4.7.12 joe must change\r\n'],
    options: { hideAuthErrors: true },
    expect: [
      ['write', SAID],
      ['announced'],
      ['write', LOGGED_IN],
      ['refused', '454 4.7.0 Temporary authentication failure, please try again later', true],
    ],
  },
  ...['530 5.7.0 Must issue a STARTTLS command first', '538 5.7.11 Encryption required'].map((line) => ({
    title: `a leg without the TLS that the backend wants is nobody's wrong password: ${line}`,
    turns: [GREETING, EHLO, `${line}\r\n`],
    expect: [['write', SAID], ['announced'], ['write', LOGGED_IN], ['trouble', 'BACKEND_NO_MECHANISM']] as const,
  })),
  {
    title: 'STARTTLS, EHLO again, and what was advertised in the clear does not count behind it',
    turns: [GREETING, '250-x\r\n250-XCLIENT ADDR\r\n250-AUTH LOGIN\r\n250 STARTTLS\r\n', '220 go\r\n', EHLO, '235 in\r\n'],
    options: { startTls: true, announceClient: CLIENT },
    expect: [
      ['write', `${SAID}STARTTLS\r\n`],
      ['startTls'],
      ['write', SAID],
      ['addressLost'],
      ['announced'],
      ['write', LOGGED_IN],
      ['accepted', '235 in\r\n'],
    ],
  },
  {
    title: 'STARTTLS that is not advertised',
    turns: [GREETING, EHLO],
    options: { startTls: true },
    expect: [['write', SAID], ['trouble', 'BACKEND_PROTOCOL']],
  },
  {
    title: 'STARTTLS that is refused',
    turns: [GREETING, '250-x\r\n250 STARTTLS\r\n', '454 not today\r\n'],
    options: { startTls: true },
    expect: [['write', `${SAID}STARTTLS\r\n`], ['trouble', 'BACKEND_PROTOCOL']],
  },
  {
    title: 'XCLIENT with the advertised attributes only, then EHLO again',
    turns: [
      GREETING,
      '250-x\r\n250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n250 AUTH LOGIN\r\n',
      '220 x again\r\n',
      EHLO,
      '235 in\r\n',
    ],
    options: { announceClient: CLIENT, facts: { heloName: 'my=pc \r\nQUIT', esmtp: true } },
    expect: [
      [
        'write',
        'EHLO my=pc???QUIT\r\n' +
          'XCLIENT ADDR=IPV6:2001:db8::1 PORT=50000 NAME=[UNAVAILABLE] DESTADDR=192.0.2.1 DESTPORT=587 HELO=my+3Dpc+20+0D+0AQUIT PROTO=ESMTP\r\n' +
          'EHLO my=pc???QUIT\r\n',
      ],
      ['announced'],
      ['write', LOGGED_IN],
      ['accepted', '235 in\r\n'],
    ],
  },
  {
    title: 'all attributes where all are advertised',
    turns: [GREETING, '250-x\r\n250 XCLIENT ADDR PORT PROTO HELO SESSION TTL CLIENT-TRANSPORT\r\n'],
    options: { announceClient: { ...CLIENT, clientAddress: '192.0.2.9', clientTls: undefined } },
    expect: [
      [
        'write',
        `${SAID}XCLIENT ADDR=192.0.2.9 PORT=50000 SESSION=s+3D1 TTL=6 CLIENT-TRANSPORT=insecure HELO=me PROTO=ESMTP\r\n`,
      ],
    ],
  },
  {
    title: 'the address is lost on a backend that has no XCLIENT',
    turns: [GREETING, '250-x\r\n250-AUTH PLAIN\r\n250 SIZE\r\n', '235 in\r\n'],
    options: { announceClient: CLIENT },
    expect: [['write', SAID], ['addressLost'], ['announced'], ['write', LOGGED_IN], ['accepted', '235 in\r\n']],
  },
  {
    title: 'a backend that takes no addresses is told the rest, and the address is lost',
    turns: [GREETING, '250-x\r\n250-AUTH PLAIN\r\n250 XCLIENT PORT HELO\r\n', '220 x\r\n', EHLO, '235 in\r\n'],
    options: { announceClient: CLIENT },
    expect: [
      ['write', SAID],
      ['addressLost'],
      ['write', `XCLIENT PORT=50000 HELO=me\r\n${SAID}`],
      ['announced'],
      ['write', LOGGED_IN],
      ['accepted', '235 in\r\n'],
    ],
  },
  {
    title: 'names that a backend could trust are taken back',
    turns: [GREETING, '250-x\r\n250 XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN\r\n', '220 x\r\n', EHLO, '235 in\r\n'],
    options: { announceClient: CLIENT },
    expect: [
      ['write', `${SAID}XCLIENT ADDR=IPV6:2001:db8::1 PORT=50000 NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] HELO=me PROTO=ESMTP\r\n${SAID}`],
      ['announced'],
      ['write', LOGGED_IN],
      ['accepted', '235 in\r\n'],
    ],
  },
  {
    title: 'an address that is none takes the place of the proxy’s',
    turns: [GREETING, '250-x\r\n250 XCLIENT NAME ADDR PORT\r\n', '220 x\r\n', EHLO, '235 in\r\n'],
    options: { announceClient: { ...CLIENT, clientAddress: '' } },
    expect: [
      ['write', SAID],
      ['addressLost'],
      ['write', `XCLIENT ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] NAME=[UNAVAILABLE]\r\n${SAID}`],
      ['announced'],
      ['write', LOGGED_IN],
      ['accepted', '235 in\r\n'],
    ],
  },
  {
    title: 'a backend that refuses the address is told that it is nobody’s',
    turns: [GREETING, OFFER, '501 5.5.4 Bad IPV6 address\r\n', '220 x\r\n', EHLO, '235 in\r\n'],
    options: { announceClient: CLIENT },
    expect: [
      ['write', SAID + TOLD],
      ['addressLost'],
      ['write', NOBODY + SAID],
      ['announced'],
      ['write', LOGGED_IN],
      ['accepted', '235 in\r\n'],
    ],
  },
  {
    title: 'a client whose own address is trusted becomes nobody',
    turns: [GREETING, OFFER, '220 x\r\n', OFFER, '220 x\r\n', EHLO, '235 in\r\n'],
    options: { announceClient: CLIENT },
    expect: [
      ['write', SAID + TOLD + SAID],
      ['addressLost'],
      ['write', NOBODY + SAID],
      ['announced'],
      ['write', LOGGED_IN],
      ['accepted', '235 in\r\n'],
    ],
  },
  {
    title: 'no login where XCLIENT is refused whatever it says',
    turns: [GREETING, OFFER, '550 5.7.0 not you\r\n', '550 5.7.0 not you\r\n'],
    options: { announceClient: CLIENT },
    expect: [['write', SAID + TOLD], ['addressLost'], ['write', NOBODY], ['trouble', 'BACKEND_PROTOCOL']],
  },
  {
    title: 'no login where XCLIENT is offered to nobody',
    turns: [GREETING, OFFER, '220 x\r\n', OFFER, '220 x\r\n', OFFER],
    options: { announceClient: CLIENT },
    expect: [['write', SAID + TOLD + SAID], ['addressLost'], ['write', NOBODY + SAID], ['trouble', 'BACKEND_PROTOCOL']],
  },
  {
    title: 'no login where XCLIENT is refused and nothing else could be said',
    turns: [GREETING, '250-x\r\n250-AUTH PLAIN\r\n250 XCLIENT SESSION\r\n', '550 5.7.0 not you\r\n'],
    options: { announceClient: CLIENT },
    expect: [['write', SAID], ['addressLost'], ['write', 'XCLIENT SESSION=s+3D1\r\n'], ['trouble', 'BACKEND_PROTOCOL']],
  },
  {
    title: 'no login where the client isn’t announced and would get XCLIENT',
    turns: [GREETING, OFFER],
    expect: [['write', SAID], ['trouble', 'BACKEND_PROTOCOL']],
  },
  ...[undefined, CLIENT].flatMap((announceClient) => {
    const announced = announceClient === undefined ? [] : ['220 x\r\n', ENDING]
    const begun = announceClient === undefined ? SAID : `${SAID}XCLIENT ADDR=IPV6:2001:db8::1 SESSION=s+3D1\r\n${SAID}`
    const turns = [GREETING, ENDING, ...announced, '235-2.7.0 in\r\n235 2.7.0 go\r\n']
    const who = announceClient === undefined ? 'not announced' : 'announced'
    return [
      {
        title: `XCLIENT that goes with the login, client ${who}`,
        turns: [...turns, '250-x\r\n250 SIZE\r\n220 early\r\n'],
        options: { announceClient },
        expect: [['write', begun], ['announced'], ['write', LOGGED_IN + SAID], ['accepted', '235-2.7.0 in\r\n235 2.7.0 go\r\n220 early\r\n']] as const,
      },
      {
        title: `a goodbye behind the login is the client’s to hear, client ${who}`,
        turns: [...turns, '421-4.4.0 the relay\r\n421 4.4.0 is away\r\n'],
        options: { announceClient },
        expect: [
          ['write', begun],
          ['announced'],
          ['write', LOGGED_IN + SAID],
          ['accepted', '235-2.7.0 in\r\n235 2.7.0 go\r\n421-4.4.0 the relay\r\n421 4.4.0 is away\r\n'],
        ] as const,
      },
      ...[ENDING, '502 no\r\n'].map((answer) => ({
        title: `XCLIENT that may not go with the login, client ${who}: ${JSON.stringify(answer)}`,
        turns: [...turns, answer],
        options: { announceClient },
        expect: [['write', begun], ['announced'], ['write', LOGGED_IN + SAID], ['trouble', 'BACKEND_PROTOCOL']] as const,
      })),
    ]
  }),
  {
    title: 'an answer to XCLIENT that is none',
    turns: [GREETING, '250-x\r\n250 XCLIENT ADDR\r\n', '354 go on\r\n'],
    options: { announceClient: CLIENT },
    expect: [['write', `${SAID}XCLIENT ADDR=IPV6:2001:db8::1\r\n`], ['trouble', 'BACKEND_PROTOCOL']],
  },
  ...['421 busy\r\n', '554 go away\r\n', '250 what\r\n', '* OK imap\r\n', '\r\n', '220x\r\n'].map((line) => ({
    title: `a greeting ${JSON.stringify(line)} is trouble`,
    turns: [line],
    expect: [['trouble', 'BACKEND_GREETING']] as const,
  })),
  ...['502 no\r\n', '220 again\r\n', 'hello\r\n', '250-a\r\n251 b\r\n', '1\r\n'].map((line) => ({
    title: `an answer to EHLO ${JSON.stringify(line)} is trouble`,
    turns: [GREETING, line],
    expect: [['write', SAID], ['trouble', 'BACKEND_PROTOCOL']] as const,
  })),
  ...['250 ok\r\n', '535-no\r\n235 in\r\n', '235-in\r\n535 no\r\n', '354 go\r\n', '334-e30=\r\n334 e30=\r\n', '334 e30=\r\n', 'OK\r\n'].map((line) => ({
    title: `an answer to AUTH ${JSON.stringify(line)} is trouble`,
    turns: [GREETING, EHLO, line],
    expect: [['write', SAID], ['announced'], ['write', LOGGED_IN], ['trouble', 'BACKEND_PROTOCOL']] as const,
  })),
  {
    title: 'a goodbye in answer to EHLO is a closed backend',
    turns: [GREETING, '421 4.3.2 going down\r\n'],
    expect: [['write', SAID], ['trouble', 'BACKEND_CLOSED']],
  },
  {
    title: 'a goodbye before the answer is a closed backend',
    turns: [GREETING, EHLO, '421 4.3.2 going down\r\n235 in\r\n'],
    expect: [['write', SAID], ['announced'], ['write', LOGGED_IN], ['trouble', 'BACKEND_CLOSED']],
  },
]

describe('the dialogue with a submission backend', () => {
  for (const { title, turns, login = joe, answers, options, expect } of CORPUS) {
    test(`${title}, however it is cut`, () => {
      const whole = turns.map((turn) => Buffer.from(turn, 'latin1'))
      whole.forEach((bytes, index) => {
        for (const pieces of splits(bytes)) {
          const fed = whole.map((turn, at) => (at === index ? pieces : [turn]))
          assert.deepEqual(runBackend(submission, { ...OPTIONS, ...options }, fed, login, answers).calls, expect)
        }
      })
    })
  }

  test('an initial response is sent up to 512 bytes of command line, a longer one after the challenge', () => {
    const turns = [[Buffer.from(GREETING)], [Buffer.from(EHLO)], [Buffer.from('334 \r\n')]]
    const run = (size: number): string => String(runBackend(submission, OPTIONS, turns, passwordLogin('joe', 'x'.repeat(size))).calls[2]?.[1])
    // `AUTH PLAIN ` and CRLF leave 499 bytes, 496 of them base64: 372 bytes, five of which are the name and two NULs.
    const fits = runBackend(submission, OPTIONS, turns.slice(0, 2), passwordLogin('joe', 'x'.repeat(367))).calls[2]
    assert.match(String(fits?.[1]), /^AUTH PLAIN \S+\r\n$/)
    assert.ok(String(fits?.[1]).length <= SMTP_COMMAND && String(fits?.[1]).length > SMTP_COMMAND - 4)
    assert.equal(run(368), `AUTH PLAIN\r\n${base64(`\0joe\0${'x'.repeat(368)}`)}\r\n`)
    assert.match(run(9_000), /^AUTH PLAIN\r\n[A-Za-z0-9+/=]{12000,12288}\r\n$/)
  })

  test('a client without a name, as a probe is one, is this host', () => {
    for (const facts of [{}, { heloName: '' }]) {
      const { calls } = runBackend(submission, { ...OPTIONS, facts }, [[Buffer.from(GREETING)]], joe)
      assert.deepEqual(calls, [['write', 'EHLO localhost\r\n']])
    }
  })

  test('no command grows above 512 bytes, whatever the client called itself', () => {
    const facts = { heloName: '+'.repeat(600), esmtp: true }
    const turns = [GREETING, '250-x\r\n250 XCLIENT ADDR PORT HELO SESSION\r\n'].map((turn) => [Buffer.from(turn)])
    const session = 'x'.repeat(250)
    for (const helo of [facts, { heloName: 'y'.repeat(255), esmtp: true }]) {
      const { calls } = runBackend(submission, { ...OPTIONS, facts: helo, announceClient: { ...CLIENT, session } }, turns, joe)
      const lines = String(calls[0]?.[1]).split('\r\n')
      assert.equal(lines.length, 3)
      for (const line of lines) assert.ok(line.length <= SMTP_COMMAND - 2, line)
      assert.match(lines[1] ?? '', /^XCLIENT ADDR=IPV6:2001:db8::1 PORT=50000 SESSION=x{250}$/)
    }
  })

  test('what the backend said it can do is given as written', () => {
    const port = { write() {}, startTls() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {}, trouble() {} }
    const dialogue = submission.backend(port, OPTIONS)
    assert.deepEqual(dialogue.capabilities, [])
    dialogue.receive(Buffer.from(GREETING + EHLO))
    assert.deepEqual(dialogue.capabilities, ['SIZE 10', 'auth plain login'])
  })

  test('calls out of turn are mistakes of ours', () => {
    const port = { write() {}, startTls() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {}, trouble() {} }
    const dialogue = submission.backend(port, OPTIONS)
    assert.throws(() => dialogue.replay(joe), { code: 'INTERNAL' })
    assert.throws(() => dialogue.secured(), { code: 'INTERNAL' })
    assert.throws(() => dialogue.respond(undefined), { code: 'INTERNAL' })
    dialogue.receive(Buffer.from(GREETING))
    assert.throws(() => dialogue.start(), { code: 'INTERNAL' })
    dialogue.receive(Buffer.from(EHLO))
    assert.throws(() => dialogue.replay(passwordLogin('jo\0e', 'x')), { code: 'INTERNAL' })
  })
})
