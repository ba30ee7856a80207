import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { SignalboxError } from '../../src/errors.ts'
import { LOG_LINE } from '../../src/limits.ts'
import { systemClock } from '../../src/clock.ts'
import { createAudit } from '../../src/observe/audit.ts'
import { loginAccepted, loginAcceptedOften, sessionClosed, sessionClosedOften } from '../../src/observe/events.ts'
import { fitLine, showEscapes } from '../../src/observe/line.ts'
import { createLog } from '../../src/observe/log.ts'
import type { Log, LogOptions } from '../../src/observe/log.ts'
import { createRedactor } from '../../src/observe/redaction.ts'

function open(t: TestContext, options: Partial<LogOptions> = {}): { log: Log; written: () => Promise<string>; lines: () => Promise<Record<string, unknown>[]> } {
  const folder = mkdtempSync(join(tmpdir(), 'signalbox-log-'))
  const path = join(folder, 'log')
  const fd = openSync(path, 'a')
  t.after(() => {
    closeSync(fd)
    rmSync(folder, { recursive: true })
  })
  const log = createLog({ level: 'info', format: 'json', isTerminal: false, clock: systemClock, fd, ...options })
  const written = async (): Promise<string> => {
    await log.flush()
    return readFileSync(path, 'utf8')
  }
  return {
    log,
    written,
    lines: async () => (await written()).split('\n').filter((line) => line !== '').map((line) => JSON.parse(line)),
  }
}

