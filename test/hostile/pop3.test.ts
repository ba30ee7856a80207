/** What an attacker tries against the POP3 dialogues, on either leg. Bounds are tried at N and N + 1. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { POP3_LINE } from '../../src/limits.ts'
import { pop3 } from '../../src/protocol/pop3/pop3.ts'
import { passwordLogin } from '../protocol/imap/profile.ts'
import { OPTIONS, listener } from '../protocol/pop3/profile.ts'
import { runPreauth } from '../protocol/recorder.ts'
import { backendAttacks, clientAttacks, kind, last } from './dialogue-attacks.ts'

describe('a hostile POP3 client', () => {
  clientAttacks({
    listener,
    startTls: 'STLS\r\n',
    behind: ['USER joe\r\nPASS secret\r\n', 'U', '\r\n'],
    injected: '-ERR Unexpected data behind STLS\r\n',
    line: (size) => `NOOP ${'y'.repeat(size - 5)}`,
    lineLimit: POP3_LINE,
    hello: '',
    auth: (mechanism, message) => `AUTH ${mechanism}${message === undefined ? '' : ` ${message}`}\r\n`,
    message: [(text) => text],
  })

  test('CR and NUL in USER and PASS make no login, and a bare LF ends the line', () => {
    for (const byte of ['\r', '\0']) {
      for (const [user, password] of [[`jo${byte}e`, 'pw'], ['joe', `p${byte}w`]] as const) {
        assert.equal(kind(last(`USER ${user}\r\nPASS ${password}\r\n`, listener())), 'deny', JSON.stringify([user, password]))
      }
    }
    const { calls } = runPreauth(listener(), true, [Buffer.from('USER joe\nQUIT\r\n')])
    assert.equal(calls.some(([name]) => name === 'login'), false)
  })

  test('a name is good for the very next command only, and a password needs one', () => {
    assert.equal(kind(last('USER joe\r\nAPOP x y\r\nPASS pw\r\n', listener())), 'write')
    assert.equal(kind(last('PASS pw\r\n', listener())), 'write')
  })
})

describe('a hostile POP3 backend', () => {
  backendAttacks({
    protocol: pop3,
    options: OPTIONS,
    login: passwordLogin('joe', 'secret', {}),
    before: ['+OK x\r\n', '+OK\r\nSASL PLAIN\r\nSTLS\r\n.\r\n'],
    goAhead: '+OK go\r\n',
    written: 'CAPA\r\nSTLS\r\n',
    behind: ['+OK\r\nSASL PLAIN\r\n.\r\n', 'x', '\r\n'],
    early: '+OK x\r\n+OK\r\nSASL PLAIN\r\n.\r\n+OK in\r\n',
    rudeGreeting: `-ERR \u001b[31m\r${'x'.repeat(300)}\r\n`,
  })
})
