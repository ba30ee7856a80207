import assert from 'node:assert/strict'
import { test } from 'node:test'
import { spawn } from '../../src/actor/actor.ts'
import { Counters, NO_CACHE } from '../../src/observe/counters.ts'
import type { Counts } from '../../src/observe/counters.ts'
import { Tally } from '../../src/primary/tally.ts'
import type { TallyMessage } from '../../src/primary/tally.ts'
import { FakeClock } from '../support/fake-clock.ts'

const PROCESS = { cpuUser: 1, cpuSystem: 1, resident: 1, heapUsed: 1, loopActive: 1, loopDelay: { mean: 0, p99: 0, max: 0 } }

function counts(accepted: number, sessions: number): Counts {
  const counters = new Counters()
  const leg = counters.leg('imap', 'old')
  leg.accepted = accepted
  leg.sessions = sessions
  return counters.counts({ ...NO_CACHE, hits: accepted }, sessions)
}

function tally() {
  const { ref } = spawn<TallyMessage>(new Tally(), { name: 'tally', clock: new FakeClock() })
  const sums = async () => {
    const { counts, workers } = await ref.ask({ type: 'sums' }, 1_000)
    const [leg] = counts.legs
    return { accepted: leg?.accepted ?? 0, sessions: leg?.sessions ?? 0, hits: counts.cache.hits, workers: workers.map(({ worker }) => worker) }
  }
  return { ref, sums, told: (worker: number, of: Counts) => ref.tell({ type: 'counted', worker, counts: of, process: PROCESS }) }
}

test('a worker’s later counts take the place of its earlier ones', async () => {
  const { told, sums } = tally()
  told(1, counts(3, 1))
  told(1, counts(5, 2))
  told(2, counts(10, 4))
  assert.deepEqual(await sums(), { accepted: 15, sessions: 6, hits: 15, workers: [1, 2] })
})

test('no sum goes down when a worker dies, and its sessions are gone with it', async () => {
  const { ref, told, sums } = tally()
  told(1, counts(3, 1))
  told(2, counts(10, 4))
  for (const worker of [2, 2, 99]) ref.tell({ type: 'worker-gone', worker })
  assert.deepEqual(await sums(), { accepted: 13, sessions: 1, hits: 13, workers: [1] })
  told(3, counts(1, 1))
  ref.tell({ type: 'worker-gone', worker: 1 })
  ref.tell({ type: 'worker-gone', worker: 3 })
  assert.deepEqual(await sums(), { accepted: 14, sessions: 0, hits: 14, workers: [] })
})
