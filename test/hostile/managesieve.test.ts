/** What an attacker tries against the ManageSieve dialogues, on either leg. Bounds are tried at N and N + 1. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { MANAGESIEVE_LINE, MANAGESIEVE_LITERALS, PIPELINED_BEHIND_LOGIN, PREAUTH_COMMANDS, SASL_LINE } from '../../src/limits.ts'
import { managesieve } from '../../src/protocol/managesieve/managesieve.ts'
import { base64, passwordLogin } from '../protocol/imap/profile.ts'
import { OPTIONS, listener } from '../protocol/managesieve/profile.ts'
import { type Call, cutAt, runBackend, runPreauth } from '../protocol/recorder.ts'

/** The last thing that happens to a client that sends `text`, whole or in pieces. */
function last(text: string, factory = listener()): Call | undefined {
  const bytes = Buffer.from(text, 'latin1')
  const whole = runPreauth(factory, true, [bytes]).calls.at(-1)
  const cut = runPreauth(factory, true, cutAt(bytes, [1, bytes.length - 1, bytes.length - 2, 100, 5_000, 9_000])).calls.at(-1)
  assert.deepEqual(cut, whole)
  return whole
}

function kind(call: Call | undefined): string {
  return call?.[0] === 'close' ? `close ${String(call[2])}` : String(call?.[0])
}

