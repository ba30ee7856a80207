import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addUp, Counters, lasting, NO_CACHE } from '../../src/observe/counters.ts'
import type { Counts } from '../../src/observe/counters.ts'

function worker(logins: number, destination = 'old'): Counts {
  const counters = new Counters()
  const leg = counters.leg('imap', destination)
  leg.accepted += logins
  leg.sessions += 1
  leg.bytesIn += 10
  for (let times = 0; times < logins; times++) counters.stage('imap', 'dial', 3)
  counters.failure('BACKEND_DOWN')
  counters.refused('imap', 'listener-full')
  return counters.counts({ ...NO_CACHE, hits: logins, entries: 5 }, 7)
}

test('the sums of several workers are found by protocol, destination, stage, code and reason', () => {
  const { legs, stages, failures, refused, cache, open } = addUp([worker(2), worker(3), worker(4, '__proto__')])
  assert.deepEqual(
    legs.map(({ destination, accepted, sessions, bytesIn }) => [destination, accepted, sessions, bytesIn]),
    [['old', 5, 2, 20], ['__proto__', 4, 1, 10]],
  )
  assert.deepEqual(stages.find(({ stage }) => stage === 'dial')?.durations[3], 9)
  assert.deepEqual(failures, [{ code: 'BACKEND_DOWN', times: 3 }])
  assert.deepEqual(refused, [{ protocol: 'imap', reason: 'listener-full', times: 3 }])
  assert.deepEqual([cache.hits, cache.entries, open], [9, 15, 21])
})

test('adding up changes none of what is added', () => {
  const one = worker(1)
  const before = structuredClone(one)
  addUp([one, worker(2)])
  assert.deepEqual(one, before)
})

test('of a worker that is gone its sums remain, and nothing that was so only for the moment', () => {
  const { legs, cache, open, failures } = lasting(worker(2))
  assert.deepEqual(legs.map(({ accepted, sessions, bytesIn }) => [accepted, sessions, bytesIn]), [[2, 0, 10]])
  assert.deepEqual([cache.hits, cache.entries, open, failures.length], [2, 0, 0, 1])
})

test('a leg goes on counting for whoever holds it', () => {
  const counters = new Counters()
  const leg = counters.leg('imap', 'old')
  counters.leg('imap', 'old').bytesOut += 3
  leg.bytesOut += 4
  assert.equal(counters.counts(NO_CACHE, 0).legs[0]?.bytesOut, 7)
  assert.notEqual(counters.leg('pop3', 'old'), leg)
})
