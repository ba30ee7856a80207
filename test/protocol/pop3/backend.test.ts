import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BACKEND_LINE, BACKEND_PREAMBLE, POP3_AUTH_LINE } from '../../../src/limits.ts'
import { pop3 } from '../../../src/protocol/pop3/pop3.ts'
import type { BackendOptions, ClientAnnouncement, Login } from '../../../src/protocol/protocol.ts'
import { base64, passwordLogin, tokenLogin } from '../imap/profile.ts'
import { type Call, runBackend, splits } from '../recorder.ts'
import { OPTIONS } from './profile.ts'

const GREETING = '+OK hi\r\n'
const capa = (...lines: string[]): string => ['+OK', ...lines, '.', ''].join('\r\n')
const joe = passwordLogin('joe', 'p w', {})
const CLIENT: ClientAnnouncement = {
  clientAddress: '2001:db8::1',
  clientPort: 50_000,
  localAddress: '192.0.2.1',
  localPort: 995,
  session: 's 1',
  ttl: 6,
  clientTls: 'TLSv1.3',
}

interface Dialogue {
  readonly title: string
  readonly turns: readonly string[]
  readonly login?: Login
  readonly options?: Partial<BackendOptions>
  readonly answers?: readonly (Buffer | undefined)[]
  readonly expect: readonly Call[]
}

