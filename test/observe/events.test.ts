import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { Writable } from 'node:stream'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import { SignalboxError } from '../../src/errors.ts'
import { routes } from '../../src/management/server.ts'
import * as events from '../../src/observe/events.ts'

const root = new URL('../../', import.meta.url)
const session = { session: 's1', listener: 'imaps', protocol: 'imap', client: '192.0.2.1' } as const

function recorder(level = 'trace'): { log: pino.Logger; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = []
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()))
      done()
    },
  })
  return { log: pino({ level, base: {}, timestamp: false, formatters: { level: (label) => ({ level: label }) } }, sink), lines }
}

describe('events in the log', () => {
  test('a refused login is one line with address and protocol, also when only warnings are written', () => {
    const { log, lines } = recorder('warn')
    events.loginRefused(log, { ...session, account: 'al*1', destination: 'new', reason: 'backend', attempt: 2 })
    assert.deepEqual(lines, [
      { level: 'warn', event: 'login_refused', ...session, account: 'al*1', destination: 'new', reason: 'backend', attempt: 2, msg: 'login refused' },
    ])
  })

  test('a login and the end of its session share what identifies them', () => {
    const { log, lines } = recorder()
    const about = { ...session, account: 'al*1', destination: 'new' }
    events.loginAccepted(log, { ...about, mechanism: 'PLAIN', seconds: 0.1 })
    events.sessionClosed(log, { ...about, bytes_in: 1, bytes_out: 2, seconds: 3.5, reason: 'client' })
    assert.deepEqual(lines, [
      { level: 'info', event: 'login', ...about, mechanism: 'PLAIN', seconds: 0.1, msg: 'login accepted' },
      { level: 'info', event: 'session_closed', ...about, bytes_in: 1, bytes_out: 2, seconds: 3.5, reason: 'client', msg: 'session closed' },
    ])
  })

  test('a login that could not be tried carries the code, and is no refusal', () => {
    const { log, lines } = recorder()
    events.loginUnavailable(log, { ...session, error: new SignalboxError('BACKEND_CONNECT', 'x') })
    assert.partialDeepStrictEqual(lines, [{ level: 'warn', event: 'login_unavailable', code: 'BACKEND_CONNECT' }])
  })

  test("a worker's end is an error only when nobody asked for it", () => {
    const { log, lines } = recorder()
    for (const expected of [true, false]) events.workerExited(log, { worker: 1, pid: 2, signal: 'SIGKILL', expected, sessions: 3 })
    assert.deepEqual(lines.map(({ level }) => level), ['info', 'error'])
  })

  test('docs/log.md names every event and every field of them', async () => {
    const docs = await readFile(new URL('docs/log.md', root), 'utf8')
    const missing: string[] = []
    for (const file of await readdir(new URL('src/observe', root))) {
      const source = (await readFile(new URL(`src/observe/${file}`, root), 'utf8')).replace(/\/\*\*[^]*?\*\//g, '')
      for (const [, event] of source.matchAll(/event: '(\w+)'/g)) if (!docs.includes(`| \`${event}\` |`)) missing.push(`${event}`)
      if (file !== 'events.ts') continue
      for (const [, field] of source.matchAll(/(?:readonly |[{;] )(\w+)\??: /g)) {
        if (field !== 'event' && !docs.includes(`\`${field}\``)) missing.push(`${field}`)
      }
    }
    assert.deepEqual(missing, [])
  })

  test('docs/log.md names every change of the management API, and no other', async () => {
    const docs = await readFile(new URL('docs/log.md', root), 'utf8')
    const row = /^\| `change` \|(.*)\|$/m.exec(docs)?.[1] ?? ''
    const documented = [...row.matchAll(/`(\w+)`/g)].map(([, change]) => change)
    assert.deepEqual(documented.toSorted(), routes.flatMap(({ change }) => change ?? []).toSorted())
  })
})
