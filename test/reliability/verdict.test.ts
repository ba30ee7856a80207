/** What the run that kills workers forgives, and what it does not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Visit } from '../chaos/visit.ts'
import type { LogLine } from '../support/signalbox.ts'
import { judgeVisit, LATEST_MS, waitedFor } from './verdict.ts'
import type { Visited } from './verdict.ts'

const DEATHS = [{ member: 'a', worker: 1, at: 10_000 }]

function visited(result: Partial<Visit>, member = 'a'): Visited {
  const whole: Visit = { outcome: 'cut', destination: 'd0', wrong: undefined, bytes: 0, took: 10, began: 5_000, answered: 5_005, arrived: 5_010, alive: 9_900, noticed: 10_050, ...result }
  return { member, door: { protocol: 'imap', tls: 'plain', port: 1 }, account: 'v1@example.com', client: '127.64.0.1', result: whole }
}

const before = (more: Partial<Visit> = {}): Partial<Visit> => ({ outcome: 'ended', destination: undefined, arrived: undefined, took: undefined, began: 9_950, answered: 9_960, alive: 9_960, ...more })
const line = (event: string, more: Readonly<Record<string, unknown>> = {}): LogLine => ({ text: event, event, account: 'v1@example.com', client: '127.64.0.1', ...more })

test('a session is forgiven when the worker of its login was killed at that moment, and not for another worker, instance or time', () => {
  assert.equal(judgeVisit(visited({}), DEATHS, [line('login', { worker: 1 })]), undefined)
  assert.match(judgeVisit(visited({}), DEATHS, [line('login', { worker: 2 })]) ?? '', /its worker had not died/)
  assert.match(judgeVisit(visited({}, 'b'), DEATHS, [line('login', { worker: 1 })]) ?? '', /its worker had not died/)
  assert.match(judgeVisit(visited({ alive: 11_001, noticed: 11_100 }), DEATHS, [line('login', { worker: 1 })]) ?? '', /its worker had not died/)
  assert.match(judgeVisit(visited({ alive: 9_000, noticed: 9_999 }), DEATHS, [line('login', { worker: 1 })]) ?? '', /its worker had not died/)
})

test('a session whose login nobody logged is forgiven only when its worker had no time to write it', () => {
  assert.equal(judgeVisit(visited({ arrived: 9_600 }), DEATHS, []), undefined)
  assert.match(judgeVisit(visited({ arrived: 9_400 }), DEATHS, []) ?? '', /no worker says that it had it/)
})

test('what a worker says that it has closed was not ended by a death', () => {
  assert.match(judgeVisit(visited({}), DEATHS, [line('login', { worker: 1 }), line('session_closed', { worker: 1 })]) ?? '', /says so/)
  assert.match(judgeVisit(visited(before()), DEATHS, [line('connection_closed', { account: undefined, worker: 2 })]) ?? '', /says so/)
})

test('a connection before its login is forgiven when a worker of its instance died meanwhile, and it was closed within a second', () => {
  assert.equal(judgeVisit(visited(before()), DEATHS, []), undefined)
  assert.equal(judgeVisit(visited(before({ noticed: 10_000 + LATEST_MS })), DEATHS, []), undefined)
  assert.match(judgeVisit(visited(before({ noticed: 10_001 + LATEST_MS })), DEATHS, []) ?? '', /no worker had died/)
  assert.match(judgeVisit(visited(before(), 'b'), DEATHS, []) ?? '', /no worker had died/)
  assert.match(judgeVisit(visited(before({ noticed: 9_990 })), DEATHS, []) ?? '', /no worker had died/)
  // Sent to a worker of whose death the primary had not heard.
  assert.equal(judgeVisit(visited(before({ began: 10_010, answered: undefined, alive: 10_010, noticed: 10_900 })), DEATHS, []), undefined)
})

test('a connection that had no answer when a worker died is answered by another within a second, or that is a violation', () => {
  const served = (answered: number): Visited => visited({ outcome: 'served', began: 9_990, answered, arrived: answered + 5, noticed: 20_000 })
  assert.equal(waitedFor(served(9_999), DEATHS), undefined)
  assert.equal(waitedFor(served(10_300), DEATHS), 300)
  assert.equal(judgeVisit(served(10_000 + LATEST_MS), DEATHS, []), undefined)
  assert.match(judgeVisit(served(10_001 + LATEST_MS), DEATHS, []) ?? '', /served, 1001 ms after the death of a worker/)
})

test('nobody is sent away, finds nobody, or is left unanswered', () => {
  assert.equal(judgeVisit(visited(before({ outcome: 'busy' })), DEATHS, []), 'busy')
  assert.equal(judgeVisit(visited(before({ outcome: 'absent' })), DEATHS, []), 'absent')
  assert.equal(judgeVisit(visited({ wrong: 'left unanswered' }), DEATHS, []), 'left unanswered')
})