const CORPUS: readonly Dialogue[] = [
  {
    title: 'PLAIN with an initial response',
    turns: [GREETING, capa('USER', 'SASL PLAIN LOGIN'), '+OK Logged in.\r\n+OK behind\r\n'],
    expect: [['write', 'CAPA\r\n'], ['announced'], ['write', `AUTH PLAIN ${base64('\0joe\0p w')}\r\n`], ['accepted', '+OK Logged in.\r\n+OK behind\r\n']],
  },
  {
    title: 'an initial response that would be too long waits for the challenge',
    turns: [GREETING, capa('SASL PLAIN'), '+ \r\n', '+OK\r\n'],
    login: passwordLogin('joe', 'p'.repeat(POP3_AUTH_LINE), {}),
    expect: [
      ['write', 'CAPA\r\n'],
      ['announced'],
      ['write', `AUTH PLAIN\r\n${base64(`\0joe\0${'p'.repeat(POP3_AUTH_LINE)}`)}\r\n`],
      ['accepted', '+OK\r\n'],
    ],
  },
  {
    title: 'LOGIN where there is no PLAIN',
    turns: [GREETING, capa('sasl login'), '+ VXNlcm5hbWU6\r\n', '+ UGFzc3dvcmQ6\r\n', '-ERR [AUTH] no\r\n'],
    expect: [['write', 'CAPA\r\n'], ['announced'], ['write', `AUTH LOGIN\r\n${base64('joe')}\r\n${base64('p w')}\r\n`], ['refused', '-ERR [AUTH] no', false]],
  },
  {
    title: 'USER and PASS where there is neither',
    turns: [GREETING, capa('USER', 'TOP'), '+OK\r\n', '+OK in\r\n'],
    expect: [['write', 'CAPA\r\n'], ['announced'], ['write', 'USER joe\r\nPASS p w\r\n'], ['accepted', '+OK in\r\n']],
  },
  {
    title: 'USER and PASS to a backend from before CAPA; refused at USER',
    turns: [GREETING, '-ERR what?\r\n', '-ERR no such user\r\n'],
    expect: [['write', 'CAPA\r\n'], ['announced'], ['write', 'USER joe\r\n'], ['refused', '-ERR no such user', false]],
  },
  {
    title: 'behind a PROXY header in the clear a refusal may be the header’s: no login goes out',
    turns: [GREETING, '-ERR what?\r\n', '-ERR what?\r\n'],
    options: { headerInClear: true },
    expect: [['write', 'CAPA\r\n'], ['trouble', 'BACKEND_PROTOCOL']],
  },
  {
    title: 'behind a PROXY header and TLS there may be no CAPA',
    turns: [GREETING, capa('STLS'), '+OK\r\n', '-ERR what?\r\n', '+OK\r\n', '+OK in\r\n'],
    options: { headerInClear: true, startTls: true },
    expect: [['write', 'CAPA\r\nSTLS\r\n'], ['startTls'], ['write', 'CAPA\r\n'], ['announced'], ['write', 'USER joe\r\nPASS p w\r\n'], ['accepted', '+OK in\r\n']],
  },
  {
    title: 'a backend that has no way to take the login',
    turns: [GREETING, capa('SASL GSSAPI')],
    expect: [['write', 'CAPA\r\n'], ['announced'], ['trouble', 'BACKEND_NO_MECHANISM']],
  },
  {
    title: 'an identity to act as needs PLAIN',
    turns: [GREETING, capa('USER', 'SASL LOGIN')],
    login: passwordLogin('joe', 'x', {}, 'ann'),
    expect: [['write', 'CAPA\r\n'], ['announced'], ['trouble', 'BACKEND_NO_MECHANISM']],
  },
  {
    title: 'temporary refusals are told apart',
    turns: [GREETING, capa('SASL PLAIN'), '-ERR [in-use] locked\r\n'],
    expect: [['write', 'CAPA\r\n'], ['announced'], ['write', `AUTH PLAIN ${base64('\0joe\0p w')}\r\n`], ['refused', '-ERR [in-use] locked', true]],
  },
  {
    title: 'hidden words',
    turns: [GREETING, capa('SASL PLAIN'), '-ERR no such user joe\r\n'],
    options: { hideAuthErrors: true },
    expect: [['write', 'CAPA\r\n'], ['announced'], ['write', `AUTH PLAIN ${base64('\0joe\0p w')}\r\n`], ['refused', undefined, false]],
  },
  {
    title: 'a token that fails: the challenge goes out, the answer comes back',
    turns: [GREETING, capa('SASL OAUTHBEARER'), `+ ${base64('{}')}\r\n`, '-ERR [AUTH] bad token\r\n'],
    login: tokenLogin('OAUTHBEARER', 'n,,\u0001auth=Bearer t\u0001\u0001'),
    answers: [Buffer.from('\u0001')],
    expect: [
      ['write', 'CAPA\r\n'],
      ['announced'],
      ['write', `AUTH OAUTHBEARER ${base64('n,,\u0001auth=Bearer t\u0001\u0001')}\r\n`],
      ['challenge', '{}'],
      ['write', 'AQ==\r\n'],
      ['refused', '-ERR [AUTH] bad token', false],
    ],
  },
  {
    title: 'STLS, and capabilities asked again behind it',
    turns: [GREETING, capa('STLS', 'SASL PLAIN'), '+OK go\r\n', capa('SASL LOGIN'), '+ \r\n', '+ \r\n', '+OK\r\n'],
    options: { startTls: true },
    expect: [
      ['write', 'CAPA\r\nSTLS\r\n'],
      ['startTls'],
      ['write', 'CAPA\r\n'],
      ['announced'],
      ['write', `AUTH LOGIN\r\n${base64('joe')}\r\n${base64('p w')}\r\n`],
      ['accepted', '+OK\r\n'],
    ],
  },
  {
    title: 'STLS that is not advertised, and STLS that is refused',
    turns: [GREETING, capa('SASL PLAIN')],
    options: { startTls: true },
    expect: [['write', 'CAPA\r\n'], ['trouble', 'BACKEND_PROTOCOL']],
  },
  {
    title: 'XCLIENT where the greeting offers it, then UTF8',
    turns: ['+OK [XCLIENT] Dovecot ready.\r\n', capa('SASL PLAIN', 'UTF8'), '+OK Updated\r\n', '+OK\r\n', '+OK in\r\n'],
    options: { announceClient: CLIENT, facts: { utf8: true } },
    expect: [
      [
        'write',
        'CAPA\r\nXCLIENT ADDR=2001:db8::1 PORT=50000 DESTADDR=192.0.2.1 DESTPORT=995 SESSION=s+201 TTL=6 CLIENT-TRANSPORT=TLS\r\nUTF8\r\n',
      ],
      ['announced'],
      ['write', `AUTH PLAIN ${base64('\0joe\0p w')}\r\n`],
      ['accepted', '+OK in\r\n'],
    ],
  },
  {
    title: 'XCLIENT that the greeting offered, behind STLS',
    turns: ['+OK [XCLIENT] Dovecot ready.\r\n', capa('STLS', 'SASL PLAIN'), '+OK go\r\n', capa('SASL PLAIN'), '+OK Updated\r\n', '+OK in\r\n'],
    options: { startTls: true, announceClient: { ...CLIENT, clientAddress: '', localAddress: '' } },
    expect: [
      ['write', 'CAPA\r\nSTLS\r\n'],
      ['startTls'],
      ['write', 'CAPA\r\nXCLIENT SESSION=s+201 TTL=6 CLIENT-TRANSPORT=TLS\r\n'],
      ['announced'],
      ['write', `AUTH PLAIN ${base64('\0joe\0p w')}\r\n`],
      ['accepted', '+OK in\r\n'],
    ],
  },
  {
    title: 'a backend that knows no XCLIENT, or does not trust us with it, loses the address and takes the login',
    turns: [GREETING, capa('XCLIENT', 'SASL PLAIN'), '-ERR You are not from trusted IP\r\n', '+OK in\r\n'],
    options: { announceClient: { ...CLIENT, clientAddress: '', localAddress: '', clientTls: undefined } },
    expect: [
      ['write', 'CAPA\r\nXCLIENT SESSION=s+201 TTL=6 CLIENT-TRANSPORT=insecure\r\n'],
      ['addressLost'],
      ['announced'],
      ['write', `AUTH PLAIN ${base64('\0joe\0p w')}\r\n`],
      ['accepted', '+OK in\r\n'],
    ],
  },
  {
    title: 'no XCLIENT anywhere',
    turns: [GREETING, capa('SASL PLAIN'), '+OK in\r\n'],
    options: { announceClient: CLIENT },
    expect: [['write', 'CAPA\r\n'], ['addressLost'], ['announced'], ['write', `AUTH PLAIN ${base64('\0joe\0p w')}\r\n`], ['accepted', '+OK in\r\n']],
  },
  {
    title: 'UTF8 that the backend refuses after all',
    turns: [GREETING, capa('SASL PLAIN'), '-ERR what?\r\n'],
    options: { facts: { utf8: true } },
    expect: [['write', 'CAPA\r\nUTF8\r\n'], ['trouble', 'BACKEND_PROTOCOL']],
  },
  { title: 'a greeting that is none', turns: ['-ERR [SYS/TEMP] full\r\n'], expect: [['trouble', 'BACKEND_GREETING']] },
  { title: 'another protocol', turns: ['* OK IMAP4rev1 ready\r\n'], expect: [['trouble', 'BACKEND_GREETING']] },
  { title: 'nonsense in answer to CAPA', turns: [GREETING, 'huh\r\n'], expect: [['write', 'CAPA\r\n'], ['trouble', 'BACKEND_PROTOCOL']] },
  {
    title: 'an answer that comes before the login',
    turns: [GREETING, `${capa('SASL PLAIN')}+OK in\r\n`],
    expect: [['write', 'CAPA\r\n'], ['announced'], ['trouble', 'BACKEND_PROTOCOL']],
  },
  {
    title: 'a challenge where none is due, and one that is no base64',
    turns: [GREETING, capa('SASL PLAIN'), '+ \r\n'],
    expect: [['write', 'CAPA\r\n'], ['announced'], ['write', `AUTH PLAIN ${base64('\0joe\0p w')}\r\n`], ['trouble', 'BACKEND_PROTOCOL']],
  },
  {
    title: 'dots that were stuffed',
    turns: [GREETING, capa('..x', 'SASL PLAIN'), '+OK in\r\n'],
    expect: [['write', 'CAPA\r\n'], ['announced'], ['write', `AUTH PLAIN ${base64('\0joe\0p w')}\r\n`], ['accepted', '+OK in\r\n']],
  },
]

