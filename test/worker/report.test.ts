import assert from 'node:assert/strict'
import { test } from 'node:test'
import pino from 'pino'
import { SignalboxError } from '../../src/errors.ts'
import { createRedactor } from '../../src/observe/redaction.ts'
import type { LoginFacts } from '../../src/session/session.ts'
import { resolverReport, sessionReport } from '../../src/worker/report.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { sessionRig } from '../session/rig.ts'

type Line = Readonly<Record<string, unknown>>

function logged() {
  const lines: Line[] = []
  const log = pino({ level: 'trace' }, { write: (line: string) => lines.push(JSON.parse(line) as Line) })
  const redact = createRedactor({ accounts: 'redacted', redactionKey: 'a key for this test' })
  return { lines, log, redact, last: () => lines.at(-1) ?? {} }
}

const facts: LoginFacts = { account: 'carol@example.com', destination: 'one', mechanism: 'PLAIN', secure: true, attempt: 2, took: 12.3456, route: undefined }

test('a session’s lines say what happened and name no account in full', async () => {
  const { lines, log, redact, last } = logged()
  const report = sessionReport(log, redact, new FakeClock())
  const { session, client } = await sessionRig()
  report.accepted(session, facts)
  assert.deepEqual([last()['event'], last()['destination'], last()['seconds'], last()['client']], ['login', 'one', 0.012, '192.0.2.7'])
  report.refused(session, facts)
  assert.deepEqual([last()['event'], last()['attempt'], last()['reason']], ['login_refused', 2, 'backend'])
  report.refused(session, { ...facts, account: undefined, destination: undefined }, 'identifier')
  assert.deepEqual([last()['event'], last()['account'], last()['reason'], 'destination' in last()], ['login_refused', '-', 'identifier', false])
  report.unavailable(session, { ...facts, destination: undefined }, new SignalboxError('BACKEND_DOWN', 'down'))
  assert.deepEqual([last()['event'], last()['code'], 'destination' in last()], ['login_unavailable', 'BACKEND_DOWN', false])
  report.closed(session, { reason: 'kicked', error: undefined, bytesIn: 1, bytesOut: 2, seconds: 3, login: facts })
  assert.deepEqual([last()['event'], last()['reason'], last()['bytes_in'], last()['bytes_out']], ['session_closed', 'kicked', 1, 2])
  report.closed(session, { reason: 'logout', error: undefined, bytesIn: 0, bytesOut: 0, seconds: 3, login: undefined })
  assert.deepEqual([last()['event'], last()['reason'], last()['msg']], ['connection_closed', 'logout', 'connection closed before login'])
  const { connection, profile } = session
  report.closed({ connection, profile, requests: 3 }, { reason: 'client', error: undefined, bytesIn: 0, bytesOut: 0, seconds: 3, login: undefined })
  assert.deepEqual([last()['event'], last()['requests'], last()['msg']], ['connection_closed', 3, 'connection closed'])
  report.closed(session, { reason: 'error', error: new SignalboxError('CLIENT_TIMEOUT', 'late'), bytesIn: 0, bytesOut: 0, seconds: 3, login: undefined })
  assert.equal(last()['reason'], 'CLIENT_TIMEOUT')
  report.accepted(session, { ...facts, account: undefined })
  assert.equal(last()['account'], '-')
  assert.ok(!JSON.stringify(lines).includes('carol@'))
  session.end('kicked')
  client.socket.destroy()
})

test('who was turned away for a PROXY header is told once a minute per address; who came too often, every ten seconds and how often', async () => {
  const { lines, log, redact } = logged()
  const clock = new FakeClock()
  const report = sessionReport(log, redact, clock)
  const { session, client } = await sessionRig()
  const end = (code: 'CLIENT_PROXY_HEADER' | 'CLIENT_TOO_MANY_CONNECTIONS'): void => {
    const error = new SignalboxError(code, 'why')
    report.closed(session, { reason: 'error', error, bytesIn: 0, bytesOut: 0, seconds: 0, login: undefined })
  }
  const refused = () => lines.filter((line) => line['event'] === 'connection_refused').map((line) => `${line['reason']} ${line['times']}`)
  end('CLIENT_PROXY_HEADER')
  end('CLIENT_PROXY_HEADER')
  assert.deepEqual(refused(), ['proxy-header 1'])
  clock.advance(60_000)
  end('CLIENT_PROXY_HEADER')
  end('CLIENT_TOO_MANY_CONNECTIONS')
  end('CLIENT_TOO_MANY_CONNECTIONS')
  assert.deepEqual(refused(), ['proxy-header 1', 'proxy-header 2', 'address-full 1'])
  clock.advance(10_000)
  end('CLIENT_TOO_MANY_CONNECTIONS')
  assert.deepEqual(refused().slice(3), ['address-full 2'])
  assert.equal(lines[0]?.['client'], '192.0.2.7')
  session.end('kicked')
  client.socket.destroy()
})

test('an outage of the source is one line at its beginning and one at its end, with how long it lasted', () => {
  const { lines, log, redact } = logged()
  const clock = new FakeClock()
  const report = resolverReport(log, redact, clock, 'redis')
  report.sourceAnswered()
  const error = new SignalboxError('SOURCE_UNAVAILABLE', 'away')
  report.sourceFailed(error)
  report.sourceFailed(error)
  clock.advance(90_500)
  report.sourceAnswered()
  report.sourceAnswered()
  assert.deepEqual(lines.map((line) => [line['event'], line['source'], line['seconds']]), [['source_outage', 'redis', undefined], ['source_recovered', 'redis', 90.5]])
})

test('an undeclared destination is told once a minute per value, and the account stays redacted', () => {
  const { lines, log, redact } = logged()
  const clock = new FakeClock()
  const report = resolverReport(log, redact, clock, 'file')
  for (let login = 0; login < 100; login++) report.undeclared(`user${login}@example.com`, 'nowhere')
  report.undeclared('carol@example.com', '__proto__')
  assert.deepEqual(lines.map((line) => line['value']), ['nowhere', '__proto__'])
  clock.advance(60_000)
  report.undeclared('carol@example.com', 'nowhere')
  assert.equal(lines.length, 3)
  assert.ok(!JSON.stringify(lines).includes('carol@'))
})

test('a stale route that an audit found is told with both destinations', () => {
  const { log, redact, last } = logged()
  resolverReport(log, redact, new FakeClock(), 'file').auditStale('carol@example.com', 'one', 'none')
  assert.deepEqual([last()['event'], last()['cached'], last()['stored']], ['audit_stale', 'one', 'none'])
  assert.notEqual(last()['account'], 'carol@example.com')
})
