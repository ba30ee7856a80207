import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WORKER_PING_MS, WORKER_STALL_MS, WORKER_START_MS } from '../../src/limits.ts'
import { Vigil } from '../../src/primary/vigil.ts'
import { FakeClock } from '../support/fake-clock.ts'

function house() {
  const clock = new FakeClock()
  const vigil = new Vigil(clock)
  /** Rounds on time, for so many milliseconds; the names that came up. */
  const rounds = (ms: number, listening: readonly number[] = []): number[] => {
    const named: number[] = []
    for (let passed = 0; passed < ms; passed += WORKER_PING_MS) {
      clock.advance(WORKER_PING_MS)
      for (const worker of listening) vigil.heard(worker)
      named.push(...vigil.round().map(({ worker }) => worker))
    }
    return named
  }
  return { clock, vigil, rounds }
}

test('a worker that was heard of is silent too long after WORKER_STALL_MS, not before, and is named once', () => {
  const { vigil, rounds, clock } = house()
  vigil.began(1)
  vigil.began(2)
  vigil.heard(1)
  vigil.heard(2)
  assert.deepEqual(rounds(WORKER_STALL_MS, [2]), [])
  assert.equal(vigil.awake(1), true)
  clock.advance(WORKER_PING_MS)
  vigil.heard(2)
  assert.equal(vigil.awake(1), false)
  assert.deepEqual(vigil.round(), [{ worker: 1, silent: WORKER_STALL_MS + WORKER_PING_MS, started: true }])
  assert.deepEqual(rounds(WORKER_STALL_MS, [2]), [])
  assert.equal(vigil.awake(2), true)
})

test('a standstill of our own is nobody’s silence, however long; what comes after it is', () => {
  const { vigil, rounds, clock } = house()
  vigil.began(1)
  vigil.heard(1)
  rounds(3 * WORKER_PING_MS)
  clock.advance(3_600_000)
  assert.equal(vigil.awake(1), true, 'also before the first round after it')
  assert.deepEqual(vigil.round(), [])
  assert.equal(vigil.awake(1), true)
  // Three rounds of silence before, and the one that was late.
  assert.deepEqual(rounds(WORKER_STALL_MS - 4 * WORKER_PING_MS), [])
  assert.deepEqual(rounds(WORKER_PING_MS), [1])
})

test('a worker that answered before the late round is not given the time of the standstill on top', () => {
  const { vigil, rounds, clock } = house()
  vigil.began(1)
  clock.advance(3_600_000)
  vigil.heard(1)
  assert.deepEqual(vigil.round(), [])
  assert.deepEqual(rounds(WORKER_STALL_MS), [])
  assert.deepEqual(rounds(WORKER_PING_MS), [1])
})

test('a primary whose rounds are always late still finds who is silent', () => {
  const { vigil, clock } = house()
  vigil.began(1)
  vigil.heard(1)
  const named: number[] = []
  for (let round = 0; round <= WORKER_STALL_MS / WORKER_PING_MS; round++) {
    clock.advance(5 * WORKER_PING_MS)
    named.push(...vigil.round().map(({ worker }) => worker))
  }
  assert.deepEqual(named, [1])
})

test('a worker of which nothing was heard yet has WORKER_START_MS, and the usual time from its first sign of life on', () => {
  const { vigil, rounds, clock } = house()
  vigil.began(1)
  vigil.began(2)
  assert.deepEqual(rounds(WORKER_START_MS), [])
  assert.deepEqual([vigil.awake(1), vigil.started(1)], [false, false])
  vigil.heard(2)
  assert.deepEqual([vigil.awake(2), vigil.started(2)], [true, true])
  clock.advance(WORKER_PING_MS)
  assert.deepEqual(vigil.round(), [{ worker: 1, silent: WORKER_START_MS + WORKER_PING_MS, started: false }])
  assert.deepEqual(rounds(WORKER_STALL_MS - WORKER_PING_MS), [])
  assert.deepEqual(rounds(WORKER_PING_MS), [2])
})

test('a worker that is gone is not looked for, and gives no sign', () => {
  const { vigil, rounds } = house()
  vigil.began(1)
  vigil.gone(1)
  vigil.heard(1)
  assert.deepEqual([vigil.awake(1), vigil.started(1), ...rounds(2 * WORKER_START_MS)], [false, false])
})