describe('a hostile ManageSieve client', () => {
  test('commands behind STARTTLS are thrown away with the connection', () => {
    const injected = ['close', 'BYE "Unexpected data behind STARTTLS"\r\n', 'CLIENT_PROTOCOL']
    for (const behind of ['AUTHENTICATE "PLAIN" "AGoAeA=="\r\n', 'A', '\r\n']) {
      const bytes = Buffer.from(`STARTTLS\r\n${behind}`)
      const whole = runPreauth(listener({ tls: 'starttls' }), false, [bytes])
      assert.deepEqual(whole.calls.slice(1), [injected])
      const run = runPreauth(listener({ tls: 'starttls' }), false, [])
      run.dialogue.receive(bytes.subarray(0, 10))
      run.dialogue.receive(bytes.subarray(10))
      assert.deepEqual(run.calls.slice(1), [['startTls'], injected])
      assert.equal(run.dialogue.held, 0)
    }
  })

  test('a line of N bytes is read, one of N + 1 ends the connection, finished or not', () => {
    const line = (size: number): string => `NOOP "${'y'.repeat(size - 7)}"`
    for (const end of ['\r\n', '\n']) {
      assert.equal(kind(last(line(MANAGESIEVE_LINE) + end)), 'write')
      assert.equal(kind(last(line(MANAGESIEVE_LINE + 1) + end)), 'close CLIENT_PROTOCOL')
    }
    assert.equal(kind(last(line(MANAGESIEVE_LINE + 2))), 'close CLIENT_PROTOCOL')
    const small = listener({ buffer: 200 })
    assert.equal(kind(last(`${line(200)}\r\n`, small)), 'write')
    assert.equal(kind(last(`${line(201)}\r\n`, small)), 'close CLIENT_PROTOCOL')
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

  test('a SASL message of N bytes is read, one of N + 1 is not', () => {
    const message = (size: number): string => base64(`\0joe\0${'x'.repeat((size / 4) * 3 - 5)}`)
    const literal = (text: string): string => `{${text.length}+}\r\n${text}`
    assert.equal(message(SASL_LINE).length, SASL_LINE)
    for (const written of [(text: string): string => `"${text}"`, literal]) {
      assert.equal(kind(last(`AUTHENTICATE "PLAIN" ${written(message(SASL_LINE))}\r\n`)), 'login')
      assert.equal(kind(last(`AUTHENTICATE "PLAIN"\r\n${written(message(SASL_LINE))}\r\n`)), 'login')
      assert.equal(kind(last(`AUTHENTICATE "PLAIN" ${written(message(SASL_LINE + 4))}\r\n`)), 'deny')
      assert.equal(kind(last(`AUTHENTICATE "PLAIN"\r\n${written(message(SASL_LINE + 4))}\r\n`)), 'close CLIENT_PROTOCOL')
      assert.equal(kind(last(`AUTHENTICATE "PLAIN"\r\n${written('A'.repeat(SASL_LINE + 1))}\n`)), 'close CLIENT_PROTOCOL')
    }
    assert.equal(kind(last(`AUTHENTICATE "PLAIN" "${'A'.repeat(SASL_LINE + 200)}"\r\n`)), 'close CLIENT_PROTOCOL')
  })

  test('command N is answered, command N + 1 ends the connection', () => {
    assert.equal(kind(last('NOOP\r\n'.repeat(PREAUTH_COMMANDS))), 'write')
    assert.equal(kind(last('\r\n'.repeat(PREAUTH_COMMANDS))), 'write')
    assert.equal(kind(last('NOOP\r\n'.repeat(PREAUTH_COMMANDS + 1))), 'close CLIENT_PROTOCOL')
  })

  test('N bytes behind a login are kept, N + 1 end the connection', () => {
    const run = (size: number, buffer: number): ReturnType<typeof runPreauth> => {
      const bytes = Buffer.from(`AUTHENTICATE "PLAIN" "${base64('\0j\0x')}"\r\n${'y'.repeat(size)}`)
      return runPreauth(listener({ buffer }), true, cutAt(bytes, [40, 4_000, 30_000]))
    }
    const kept = run(PIPELINED_BEHIND_LOGIN, 1_000_000)
    assert.equal(kept.dialogue.accepted().length, PIPELINED_BEHIND_LOGIN)
    assert.equal(kind(run(PIPELINED_BEHIND_LOGIN + 1, 1_000_000).calls.at(-1)), 'close CLIENT_BUFFER')
    assert.equal(kind(run(5_000, 5_000).calls.at(-1)), 'login')
    assert.equal(kind(run(5_001, 5_000).calls.at(-1)), 'close CLIENT_BUFFER')
  })

  test('CR, LF and NUL in names and passwords make no login', () => {
    for (const byte of ['\r', '\n', '\0']) {
      for (const [user, password] of [[`jo${byte}e`, 'pw'], ['joe', `p${byte}w`]] as const) {
        for (const input of [
          `AUTHENTICATE "PLAIN" "${base64(`\0${user}\0${password}`)}"\r\n`,
          `AUTHENTICATE "LOGIN" "${base64(user)}"\r\n"${base64(password)}"\r\n`,
        ]) {
          assert.equal(kind(last(input)), 'deny', JSON.stringify(input))
        }
      }
    }
  })

  test('the echo of a tag cannot be made to look like another answer', () => {
    const tag = '") "x"\r\nOK "free"\r\n'
    const answer = String(last(`NOOP {${tag.length}+}\r\n${tag}\r\n`)?.[1])
    assert.ok(answer.endsWith(`OK (TAG {${tag.length}}\r\n${tag}) "Done"\r\n`))
  })
})

describe('a hostile ManageSieve backend', () => {
  const secure = { ...OPTIONS, startTls: true }
  const joe = passwordLogin('joe', 'secret', {})
  const greeting = [Buffer.from('"SASL" "PLAIN"\r\n"STARTTLS"\r\nOK\r\n')]

  test('responses behind the OK to STARTTLS are injection', () => {
    for (const behind of ['"SASL" "PLAIN"\r\nOK\r\n', 'x', '\r\n']) {
      const { calls } = runBackend(managesieve, secure, [greeting, [Buffer.from(`OK "go"\r\n${behind}`)]], joe)
      assert.deepEqual(calls, [['write', 'STARTTLS\r\n'], ['trouble', 'BACKEND_INJECTION']])
    }
  })

  test('plaintext that comes a packet later is injection too', () => {
    const calls: string[] = []
    const dialogue = managesieve.backend(
      {
        write() {},
        startTls: () => calls.push('startTls'),
        announced: () => calls.push('announced'),
        accepted: () => calls.push('accepted'),
        refused: () => calls.push('refused'),
        challenge: () => calls.push('challenge'),
        addressLost: () => calls.push('addressLost'),
        trouble: (error) => calls.push(error.code),
      },
      secure,
    )
    dialogue.start()
    for (const text of [...greeting.map(String), 'OK\r\n', '"SASL" "PLAIN"\r\nOK\r\n']) dialogue.receive(Buffer.from(text))
    assert.deepEqual(calls, ['startTls', 'BACKEND_INJECTION'])
  })

  test('an answer that was sent before the login is no answer', () => {
    const { calls } = runBackend(managesieve, OPTIONS, [[Buffer.from('"SASL" "PLAIN"\r\nOK\r\nOK "in"\r\n')]], joe)
    assert.deepEqual(calls, [['announced'], ['trouble', 'BACKEND_PROTOCOL']])
  })

  test('what is in an error of the greeting cannot break a log line', () => {
    let message = ''
    const port = { write() {}, startTls() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {} }
    const dialogue = managesieve.backend({ ...port, trouble: (error) => { message = error.message } }, OPTIONS)
    dialogue.receive(Buffer.from(`BYE {520}\r\n\u001b[31m\r\n${'x'.repeat(513)}\r\n`))
    assert.match(message, /^[\x20-\x7e]+$/)
    assert.ok(message.length < 200)
  })
})
