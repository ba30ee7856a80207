/** What an attacker tries against the submission dialogues, on either leg. Bounds are tried at N and N + 1. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { HELO_NAME, PIPELINED_BEHIND_LOGIN, PREAUTH_COMMANDS, SASL_LINE, SMTP_LINE } from '../../src/limits.ts'
import { submission } from '../../src/protocol/submission/submission.ts'
import { base64, passwordLogin } from '../protocol/imap/profile.ts'
import { type Call, cutAt, runBackend, runPreauth } from '../protocol/recorder.ts'
import { FACTS, OPTIONS, listener } from '../protocol/submission/profile.ts'

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

describe('a hostile submission client', () => {
  test('commands behind STARTTLS are thrown away with the connection', () => {
    const injected = ['close', '421 4.7.0 Unexpected data behind STARTTLS\r\n', 'CLIENT_PROTOCOL']
    for (const behind of ['EHLO evil\r\nAUTH PLAIN AGoAeA==\r\n', 'E', '\r\n']) {
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
    const line = (size: number): string => `NOOP ${'y'.repeat(size - 5)}`
    for (const end of ['\r\n', '\n']) {
      assert.equal(kind(last(line(SMTP_LINE) + end)), 'write')
      assert.equal(kind(last(line(SMTP_LINE + 1) + end)), 'close CLIENT_PROTOCOL')
    }
    assert.equal(kind(last(line(SMTP_LINE + 2))), 'close CLIENT_PROTOCOL')
    const small = listener({ buffer: 200 })
    assert.equal(kind(last(`${line(200)}\r\n`, small)), 'write')
    assert.equal(kind(last(`${line(201)}\r\n`, small)), 'close CLIENT_PROTOCOL')
  })

  test('what a client calls itself has N bytes and no more', () => {
    const greeted = (size: number): string => Buffer.from(String(last(`EHLO ${'x'.repeat(size)}\r\n`)?.[1])).toString()
    assert.match(greeted(HELO_NAME), /^250-/m)
    assert.match(greeted(HELO_NAME + 1), /501 5\.5\.4/)
    assert.doesNotMatch(greeted(HELO_NAME + 1), /^250-/m)
  })

  test('a SASL message of N bytes is read, one of N + 1 is not', () => {
    const message = (size: number): string => base64(`\0joe\0${'x'.repeat((size / 4) * 3 - 5)}`)
    assert.equal(message(SASL_LINE).length, SASL_LINE)
    assert.equal(kind(last(`EHLO me\r\nAUTH PLAIN ${message(SASL_LINE)}\r\n`)), 'login')
    assert.equal(kind(last(`EHLO me\r\nAUTH PLAIN\r\n${message(SASL_LINE)}\r\n`)), 'login')
    assert.equal(kind(last(`EHLO me\r\nAUTH PLAIN ${message(SASL_LINE + 4)}\r\n`)), 'deny')
    assert.equal(kind(last(`EHLO me\r\nAUTH PLAIN\r\n${message(SASL_LINE + 4)}\r\n`)), 'close CLIENT_PROTOCOL')
    assert.equal(kind(last(`EHLO me\r\nAUTH PLAIN\r\n${'A'.repeat(SASL_LINE + 1)}\n`)), 'close CLIENT_PROTOCOL')
    assert.equal(kind(last(`EHLO me\r\nAUTH PLAIN ${'A'.repeat(SASL_LINE + 200)}\r\n`)), 'close CLIENT_PROTOCOL')
  })

  test('command N is answered, command N + 1 ends the connection', () => {
    assert.equal(kind(last('NOOP\r\n'.repeat(PREAUTH_COMMANDS))), 'write')
    assert.equal(kind(last('\r\n'.repeat(PREAUTH_COMMANDS))), 'write')
    assert.equal(kind(last('NOOP\r\n'.repeat(PREAUTH_COMMANDS + 1))), 'close CLIENT_PROTOCOL')
  })

  test('N bytes behind a login are kept, N + 1 end the connection', () => {
    const run = (size: number, buffer: number): ReturnType<typeof runPreauth> => {
      const bytes = Buffer.from(`EHLO me\r\nAUTH PLAIN ${base64('\0j\0x')}\r\n${'y'.repeat(size)}`)
      return runPreauth(listener({ buffer }), true, cutAt(bytes, [30, 4_000, 30_000]))
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
          `AUTH PLAIN ${base64(`\0${user}\0${password}`)}\r\n`,
          `AUTH LOGIN ${base64(user)}\r\n${base64(password)}\r\n`,
        ]) {
          assert.equal(kind(last(`EHLO me\r\n${input}`)), 'deny', JSON.stringify(input))
        }
      }
    }
  })
})

describe('a hostile submission backend', () => {
  const secure = { ...OPTIONS, startTls: true }
  const joe = passwordLogin('joe', 'secret', FACTS)
  const before = ['220 x\r\n', '250-x\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n'].map((text) => [Buffer.from(text)])

  test('responses behind the go-ahead to STARTTLS are injection', () => {
    for (const behind of ['250-x\r\n250 AUTH PLAIN\r\n', 'x', '\r\n']) {
      const { calls } = runBackend(submission, secure, [...before, [Buffer.from(`220 go\r\n${behind}`)]], joe)
      assert.deepEqual(calls, [['write', 'EHLO me\r\nSTARTTLS\r\n'], ['trouble', 'BACKEND_INJECTION']])
    }
  })

  test('plaintext that comes a packet later is injection too', () => {
    const calls: string[] = []
    const dialogue = submission.backend(
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
    for (const text of [...before.flat().map(String), '220 go\r\n', '250 AUTH PLAIN\r\n']) dialogue.receive(Buffer.from(text))
    assert.deepEqual(calls, ['startTls', 'BACKEND_INJECTION'])
  })

  test('an answer that was sent before the login is no answer', () => {
    const { calls } = runBackend(submission, OPTIONS, [[Buffer.from('220 x\r\n250-x\r\n250 AUTH PLAIN\r\n235 in\r\n')]], joe)
    assert.deepEqual(calls.slice(1), [['announced'], ['trouble', 'BACKEND_PROTOCOL']])
  })

  test('what is in an error of the greeting cannot break a log line', () => {
    let message = ''
    const port = { write() {}, startTls() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {} }
    const dialogue = submission.backend({ ...port, trouble: (error) => { message = error.message } }, OPTIONS)
    dialogue.receive(Buffer.from(`554 \u001b[31m\r${'x'.repeat(500)}\r\n`))
    assert.match(message, /^[\x20-\x7e]+$/)
    assert.ok(message.length < 200)
  })
})