describe('POP3 with a backend', () => {
  for (const { title, turns, login = joe, options, answers, expect } of CORPUS) {
    test(`${title}, however it is cut`, () => {
      const all = { ...OPTIONS, ...options }
      const whole = turns.map((turn) => [Buffer.from(turn)])
      assert.deepEqual(runBackend(pop3, all, whole, login, answers).calls, expect)
      // What comes ahead of its turn would come in time, were it cut.
      if (title.startsWith('an answer that comes before')) return
      for (let turn = 0; turn < turns.length; turn++) {
        for (const pieces of splits(Buffer.from(turns[turn] ?? ''))) {
          const cut = turns.map((text, index) => (index === turn ? pieces : [Buffer.from(text)]))
          assert.deepEqual(runBackend(pop3, all, cut, login, answers).calls, expect)
        }
      }
    })
  }

  test('plaintext behind the answer to STLS is injection, in one piece or two', () => {
    const before = [[Buffer.from(GREETING)], [Buffer.from(capa('STLS'))]]
    for (const answer of [['+OK go\r\n+OK in\r\n'], ['+OK go\r\n', '+OK in\r\n']]) {
      const pieces = answer.map((text) => Buffer.from(text))
      const calls: string[] = []
      const port = { write() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {} }
      const dialogue = pop3.backend(
        { ...port, startTls: () => calls.push('startTls'), trouble: ({ code }) => calls.push(code) },
        { ...OPTIONS, startTls: true },
      )
      dialogue.start()
      for (const piece of [...before.flat(), ...pieces]) dialogue.receive(piece)
      assert.equal(calls.at(-1), 'BACKEND_INJECTION')
    }
  })

  test('a backend is bounded at N and N + 1, in a line and in all', () => {
    const judge = (bytes: Buffer): string | undefined => {
      let code: string | undefined
      const port = { write() {}, startTls() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {} }
      const dialogue = pop3.backend({ ...port, trouble: (error) => { code = error.code } }, OPTIONS)
      dialogue.start()
      for (let at = 0; at < bytes.length; at += 4_096) dialogue.receive(bytes.subarray(at, at + 4_096))
      return code
    }
    const line = (size: number, end: string): Buffer => Buffer.from(`+OK ${'x'.repeat(size - 4)}${end}`)
    assert.equal(judge(line(BACKEND_LINE, '\r\n')), undefined)
    assert.equal(judge(line(BACKEND_LINE + 1, '\r\n')), 'BACKEND_PROTOCOL')
    assert.equal(judge(line(BACKEND_LINE + 2, '')), 'BACKEND_PROTOCOL')
    const all = (size: number): Buffer => Buffer.from(`${GREETING}+OK\r\n${`${'y'.repeat(998)}\r\n`.repeat(200)}`).subarray(0, size)
    assert.equal(judge(all(BACKEND_PREAMBLE)), undefined)
    assert.equal(judge(all(BACKEND_PREAMBLE + 1)), 'BACKEND_PROTOCOL')
  })

  test('what it can do is told once it is announced', () => {
    let found: readonly string[] = []
    const port = { write() {}, startTls() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {}, trouble() {} }
    const dialogue = pop3.backend({ ...port, announced: () => { found = dialogue.capabilities } }, OPTIONS)
    dialogue.start()
    dialogue.receive(Buffer.from(GREETING + capa('TOP', 'SASL PLAIN')))
    assert.deepEqual(found, ['TOP', 'SASL PLAIN'])
  })
})
