/**
 * The chaos run in short, and the proof that it can fail. Longer ones: `npm run test:chaos -- --minutes N`.
 *
 * SIGNALBOX_CHAOS_SEED: the faults of an earlier run.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { skipWithout } from '../support/programs.ts'
import { chaos } from './chaos.ts'

const SEED = Number(process.env['SIGNALBOX_CHAOS_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
/** One round. */
const MINUTES = 4 / 60

test('nothing is violated while everything breaks, all is well afterwards, and a route that is then spoilt behind the model’s back is found by a login', { skip: skipWithout('redis-server') }, async (t) => {
  t.diagnostic(`seed ${SEED}`)
  const { violations, named, ...report } = await chaos({ minutes: MINUTES, seed: SEED, source: 'redis', seeded: 'route' })
  t.diagnostic(JSON.stringify(report))
  // A second round comes only after one without violations.
  assert.equal(report.rounds, 2, violations.join('\n'))
  assert.ok(report.judged > 0 && report.confirmed > 0)
  // By a login that was at the wrong place, not only by comparing the store with the model.
  assert.notEqual(named, undefined, violations.join('\n'))
})
