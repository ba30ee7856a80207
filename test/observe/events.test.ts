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

/** Where source code (without comments) names an event or calls a logger: `event: '…'` in an object, `log.warn(…)`. */
function writesInline(source: string): string[] {
  const named = source.matchAll(/[{,]\s*event: ?['"`]\w+/g)
  const called = source.matchAll(/\b[lL]og(?:ger)?(?:\.(?:trace|debug|info|warn|error|fatal)|\[\w+\])\(/g)
  return [...named, ...called].map(([found]) => found)
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

  test("docs/log.md gives every event's level and fields in the event's own row, and has no row for an event that doesn't exist", async () => {
    const docs = await readFile(new URL('docs/log.md', root), 'utf8')
    const rows = new Map([...docs.matchAll(/^\| `(\w+)` \| ((?:trace|debug|info|warn|error|fatal)\b.*)$/gm)].map(([, event = '', row = '']) => [event, row]))
    const source = (await readFile(new URL('src/observe/events.ts', root), 'utf8')).replace(/\/\*\*[^]*?\*\//g, '')
    const wrong: string[] = []
    const written = [...source.matchAll(/log(?:\.(\w+)|\[[^\]]+\])\(\{ event: '(\w+)'/g)]
    assert.ok(written.length > 30, 'the pattern finds the events')
    for (const [, level, event = ''] of written) {
      if (level !== undefined && rows.get(event)?.startsWith(`${level} `) !== true) wrong.push(`${event}: ${level}`)
    }
    const withFields = [...source.matchAll(/fields: \{([^}]*)\},?\s*\): void \{\s*log[^{]*\{ event: '(\w+)'/g)]
    assert.ok(withFields.length > 20, 'the pattern finds the fields')
    for (const [, fields = '', event = ''] of withFields) {
      for (const [, field] of fields.matchAll(/(\w+)\??: /g)) {
        if (rows.get(event)?.includes(`\`${field}\``) !== true) wrong.push(`${event}: ${field}`)
      }
    }
    // `audit` and `log_dropped` are written elsewhere in src/observe.
    const known = new Set([...written.map(([, , event]) => event), 'audit', 'log_dropped'])
    assert.deepEqual([...wrong, ...[...rows.keys()].filter((event) => !known.has(event))], [])
  })

  test('no file but those of src/observe gives an event its name or writes a line by itself', async () => {
    const inline: string[] = []
    for (const file of await readdir(new URL('src', root), { recursive: true })) {
      if (!file.endsWith('.ts') || file.startsWith('observe/')) continue
      const source = (await readFile(new URL(`src/${file}`, root), 'utf8')).replace(/\/\*\*[^]*?\*\/|^\s*\/\/.*$/gm, '')
      inline.push(...writesInline(source).map((found) => `src/${file}: ${found}`))
    }
    assert.deepEqual(inline, [])
  })

  test('the search for inline events finds what it is for', () => {
    for (const source of [
      "log.warn({ event: 'x' }, 'y')",
      "this.#log.info(\n  {\n    event: 'ready',\n  })",
      'log.logger.fatal({ event: `x` })',
      "log[level]({ event: \"x\", a })",
      "this.#options.log.debug(fields, 'sentence')",
      "logger.error('sentence')",
    ]) {
      assert.equal(writesInline(source).length > 0, true, source)
    }
    assert.deepEqual(writesInline("on(event: 'messageBuffer', listener: () => void): unknown\nevents.loginAccepted(log, { a })"), [])
  })

  test('docs/log.md names every change of the management API, and no other', async () => {
    const docs = await readFile(new URL('docs/log.md', root), 'utf8')
    const row = /^\| `change` \|(.*)\|$/m.exec(docs)?.[1] ?? ''
    const documented = [...row.matchAll(/`(\w+)`/g)].map(([, change = '']) => change)
    assert.deepEqual(new Set(documented), new Set(routes.flatMap(({ change }) => change ?? [])))
  })
})
