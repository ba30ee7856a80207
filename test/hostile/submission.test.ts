/** What an attacker tries against the submission dialogues, on either leg. Bounds are tried at N and N + 1. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { HELO_NAME, SMTP_LINE } from '../../src/limits.ts'
import { submission } from '../../src/protocol/submission/submission.ts'
import { passwordLogin } from '../protocol/imap/profile.ts'
import { FACTS, OPTIONS, listener } from '../protocol/submission/profile.ts'
import { backendAttacks, clientAttacks, last } from './dialogue-attacks.ts'

describe('a hostile submission client', () => {
  clientAttacks({
    listener,
    startTls: 'STARTTLS\r\n',
    behind: ['EHLO evil\r\nAUTH PLAIN AGoAeA==\r\n', 'E', '\r\n'],
    injected: '421 4.7.0 Unexpected data behind STARTTLS\r\n',
    line: (size) => `NOOP ${'y'.repeat(size - 5)}`,
    lineLimit: SMTP_LINE,
    hello: 'EHLO me\r\n',
    auth: (mechanism, message) => `AUTH ${mechanism}${message === undefined ? '' : ` ${message}`}\r\n`,
    message: [(text) => text],
  })

  test('what a client calls itself has N bytes and no more', () => {
    const greeted = (size: number): string => Buffer.from(String(last(`EHLO ${'x'.repeat(size)}\r\n`, listener())?.[1])).toString()
    assert.match(greeted(HELO_NAME), /^250-/m)
    assert.match(greeted(HELO_NAME + 1), /501 5\.5\.4/)
    assert.doesNotMatch(greeted(HELO_NAME + 1), /^250-/m)
  })
})

describe('a hostile submission backend', () => {
  backendAttacks({
    protocol: submission,
    options: OPTIONS,
    login: passwordLogin('joe', 'secret', FACTS),
    before: ['220 x\r\n', '250-x\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n'],
    goAhead: '220 go\r\n',
    written: 'EHLO me\r\nSTARTTLS\r\n',
    behind: ['250-x\r\n250 AUTH PLAIN\r\n', 'x', '\r\n'],
    early: '220 x\r\n250-x\r\n250 AUTH PLAIN\r\n235 in\r\n',
    rudeGreeting: `554 \u001b[31m\r${'x'.repeat(500)}\r\n`,
  })
})
