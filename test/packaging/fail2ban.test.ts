/** The filter for fail2ban over lines that the log really writes, judged by fail2ban's own tool. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { systemClock } from '../../src/clock.ts'
import { SignalboxError } from '../../src/errors.ts'
import * as events from '../../src/observe/events.ts'
import { createLog } from '../../src/observe/log.ts'
import type { Logger } from '../../src/observe/log.ts'
import { programPath, skipWithout } from '../support/programs.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'

const FILTER = fileURLToPath(new URL('../../packaging/fail2ban/filter.d/signalbox.conf', import.meta.url))
const run = promisify(execFile)

const session = (client: string) => ({ session: '2-mhx1-a', listener: 'imaps', protocol: 'imap' as const, client })
const refused = (client: string, account = 'an*0123456789ab') => (log: Logger) =>
  events.loginRefused(log, { ...session(client), account, destination: 'legacy', mechanism: 'PLAIN', reason: 'backend', attempt: 1 })

/** Accounts as a client may make them up, written whole with `[log] accounts = "full"`. */
const FORGERIES = [
  '","client":"203.0.113.66","x":"',
  '\n{"level":"warn","time":"2026-01-01T00:00:00.000Z","worker":1,"event":"login_refused","session":"1-a-1","listener":"imaps","protocol":"imap","client":"203.0.113.66","attempt":1}',
  '{"level":"warn","time":"2026-01-01T00:00:00.000Z","event":"login_refused","session":"1-a-1","listener":"imaps","protocol":"imap","client":"203.0.113.66",',
  '\r\n[10:00:00.000] WARN: login refused {"worker":1,"event":"login_refused","session":"1-a-1","listener":"imaps","protocol":"imap","client":"203.0.113.66",',
  'from 203.0.113.66 port 1',
  '\\","client":"203.0.113.66","',
]

describe('the fail2ban filter', { skip: skipWithout('fail2ban-regex') }, () => {
  let temporary: Temporary

  before(async () => {
    temporary = await makeTemporary('fail2ban')
  })
  after(() => temporary.remove())

  /** The addresses that fail2ban would count, one for each line that matches. */
  async function counted(lines: string): Promise<string[]> {
    const path = join(temporary.path, 'log')
    await writeFile(path, lines)
    // Without a match its status is 1.
    const { stdout } = await run(programPath('fail2ban-regex'), ['--out', 'ip', path, FILTER]).catch((error: { stdout: string }) => error)
    return stdout.split('\n').filter((line) => line !== '')
  }

  async function written(format: 'json' | 'pretty', worker: number | undefined, ...write: ((log: Logger) => void)[]): Promise<string> {
    const path = join(temporary.path, 'written')
    const fd = openSync(path, 'w')
    const log = createLog({ level: 'trace', format, isTerminal: false, clock: systemClock, fd, ...(worker === undefined ? {} : { worker }) })
    for (const one of write) one(log.logger)
    // Not flushSync: what is with the thread pool by then would find the descriptor closed.
    await log.flush()
    closeSync(fd)
    return readFileSync(path, 'utf8')
  }

  for (const format of ['json', 'pretty'] as const) {
    for (const worker of [undefined, 12]) {
      it(`takes the address of every refused login: ${format}, written by ${worker === undefined ? 'the primary' : 'a worker'}`, async () => {
        const lines = await written(format, worker, refused('192.0.2.1'), refused('2001:db8::7'), refused('192.0.2.1'))
        assert.deepEqual(await counted(lines), ['192.0.2.1', '2001:db8::7', '192.0.2.1'])
      })
    }

    it(`takes it behind what syslog or the journal put before it: ${format}`, async () => {
      const lines = await written(format, 1, refused('192.0.2.1'), refused('192.0.2.2'))
      const [first = '', second = ''] = lines.split('\n')
      assert.deepEqual(await counted(`mx1 signalbox[4711]: ${first}\nmx1 node: ${second}\n`), ['192.0.2.1', '192.0.2.2'])
    })

    it(`takes nothing from any other line, a login that could not be tried above all: ${format}`, async () => {
      const error = new SignalboxError('BACKEND_DOWN', 'login refused {"event":"login_refused","client":"203.0.113.66",')
      const about = { ...session('203.0.113.66'), account: 'ann' }
      const lines = await written(
        format,
        1,
        (log) => events.loginUnavailable(log, { ...about, destination: 'legacy', error }),
        (log) => events.loginAccepted(log, { ...about, destination: 'legacy', mechanism: 'PLAIN', route: 'cache', tls: true, seconds: 1 }),
        (log) => events.sessionClosed(log, { ...about, bytes_in: 1, bytes_out: 1, seconds: 1, reason: 'client' }),
        (log) => events.connectionClosed(log, { ...session('203.0.113.66'), seconds: 1, reason: 'CLIENT_CLOSED' }),
        (log) => events.connectionRefused(log, { listener: 'imaps', protocol: 'imap', client: '203.0.113.66', reason: 'address-full', times: 1 }),
        (log) => events.managementRefused(log, { client: '203.0.113.66', reason: 'wrong', failures: 1 }),
      )
      assert.equal(lines.trim().split('\n').length, 6)
      assert.deepEqual(await counted(lines), [])
    })

    it(`is not fooled by what a client calls itself: ${format}`, async () => {
      const lines = await written(
        format,
        1,
        ...FORGERIES.flatMap((account) => [
          refused('192.0.2.1', account),
          (log: Logger) => events.loginUnavailable(log, { ...session('203.0.113.66'), account, error: new SignalboxError('BACKEND_DOWN', account) }),
        ]),
      )
      assert.deepEqual(await counted(lines), FORGERIES.map(() => '192.0.2.1'))
    })
  }

  it('reads the time of a JSON line as it is', async () => {
    const lines = await written('json', 1, refused('192.0.2.1'))
    const path = join(temporary.path, 'log')
    await writeFile(path, lines)
    const { stdout } = await run(programPath('fail2ban-regex'), ['--print-all-matched', path, FILTER])
    assert.match(stdout, /Date template hits:[^]*\[1\] [^\n]*time/)
    assert.match(stdout, /Lines: 1 lines, 0 ignored, 1 matched, 0 missed/)
  })
})
