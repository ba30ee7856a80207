/** What an attacker tries against the ManageSieve dialogues, on either leg. Bounds are tried at N and N + 1. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { MANAGESIEVE_LINE, MANAGESIEVE_LITERALS, SASL_LINE } from '../../src/limits.ts'
import { managesieve } from '../../src/protocol/managesieve/managesieve.ts'
import { base64, passwordLogin } from '../protocol/imap/profile.ts'
import { OPTIONS, listener } from '../protocol/managesieve/profile.ts'
import { backendAttacks, clientAttacks, kind, last as lastOf } from './dialogue-attacks.ts'

const last = (text: string, factory = listener()): ReturnType<typeof lastOf> => lastOf(text, factory)
const literal = (text: string): string => `{${text.length}+}\r\n${text}`

describe('a hostile ManageSieve client', () => {
  clientAttacks({
    listener,
    startTls: 'STARTTLS\r\n',
    behind: ['AUTHENTICATE "PLAIN" "AGoAeA=="\r\n', 'A', '\r\n'],
    injected: 'BYE "Unexpected data behind STARTTLS"\r\n',
    line: (size) => `NOOP "${'y'.repeat(size - 7)}"`,
    lineLimit: MANAGESIEVE_LINE,
    hello: '',
    auth: (mechanism, message) => `AUTHENTICATE "${mechanism}"${message === undefined ? '' : ` "${message}"`}\r\n`,
    message: [(text) => `"${text}"`, literal],
  })

  test('a SASL message in a literal behind the mechanism is bounded, too', () => {
    const message = (size: number): string => literal(base64(`\0joe\0${'x'.repeat((size / 4) * 3 - 5)}`))
    assert.equal(kind(last(`AUTHENTICATE "PLAIN" ${message(SASL_LINE)}\r\n`)), 'login')
    assert.equal(kind(last(`AUTHENTICATE "PLAIN" ${message(SASL_LINE + 4)}\r\n`)), 'deny')
  })

  test('lines around literals count together', () => {
    const command = (size: number): string => `NOOP {1+}\r\nx "${'y'.repeat(size - 12)}"`
    assert.equal(kind(last(`${command(MANAGESIEVE_LINE)}\r\n`)), 'write')
    assert.equal(kind(last(`${command(MANAGESIEVE_LINE + 1)}\r\n`)), 'close CLIENT_PROTOCOL')
  })

  test('literals are bounded by their sum and by the buffer, where they are announced', () => {
    const big = listener({ buffer: 100_000 })
    assert.equal(kind(last(`X {${MANAGESIEVE_LITERALS}+}\r\n`, big)), 'write')
    assert.match(String(last(`X {${MANAGESIEVE_LITERALS}+}\r\n${'x'.repeat(MANAGESIEVE_LITERALS)}\r\n`, big)?.[1]), /NO "Unknown.*\r\n$/)
    assert.equal(kind(last(`X {${MANAGESIEVE_LITERALS + 1}+}\r\n`, big)), 'close CLIENT_PROTOCOL')
    assert.equal(kind(last(`X {9+}\r\nxxxxxxxxx {${MANAGESIEVE_LITERALS - 8}+}\r\n`, big)), 'close CLIENT_PROTOCOL')
    assert.equal(kind(last('X {99999999999999999999+}\r\n', big)), 'close CLIENT_PROTOCOL')
    const small = listener({ buffer: 1_000 })
    const room = 1_000 - 'X {900+}\r\n'.length
    assert.equal(kind(last(`X {${room}+}\r\n`, small)), 'write')
    assert.equal(kind(last(`X {${room + 1}+}\r\n`, small)), 'close CLIENT_PROTOCOL')
  })

  test('the echo of a tag cannot be made to look like another answer', () => {
    const tag = '") "x"\r\nOK "free"\r\n'
    const answer = String(last(`NOOP {${tag.length}+}\r\n${tag}\r\n`)?.[1])
    assert.ok(answer.endsWith(`OK (TAG {${tag.length}}\r\n${tag}) "Done"\r\n`))
  })
})

describe('a hostile ManageSieve backend', () => {
  backendAttacks({
    protocol: managesieve,
    options: OPTIONS,
    login: passwordLogin('joe', 'secret', {}),
    before: ['"SASL" "PLAIN"\r\n"STARTTLS"\r\nOK\r\n'],
    goAhead: 'OK "go"\r\n',
    written: 'STARTTLS\r\n',
    behind: ['"SASL" "PLAIN"\r\nOK\r\n', 'x', '\r\n'],
    early: '"SASL" "PLAIN"\r\nOK\r\nOK "in"\r\n',
    rudeGreeting: `BYE {520}\r\n\u001b[31m\r\n${'x'.repeat(513)}\r\n`,
  })
})
