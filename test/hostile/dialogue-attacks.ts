/**
 * The attacks that every line-based dialogue is told to withstand, as tests over its state machines: a protocol says how it
 * words them, and adds those that only it has. Bounds are tried at N and N + 1.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PIPELINED_BEHIND_LOGIN, PREAUTH_COMMANDS, SASL_LINE } from '../../src/limits.ts'
import type { BackendOptions, Login, LoginProtocol, PreauthFactory } from '../../src/protocol/protocol.ts'
import { base64 } from '../protocol/imap/profile.ts'
import { type Call, cutAt, runBackend, runPreauth } from '../protocol/recorder.ts'

/** How a protocol's client words what is tried. */
export interface ClientAttacks {
  readonly listener: (wishes?: { readonly tls?: 'starttls'; readonly buffer?: number }) => PreauthFactory
  readonly startTls: string
  /** What comes behind it: whole commands, a beginning, nothing but a line end. */
  readonly behind: readonly string[]
  readonly injected: string
  /** A command line of that many bytes without its line end. */
  readonly line: (size: number) => string
  readonly lineLimit: number
  /** Needed before a login. */
  readonly hello: string
  /** AUTH with an initial response, and without. */
  readonly auth: (mechanism: string, message?: string) => string
  /** A message as it stands on a line of its own, in every way there is. */
  readonly message: readonly ((text: string) => string)[]
}

/** The last thing that happens to a client that sends `text`, whole or in pieces. */
export function last(text: string, factory: PreauthFactory): Call | undefined {
  const bytes = Buffer.from(text, 'latin1')
  const whole = runPreauth(factory, true, [bytes]).calls.at(-1)
  const cut = runPreauth(factory, true, cutAt(bytes, [1, bytes.length - 1, bytes.length - 2, 100, 5_000, 9_000])).calls.at(-1)
  assert.deepEqual(cut, whole)
  return whole
}

export function kind(call: Call | undefined): string {
  return call?.[0] === 'close' ? `close ${String(call[2])}` : String(call?.[0])
}

export function clientAttacks({ listener, startTls, behind, injected, line, lineLimit, hello, auth, message }: ClientAttacks): void {
  const outcome = (text: string, factory = listener()): string => kind(last(text, factory))

  test('commands behind STARTTLS are thrown away with the connection', () => {
    const closed = ['close', injected, 'CLIENT_PROTOCOL']
    for (const more of behind) {
      const bytes = Buffer.from(`${startTls}${more}`)
      const whole = runPreauth(listener({ tls: 'starttls' }), false, [bytes])
      assert.deepEqual(whole.calls.slice(1), [closed])
      const run = runPreauth(listener({ tls: 'starttls' }), false, [])
      run.dialogue.receive(bytes.subarray(0, startTls.length))
      run.dialogue.receive(bytes.subarray(startTls.length))
      assert.deepEqual(run.calls.slice(1), [['startTls'], closed])
      assert.equal(run.dialogue.held, 0)
    }
  })

  test('a line of N bytes is read, one of N + 1 ends the connection, finished or not', () => {
    for (const end of ['\r\n', '\n']) {
      assert.equal(outcome(line(lineLimit) + end), 'write')
      assert.equal(outcome(line(lineLimit + 1) + end), 'close CLIENT_PROTOCOL')
    }
    assert.equal(outcome(line(lineLimit + 2)), 'close CLIENT_PROTOCOL')
    const small = listener({ buffer: 200 })
    assert.equal(outcome(`${line(200)}\r\n`, small), 'write')
    assert.equal(outcome(`${line(201)}\r\n`, small), 'close CLIENT_PROTOCOL')
  })

  test('a SASL message of N bytes is read, one of N + 1 is not', () => {
    const sasl = (size: number): string => base64(`\0joe\0${'x'.repeat((size / 4) * 3 - 5)}`)
    assert.equal(sasl(SASL_LINE).length, SASL_LINE)
    assert.equal(outcome(`${hello}${auth('PLAIN', sasl(SASL_LINE))}`), 'login')
    assert.equal(outcome(`${hello}${auth('PLAIN', sasl(SASL_LINE + 4))}`), 'deny')
    assert.equal(outcome(`${hello}${auth('PLAIN', 'A'.repeat(SASL_LINE + 200))}`), 'close CLIENT_PROTOCOL')
    for (const written of message) {
      assert.equal(outcome(`${hello}${auth('PLAIN')}${written(sasl(SASL_LINE))}\r\n`), 'login')
      assert.equal(outcome(`${hello}${auth('PLAIN')}${written(sasl(SASL_LINE + 4))}\r\n`), 'close CLIENT_PROTOCOL')
      assert.equal(outcome(`${hello}${auth('PLAIN')}${written('A'.repeat(SASL_LINE + 1))}\n`), 'close CLIENT_PROTOCOL')
    }
  })

  test('command N is answered, command N + 1 ends the connection', () => {
    assert.equal(outcome('NOOP\r\n'.repeat(PREAUTH_COMMANDS)), 'write')
    assert.equal(outcome('\r\n'.repeat(PREAUTH_COMMANDS)), 'write')
    assert.equal(outcome('NOOP\r\n'.repeat(PREAUTH_COMMANDS + 1)), 'close CLIENT_PROTOCOL')
  })

  test('N bytes behind a login are kept, N + 1 end the connection', () => {
    const run = (size: number, buffer: number): ReturnType<typeof runPreauth> => {
      const bytes = Buffer.from(`${hello}${auth('PLAIN', base64('\0j\0x'))}${'y'.repeat(size)}`)
      return runPreauth(listener({ buffer }), true, cutAt(bytes, [10, 4_000, 30_000]))
    }
    const kept = run(PIPELINED_BEHIND_LOGIN, 1_000_000)
    assert.equal(kept.dialogue.accepted().length, PIPELINED_BEHIND_LOGIN)
    assert.equal(kind(run(PIPELINED_BEHIND_LOGIN + 1, 1_000_000).calls.at(-1)), 'close CLIENT_BUFFER')
    assert.equal(kind(run(5_000, 5_000).calls.at(-1)), 'login')
    assert.equal(kind(run(5_001, 5_000).calls.at(-1)), 'close CLIENT_BUFFER')
  })

  test('CR, LF and NUL in names and passwords make no login', () => {
    const [written = (text: string) => text] = message
    for (const byte of ['\r', '\n', '\0']) {
      for (const [user, password] of [[`jo${byte}e`, 'pw'], ['joe', `p${byte}w`]] as const) {
        for (const input of [auth('PLAIN', base64(`\0${user}\0${password}`)), `${auth('LOGIN', base64(user))}${written(base64(password))}\r\n`]) {
          assert.equal(outcome(`${hello}${input}`), 'deny', JSON.stringify(input))
        }
      }
    }
  })
}

