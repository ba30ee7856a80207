/** What an attacker tries against the IMAP dialogues, on either leg. Bounds are tried at N and N + 1. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  IMAP_LINE,
  IMAP_LITERALS,
  IMAP_LITERAL_MINUS,
  PIPELINED_BEHIND_LOGIN,
  PREAUTH_COMMANDS,
  SASL_LINE,
} from '../../src/limits.ts'
import { imap } from '../../src/protocol/imap/imap.ts'
import { SASL_MESSAGE } from '../../src/sasl/password.ts'
import { type Call, cutAt, runBackend, runPreauth } from '../protocol/recorder.ts'
import { OPTIONS, base64, listener, passwordLogin } from '../protocol/imap/profile.ts'

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

describe('a hostile IMAP client', () => {
  test('commands behind STARTTLS are thrown away with the connection', () => {
    const bytes = Buffer.from('a STARTTLS\r\nb LOGIN joe secret\r\n')
    const whole = runPreauth(listener({ tls: 'starttls' }), false, [bytes])
    assert.deepEqual(whole.calls.slice(1), [['close', '* BYE Unexpected data behind STARTTLS\r\n', 'CLIENT_PROTOCOL']])
    const run = runPreauth(listener({ tls: 'starttls' }), false, [])
    run.dialogue.receive(bytes.subarray(0, 12))
    run.dialogue.receive(bytes.subarray(12))
    assert.deepEqual(run.calls.slice(1), [
      ['startTls'],
      ['close', '* BYE Unexpected data behind STARTTLS\r\n', 'CLIENT_PROTOCOL'],
    ])
    assert.equal(run.dialogue.held, 0)
  })

  test('the beginning of a command behind STARTTLS is enough', () => {
    const { calls } = runPreauth(listener({ tls: 'starttls' }), false, [Buffer.from('a STARTTLS\r\nb')])
    assert.equal(kind(calls.at(-1)), 'close CLIENT_PROTOCOL')
  })

  test('a line of N bytes is read, one of N + 1 ends the connection, finished or not', () => {
    const line = (size: number): string => `a X ${'y'.repeat(size - 4)}`
    for (const end of ['\r\n', '\n']) {
      assert.equal(kind(last(line(IMAP_LINE) + end)), 'write')
      assert.equal(kind(last(line(IMAP_LINE + 1) + end)), 'close CLIENT_PROTOCOL')
    }
    assert.equal(kind(last(line(IMAP_LINE + 2))), 'close CLIENT_PROTOCOL')
  })

  test('lines around literals count together', () => {
    const command = (size: number): string => `a ID ({1+}\r\nx "${'y'.repeat(size - 14)}")`
    assert.equal(kind(last(`${command(IMAP_LINE)}\r\n`)), 'write')
    assert.equal(kind(last(`${command(IMAP_LINE + 1)}\r\n`)), 'close CLIENT_PROTOCOL')
  })

  test('non-synchronising literals: 4096 with LITERAL-, the sum with LITERAL+', () => {
    const literal = (size: number): string => `a LOGIN joe {${size}+}\r\n${'x'.repeat(size)}\r\n`
    assert.equal(kind(last(literal(IMAP_LITERAL_MINUS))), 'login')
    assert.equal(kind(last(literal(IMAP_LITERAL_MINUS + 1))), 'close CLIENT_PROTOCOL')
    const plus = listener({ buffer: 100_000, imap: { advertise: ['IMAP4rev1', 'LITERAL+'] } })
    assert.equal(kind(last(literal(SASL_MESSAGE - 'joe'.length - 2), plus)), 'login')
    assert.equal(kind(last(literal(SASL_MESSAGE - 'joe'.length - 1), plus)), 'deny')
    assert.equal(kind(last(literal(IMAP_LITERALS), plus)), 'deny')
    assert.equal(kind(last(literal(IMAP_LITERALS + 1), plus)), 'close CLIENT_PROTOCOL')
    assert.equal(kind(last('a LOGIN {99999999999999999999+}\r\n', plus)), 'close CLIENT_PROTOCOL')
  })

  test('synchronising literals are bounded by their sum and by the buffer, politely', () => {
    const big = listener({ buffer: 100_000 })
    assert.match(String(last(`a LOGIN {${IMAP_LITERALS}}\r\n`, big)?.[1]), /\+ OK\r\n$/)
    assert.match(String(last(`a LOGIN {${IMAP_LITERALS + 1}}\r\n`, big)?.[1]), /a BAD \[TOOBIG\]/)
    assert.match(String(last(`a LOGIN {9}\r\nxxxxxxxxx {${IMAP_LITERALS - 8}}\r\n`, big)?.[1]), /a BAD \[TOOBIG\]/)
    const small = listener({ buffer: 1_000 })
    const room = 1_000 - 'a LOGIN {900}\r\n'.length
    assert.match(String(last(`a LOGIN {${room}}\r\n`, small)?.[1]), /\+ OK/)
    assert.match(String(last(`a LOGIN {${room + 1}}\r\n`, small)?.[1]), /a BAD \[TOOBIG\]/)
  })

  test('a SASL message of N bytes is read, one of N + 1 is not', () => {
    const message = (size: number): string => base64(`\0joe\0${'x'.repeat((size / 4) * 3 - 5)}`)
    assert.equal(message(SASL_LINE).length, SASL_LINE)
    assert.equal(kind(last(`a AUTHENTICATE PLAIN ${message(SASL_LINE)}\r\n`)), 'login')
    assert.equal(kind(last(`a AUTHENTICATE PLAIN\r\n${message(SASL_LINE)}\r\n`)), 'login')
    assert.equal(kind(last(`a AUTHENTICATE PLAIN ${message(SASL_LINE + 4)}\r\n`)), 'deny')
    assert.equal(kind(last(`a AUTHENTICATE PLAIN\r\n${message(SASL_LINE + 4)}\r\n`)), 'close CLIENT_PROTOCOL')
    assert.equal(kind(last(`a AUTHENTICATE PLAIN\r\n${'A'.repeat(SASL_LINE + 1)}\n`)), 'close CLIENT_PROTOCOL')
    assert.equal(kind(last(`a AUTHENTICATE PLAIN ${'A'.repeat(SASL_LINE + 200)}\r\n`)), 'close CLIENT_PROTOCOL')
  })

  test('command N is answered, command N + 1 ends the connection', () => {
    assert.equal(kind(last('a NOOP\r\n'.repeat(PREAUTH_COMMANDS))), 'write')
    assert.equal(kind(last('\r\n'.repeat(PREAUTH_COMMANDS))), 'write')
    assert.equal(kind(last('a NOOP\r\n'.repeat(PREAUTH_COMMANDS + 1))), 'close CLIENT_PROTOCOL')
    assert.equal(kind(last('a NOOP {1}\r\n'.repeat(PREAUTH_COMMANDS + 1))), 'close CLIENT_PROTOCOL')
  })

  test('N bytes behind a login are kept, N + 1 end the connection', () => {
    const run = (size: number, buffer: number): ReturnType<typeof runPreauth> => {
      const bytes = Buffer.from(`a LOGIN joe x\r\n${'y'.repeat(size)}`)
      return runPreauth(listener({ buffer }), true, cutAt(bytes, [15, 4_000, 30_000]))
    }
    const kept = run(PIPELINED_BEHIND_LOGIN, 1_000_000)
    assert.equal(kept.dialogue.accepted().length, PIPELINED_BEHIND_LOGIN)
    assert.equal(kind(run(PIPELINED_BEHIND_LOGIN + 1, 1_000_000).calls.at(-1)), 'close CLIENT_BUFFER')
    assert.equal(kind(run(5_000, 5_000).calls.at(-1)), 'login')
    assert.equal(kind(run(5_001, 5_000).calls.at(-1)), 'close CLIENT_BUFFER')
  })

  test('a login that succeeds for a client that was sent away meanwhile hands nothing over', () => {
    const { calls, dialogue } = runPreauth(listener({ buffer: 1_000 }), true, [Buffer.from(`a LOGIN joe x\r\n${'y'.repeat(1_001)}`)])
    assert.equal(kind(calls.at(-1)), 'close CLIENT_BUFFER')
    assert.throws(() => dialogue.accepted(), { code: 'CLIENT_CLOSED' })
    const before = calls.length
    dialogue.refused({ text: undefined })
    dialogue.unavailable()
    dialogue.challenge(Buffer.alloc(0))
    dialogue.resume()
    dialogue.receive(Buffer.from('b NOOP\r\n'))
    assert.equal(calls.length, before)
  })

  test('a line above a small pre-auth buffer ends the connection', () => {
    const small = listener({ buffer: 200 })
    assert.equal(kind(last(`a X ${'y'.repeat(196)}\r\n`, small)), 'write')
    assert.equal(kind(last(`a X ${'y'.repeat(197)}\r\n`, small)), 'close CLIENT_PROTOCOL')
  })

  test('CR, LF and NUL in names and passwords make no login', () => {
    for (const byte of ['\r', '\n', '\0']) {
      for (const [user, password] of [[`jo${byte}e`, 'pw'], ['joe', `p${byte}w`]] as const) {
        for (const input of [
          `a LOGIN {${user.length}+}\r\n${user} {${password.length}+}\r\n${password}\r\n`,
          `a AUTHENTICATE PLAIN ${base64(`\0${user}\0${password}`)}\r\n`,
          `a AUTHENTICATE LOGIN ${base64(user)}\r\n${base64(password)}\r\n`,
        ]) {
          assert.equal(kind(last(input)), 'deny', JSON.stringify(input))
        }
      }
      assert.equal(kind(last(`a LOGIN "jo${byte}e" "x"\r\n`)) === 'login', false)
    }
  })

  test('a backend\'s words that hold an end of line cannot come through', () => {
    const turns = [
      [Buffer.from('* OK [CAPABILITY AUTH=PLAIN SASL-IR] x\r\n')],
      [Buffer.from('S4 NO a\rb\0c\r\n')],
    ]
    assert.deepEqual(runBackend(imap, OPTIONS, turns, passwordLogin('joe', 'x')).calls.at(-1), ['refused', 'NO a b c', false])
  })
})

describe('a hostile IMAP backend', () => {
  const secure = { ...OPTIONS, startTls: true }
  const joe = passwordLogin('joe', 'secret')
  const greeting = [Buffer.from('* OK [CAPABILITY STARTTLS AUTH=PLAIN] x\r\n')]

  test('responses behind the OK to STARTTLS are injection', () => {
    for (const behind of ['* CAPABILITY AUTH=PLAIN\r\nS2 OK\r\n', 'x', '\r\n']) {
      const { calls } = runBackend(imap, secure, [greeting, [Buffer.from(`S1 OK go\r\n${behind}`)]], joe)
      assert.deepEqual(calls, [['write', 'S1 STARTTLS\r\n'], ['trouble', 'BACKEND_INJECTION']])
    }
  })

  test('plaintext that comes a packet later is injection too', () => {
    const calls: string[] = []
    const dialogue = imap.backend(
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
    for (const text of [greeting[0]?.toString() ?? '', 'S1 OK go\r\n', '* CAPABILITY AUTH=PLAIN\r\n']) dialogue.receive(Buffer.from(text))
    assert.deepEqual(calls, ['startTls', 'BACKEND_INJECTION'])
  })

  test('a PREAUTH greeting never leads to a login, with STARTTLS or without', () => {
    for (const options of [OPTIONS, secure]) {
      const { calls } = runBackend(imap, options, [[Buffer.from('* PREAUTH [CAPABILITY STARTTLS AUTH=PLAIN] x\r\n')]], joe)
      assert.deepEqual(calls, [['trouble', 'BACKEND_GREETING']])
    }
  })

  test('an answer that was sent before the login is no answer', () => {
    const { calls } = runBackend(imap, OPTIONS, [[Buffer.from('* OK [CAPABILITY AUTH=PLAIN] x\r\nS4 OK in\r\n')]], joe)
    assert.deepEqual(calls[0], ['announced'])
    assert.deepEqual(calls[1], ['trouble', 'BACKEND_PROTOCOL'])
  })

  test('what is in an error of the greeting cannot break a log line', () => {
    let message = ''
    const port = { write() {}, startTls() {}, announced() {}, accepted() {}, refused() {}, challenge() {}, addressLost() {} }
    const dialogue = imap.backend({ ...port, trouble: (error) => { message = error.message } }, OPTIONS)
    dialogue.receive(Buffer.from(`* BYE \u001b[31m\r${'x'.repeat(500)}\r\n`))
    assert.match(message, /^[\x20-\x7e]+$/)
    assert.ok(message.length < 200)
  })

  test('names and passwords stay inside their strings and literals', () => {
    const turns = [[Buffer.from('* OK [CAPABILITY IMAP4rev1] x\r\n')], [Buffer.from('+ \r\n')]]
    const { calls } = runBackend(imap, OPTIONS, turns, passwordLogin('joe" "x', 'a\r\nS9 LOGOUT\r\n'))
    assert.deepEqual(calls.at(-1), ['write', 'S4 LOGIN "joe\\" \\"x" {14}\r\na\r\nS9 LOGOUT\r\n\r\n'])
  })
})
