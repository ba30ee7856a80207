import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'

const LOG = new URL('../../src/observe/log.ts', import.meta.url)
const WARNINGS = new URL('../../src/observe/process-warnings.ts', import.meta.url)
const CLOCK = new URL('../../src/clock.ts', import.meta.url)

test('what Node.js warns of is a line of the log, and nothing else is said', async () => {
  const program = `
    import { createLog } from ${JSON.stringify(LOG.href)}
    import { logWarnings } from ${JSON.stringify(WARNINGS.href)}
    import { systemClock } from ${JSON.stringify(CLOCK.href)}
    const log = createLog({ level: 'info', format: 'json', isTerminal: false, clock: systemClock, worker: 3 })
    logWarnings(log.logger)
    for (let index = 0; index < 11; index++) process.on('message', () => {})
    process.emitWarning('an odd\\nthing', { type: 'DeprecationWarning', code: 'ODD' })
    process.removeAllListeners('message')
    setImmediate(() => log.flushSync())
  `
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program])
  assert.equal(stderr, '')
  const lines = stdout.trimEnd().split('\n').map((line) => JSON.parse(line) as { readonly event: string; readonly level: string; readonly worker: number; readonly error: Record<string, unknown> })
  assert.deepEqual(lines.map(({ event, level, worker, error }) => [event, level, worker, error['type']]), [
    ['process_warning', 'warn', 3, 'MaxListenersExceededWarning'],
    ['process_warning', 'warn', 3, 'DeprecationWarning'],
  ])
  assert.match(String(lines[0]?.error['message']), /11 message listeners/)
  assert.equal(lines[1]?.error['code'], 'ODD')
})
