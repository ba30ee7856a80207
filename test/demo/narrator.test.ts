import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { describe, it } from 'node:test'
import { pino } from 'pino'
import { narrate, saysReady } from '../../src/demo/narrator.ts'
import { SignalboxError } from '../../src/errors.ts'
import { errorFields } from '../../src/observe/error-fields.ts'
import * as events from '../../src/observe/events.ts'

/** The line that an event becomes. */
function lineOf(write: (log: pino.Logger) => void): string {
  let line = ''
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      line += chunk.toString()
      done()
    },
  })
  write(pino({ level: 'trace', serializers: { error: errorFields }, formatters: { level: (label) => ({ level: label }) } }, sink))
  return line
}

describe('what the demo tells of the log', () => {
  it('says why the proxy ended, and what a warning is about', () => {
    const failed = lineOf((log) => events.instanceFailed(log, { error: new SignalboxError('LISTEN_FAILED', 'port 993 is taken') }))
    assert.match(narrate(failed) ?? '', /^ {2}! .*LISTEN_FAILED.*port 993 is taken$/)
    const warned = lineOf((log) => events.configWarning(log, { warning: 'nobody can log in' }))
    assert.match(narrate(warned) ?? '', /^ {2}! .*nobody can log in$/)
  })

  it('knows when the proxy is ready, and leaves out what people need not know', () => {
    const ready = lineOf((log) => events.instanceReady(log, { version: '1', instance: 'a', workers: 2, listeners: [] }))
    const stopped = lineOf((log) => events.instanceStopped(log))
    assert.deepEqual([saysReady(ready), saysReady(stopped), saysReady('ready')], [true, false, false])
    assert.deepEqual([narrate(ready), narrate(stopped)], [undefined, undefined])
    assert.equal(narrate('no JSON'), 'no JSON')
  })
})