describe('the log', () => {
  test('a line has an ISO time, the level by name, the worker, the event and the sentence, and no more', async (t) => {
    const { log, lines } = open(t, { worker: 3 })
    log.logger.info({ event: 'test', bytes_in: 7 }, 'hello')
    log.logger.debug('not at this level')
    const [line, ...rest] = await lines()
    assert.deepEqual(rest, [])
    assert.match(String(line?.['time']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.deepEqual({ ...line, time: '' }, { time: '', level: 'info', worker: 3, event: 'test', bytes_in: 7, msg: 'hello' })
  })

  test('errors are chosen fields and secrets never stand there, on any line and in children', async (t) => {
    const { log, written, lines } = open(t)
    const secret = 'hunter2'
    const error = new SignalboxError('SOURCE_UNAVAILABLE', `no answer from redis://u:${secret}@h`, {
      cause: Object.assign(new Error('x'), { args: [secret] }),
    })
    log.logger.error(error)
    log.logger.error({ error }, 'sentence')
    log.logger.warn({ err: error, url: `redis://:${secret}@h/0`, password: secret, token: secret, secret, key: secret }, 'x')
    log.logger.child({ token: secret, url: `mysql://a:${secret}@h` }).info({ headers: { authorization: secret }, config: { admin: { token: secret } } }, 'x')
    assert.doesNotMatch(await written(), new RegExp(secret))
    const [first, , third, fourth] = await lines()
    assert.partialDeepStrictEqual(first, { error: { code: 'SOURCE_UNAVAILABLE', side: 'source', message: 'no answer from redis://u:***@h' } })
    assert.partialDeepStrictEqual(third, { url: 'redis://:***@h/0', password: '[redacted]', token: '[redacted]' })
    assert.partialDeepStrictEqual(fourth, { url: 'mysql://a:***@h', token: '[redacted]', config: '[redacted]' })
  })

  test('a line that is too long is shortened to a whole one and says so', async (t) => {
    const { log, lines, written } = open(t)
    log.logger.info({ event: 'test', account: 'é'.repeat(10_000), list: Array.from({ length: 5_000 }, () => 'entry') }, 'long')
    const [line] = await lines()
    assert.partialDeepStrictEqual(line, { event: 'test', msg: 'long', truncated: true })
    assert.ok(Buffer.byteLength(await written()) <= LOG_LINE)
  })

  test(`a line of ${LOG_LINE} bytes stays as it is, one byte more doesn't`, () => {
    const make = (size: number) => `${JSON.stringify({ msg: 'x'.repeat(size - '{"msg":""}\n'.length) })}\n`
    assert.equal(fitLine(make(LOG_LINE)), make(LOG_LINE))
    assert.partialDeepStrictEqual(JSON.parse(fitLine(make(LOG_LINE + 1))), { truncated: true })
  })

  test('whatever is logged fits, is one line and is JSON', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ maxLength: 600 }), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 30 }), (record) => {
        const fitted = fitLine(`${JSON.stringify(record)}\n`, 400)
        assert.ok(Buffer.byteLength(fitted) <= 400)
        assert.equal(fitted.indexOf('\n'), fitted.length - 1)
        assert.equal(typeof JSON.parse(fitted), 'object')
      }),
    )
  })

  test('control characters neither break a JSON line nor reach a terminal', async (t) => {
    const json = open(t)
    json.log.logger.info({ account: 'a\r\n{"level":"error"}\u001b[2J' }, 'x')
    assert.equal((await json.written()).split('\n').length, 2)
    const pretty = open(t, { format: 'pretty' })
    pretty.log.logger.info({ account: 'a\r\n\u001b[2J\u009b31m\u007f' }, 'x\u001b[2J\ny')
    assert.match(await pretty.written(), /^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f]*$/)
    assert.match(await pretty.written(), /\\u001b\[2J/)
  })

  test('doubled escapes read back as visible text and leave everything else alone', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (account) => {
        const shown: unknown = JSON.parse(showEscapes(JSON.stringify(account)))
        assert.ok(typeof shown === 'string')
        assert.doesNotMatch(shown, /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
        if (!/[\u0000-\u001f\u007f-\u009f\u2028\u2029\ud800-\udfff]/.test(account)) assert.equal(shown, account)
      }),
    )
  })

  test('the lines of every session are the same whichever way they are rendered', async (t) => {
    const { log, written } = open(t, { worker: 3, clock: { ...systemClock, wall: () => 0 } })
    const { frequent, logger } = log
    assert.ok(frequent?.info)
    const text = fc.string({ unit: 'binary', maxLength: 40 })
    const session = { session: text, listener: text, protocol: fc.constant('imap' as const), client: text, account: text, destination: text }
    const seconds = fc.double({ min: 0, max: 1e6, noNaN: true })
    const login = fc.record({ ...session, mechanism: fc.constant('PLAIN' as const), route: fc.constant('cache'), tls: fc.boolean(), seconds }, { requiredKeys: ['session', 'listener', 'protocol', 'client', 'account', 'destination', 'seconds'] })
    const closed = fc.record({ ...session, bytes_in: fc.nat(), bytes_out: fc.nat(), seconds, reason: text }, { requiredKeys: ['session', 'listener', 'protocol', 'client', 'bytes_in', 'bytes_out', 'seconds', 'reason'] })
    fc.assert(fc.property(login, closed, (one, other) => {
      loginAccepted(logger, one)
      loginAcceptedOften(frequent, one)
      sessionClosed(logger, other)
      sessionClosedOften(frequent, other)
    }))
    const lines = (await written()).trimEnd().split('\n').map((line) => Object.entries(JSON.parse(line) as object).filter(([key]) => key !== 'time'))
    assert.ok(lines.length > 100)
    for (let at = 0; at < lines.length; at += 2) assert.deepEqual(lines[at + 1], lines[at])
    logger.level = 'warn'
    assert.equal(frequent.info, false)
    assert.equal(open(t, { format: 'pretty' }).log.frequent, undefined)
  })

  test('auto is pretty on a terminal and JSON elsewhere', async (t) => {
    const terminal = open(t, { format: 'auto', isTerminal: true })
    terminal.log.logger.info({ event: 'test' }, 'hello')
    assert.match(await terminal.written(), /INFO.*hello/)
    const pipe = open(t, { format: 'auto' })
    pipe.log.logger.info('hello')
    assert.match(await pipe.written(), /^\{"level":"info"/)
  })

  test('flushSync leaves nothing behind', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'signalbox-log-'))
    const path = join(folder, 'log')
    const fd = openSync(path, 'a')
    t.after(() => {
      closeSync(fd)
      rmSync(folder, { recursive: true })
    })
    const log = createLog({ level: 'info', format: 'json', isTerminal: false, clock: systemClock, fd })
    log.logger.info('one')
    log.logger.info('two')
    log.flushSync()
    assert.equal(readFileSync(path, 'utf8').split('\n').length, 3)
  })

  test('several processes on one pipe never mix up their lines, and lose none', async () => {
    const path = fileURLToPath(new URL('fixtures/talker.ts', import.meta.url))
    const script = `for w in 1 2 3; do "$0" "$1" $w 400 json flush & done; "$0" "$1" 4 400 json exit; wait`
    const child = spawn('sh', ['-c', script, process.execPath, path], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [output] = await Promise.all([text(child.stdout), once(child, 'close')])
    const seen = new Map<unknown, number>()
    for (const line of output.split('\n').filter((line) => line !== '')) {
      const { worker } = JSON.parse(line)
      seen.set(worker, (seen.get(worker) ?? 0) + 1)
    }
    assert.deepEqual(seen, new Map([1, 2, 3, 4].map((worker) => [worker, 400])))
  })

  test('a log whose device is full neither ends the process nor throws', async (t) => {
    let fd: number
    try {
      fd = openSync('/dev/full', 'w')
    } catch {
      t.skip('no /dev/full here')
      return
    }
    // Left open: what could not be written is tried again later, and the number must not be another file's by then.
    const log = createLog({ level: 'info', format: 'json', isTerminal: false, clock: systemClock, fd })
    for (let i = 0; i < 100; i++) log.logger.info({ i, filling: 'x'.repeat(1000) }, 'lost')
    await log.flush()
    log.flushSync()
    assert.doesNotThrow(() => log.logger.info('still here'))
  })
})

describe('the audit trail', () => {
  test('is written at every level, with the account redacted and who has acknowledged', async (t) => {
    const { log, lines } = open(t, { level: 'error' })
    const redact = createRedactor({ accounts: 'redacted', redactionKey: 'k' })
    createAudit(log.logger, redact)({
      change: 'mapping_put', account: 'alice@example.org', destination: 'new', client: '192.0.2.1', outcome: 'ok', status: 200,
      seconds: 0.01, facts: { removed: true },
      confirmation: { workers: 2, workersExpected: 2, bus: 'up', peers: [{ instance: 'b', acknowledged: true }, { instance: 'c', acknowledged: false }] },
    })
    const [line, ...rest] = await lines()
    assert.deepEqual(rest, [])
    assert.deepEqual({ ...line, time: '' }, {
      time: '', level: 'info', event: 'audit', change: 'mapping_put', account: redact('alice@example.org'), destination: 'new',
      client: '192.0.2.1', outcome: 'ok', status: 200, seconds: 0.01, facts: { removed: true }, workers: 2, workers_expected: 2,
      acknowledged: ['b'], unconfirmed: ['c'], bus: 'up', msg: 'a change was asked for',
    })
  })
})
