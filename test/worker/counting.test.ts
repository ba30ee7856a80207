import assert from 'node:assert/strict'
import { test } from 'node:test'
import { COUNTERS_MS, SESSIONS_SAMPLED } from '../../src/limits.ts'
import { SignalboxError } from '../../src/errors.ts'
import { NO_CACHE } from '../../src/observe/counters.ts'
import type { Counted, Sampled, TallyMessage } from '../../src/primary/tally.ts'
import type { LoginFacts, SessionReport } from '../../src/session/session.ts'
import { Counting } from '../../src/worker/counting.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { sessionRig } from '../session/rig.ts'

const facts: LoginFacts = { account: 'a', destination: 'one', mechanism: 'PLAIN', secure: true, attempt: 1, took: 7, route: undefined }

async function counting() {
  const clock = new FakeClock()
  const told: Counted[] = []
  const sampled: Sampled[] = []
  const cache = { ...NO_CACHE }
  const counts = new Counting({
    worker: 4,
    clock,
    tally: {
      tell: (message: TallyMessage) => {
        if (message.type === 'counted') told.push(structuredClone(message))
        if (message.type === 'sampled') sampled.push(message)
      },
      ask: () => Promise.reject(new SignalboxError('INTERNAL', 'nothing is asked')),
    },
    cache: () => cache,
    open: () => 3,
  })
  const reported: string[] = []
  const inner: SessionReport = {
    accepted: () => reported.push('accepted'),
    passedThrough: () => reported.push('passedThrough'),
    refused: () => reported.push('refused'),
    unavailable: () => reported.push('unavailable'),
    closed: () => reported.push('closed'),
  }
  const rig = await sessionRig()
  return { clock, told, sampled, cache, counts, reported, report: counts.report(inner), session: rig.session, end: () => rig.session.end('kicked') }
}

test('what is reported is counted once, and handed on', async () => {
  const { counts, report, reported, session, end } = await counting()
  report.accepted(session, facts)
  report.refused(session, facts)
  report.unavailable(session, { ...facts, destination: undefined }, new SignalboxError('ROUTE_UNAVAILABLE', 'x'))
  report.closed(session, { reason: 'client', error: undefined, bytesIn: 1, bytesOut: 2, seconds: 3, login: undefined })
  const { counts: now } = counts.now()
  assert.deepEqual(reported, ['accepted', 'refused', 'unavailable', 'closed'])
  assert.deepEqual(
    now.legs.map(({ destination, accepted, refused, unavailable, sessions }) => [destination, accepted, refused, unavailable, sessions]),
    [['one', 1, 1, 0, 1], ['', 0, 0, 1, 0]],
  )
  assert.deepEqual([now.failures, now.open, now.legs[0]?.took[4]], [[{ code: 'ROUTE_UNAVAILABLE', times: 1 }], 3, 1])
  report.closed(session, { reason: 'client', error: undefined, bytesIn: 1, bytesOut: 2, seconds: 3, login: facts })
  assert.equal(counts.now().counts.legs[0]?.sessions, 0)
  end()
})

test('connections that are turned away here are counted by their reason, those that only end without a login are not', async () => {
  const { counts, report, session, end } = await counting()
  const closed = { reason: 'error' as const, bytesIn: 0, bytesOut: 0, seconds: 0, login: undefined }
  for (const code of ['CLIENT_TOO_MANY_CONNECTIONS', 'CLIENT_CROWDED_OUT', 'CLIENT_PROXY_HEADER', 'CLIENT_CROWDED_OUT', 'CLIENT_TIMEOUT'] as const) {
    report.closed(session, { ...closed, error: new SignalboxError(code, 'x') })
  }
  report.closed(session, { ...closed, reason: 'logout', error: undefined })
  assert.deepEqual(counts.now().counts.refused, [
    { protocol: 'imap', reason: 'address-full', times: 1 },
    { protocol: 'imap', reason: 'preauth-memory', times: 2 },
    { protocol: 'imap', reason: 'proxy-header', times: 1 },
  ])
  end()
})

test('the primary is told within a second of whatever happened, and nothing while nothing does', async () => {
  const { clock, told, cache, counts, report, session, end } = await counting()
  clock.advance(10 * COUNTERS_MS)
  assert.equal(told.length, 0)
  const happenings = [
    () => report.accepted(session, facts),
    () => (counts.counters.leg('imap', 'one').bytesIn += 1),
    () => report.closed(session, { reason: 'client', error: undefined, bytesIn: 1, bytesOut: 2, seconds: 3, login: facts }),
    () => cache.hits++,
    () => report.unavailable(session, facts, new SignalboxError('BACKEND_DOWN', 'x')),
    () => counts.counters.refused('imap', 'listener-full'),
  ]
  for (const [index, happen] of happenings.entries()) {
    happen()
    clock.advance(COUNTERS_MS - 1)
    assert.equal(told.length, index)
    clock.advance(1)
    assert.equal(told.length, index + 1)
    clock.advance(5 * COUNTERS_MS)
    assert.equal(told.length, index + 1)
  }
  assert.deepEqual([told.at(-1)?.worker, told.at(-1)?.counts.legs[0]?.accepted], [4, 1])
  end()
})

test('while somebody listens so many sessions are told of one by one, and of the others how many there were', async () => {
  const { clock, sampled, counts, report, session, end } = await counting()
  const happen = (times: number): void => {
    for (let index = 0; index < times; index++) report.accepted(session, facts)
    clock.advance(COUNTERS_MS)
  }
  happen(1)
  assert.equal(sampled.length, 0)
  counts.watch(true)
  happen(SESSIONS_SAMPLED)
  happen(SESSIONS_SAMPLED + 1)
  assert.deepEqual(sampled.map(({ sessions, unsampled }) => [sessions.length, unsampled]), [[SESSIONS_SAMPLED, 0], [SESSIONS_SAMPLED, 1]])
  end()
})