/** How a protocol's backend words what is tried. */
export interface BackendAttacks {
  readonly protocol: LoginProtocol
  readonly options: BackendOptions
  readonly login: Login
  /** What it says, answer by answer, up to the go-ahead to STARTTLS. */
  readonly before: readonly string[]
  readonly goAhead: string
  /** What is written until then. */
  readonly written: string
  /** What comes behind the go-ahead. */
  readonly behind: readonly string[]
  /** Everything up to the login, and an answer to it, in one packet. */
  readonly early: string
  /** A refusing greeting with what would break a log line. */
  readonly rudeGreeting: string
}

export function backendAttacks({ protocol, options, login, before, goAhead, written, behind, early, rudeGreeting }: BackendAttacks): void {
  const secure = { ...options, startTls: true }

  test('responses behind the go-ahead to STARTTLS are injection', () => {
    for (const more of behind) {
      const { calls } = runBackend(protocol, secure, [...before, `${goAhead}${more}`].map((text) => [Buffer.from(text)]), login)
      assert.deepEqual(calls, [['write', written], ['trouble', 'BACKEND_INJECTION']])
    }
  })

  test('plaintext that comes a packet later is injection too', () => {
    const calls: string[] = []
    const port = { write() {}, startTls: () => calls.push('startTls'), ...noted(calls) }
    const dialogue = protocol.backend({ ...port, trouble: (error) => calls.push(error.code) }, secure)
    dialogue.start()
    for (const text of [...before, goAhead, behind[0] ?? '']) dialogue.receive(Buffer.from(text))
    assert.deepEqual(calls, ['startTls', 'BACKEND_INJECTION'])
  })

  test('an answer that was sent before the login is no answer', () => {
    const { calls } = runBackend(protocol, options, [[Buffer.from(early)]], login)
    assert.deepEqual(calls.filter(([name]) => name !== 'write'), [['announced'], ['trouble', 'BACKEND_PROTOCOL']])
  })

  test('what is in an error of the greeting cannot break a log line', () => {
    let message = ''
    const dialogue = protocol.backend({ write() {}, startTls() {}, ...noted([]), trouble: (error) => { message = error.message } }, options)
    dialogue.receive(Buffer.from(rudeGreeting))
    assert.match(message, /^[\x20-\x7e]+$/)
    assert.ok(message.length < 200)
  })
}

function noted(calls: string[]) {
  return {
    announced: () => void calls.push('announced'),
    accepted: () => void calls.push('accepted'),
    refused: () => void calls.push('refused'),
    challenge: () => void calls.push('challenge'),
    addressLost: () => void calls.push('addressLost'),
  }
}
