/**
 * The fleet's promise over random operations on real processes, with a real Redis behind proxies that are cut, paused and
 * slowed down, workers killed and primaries restarted: zero violations.
 *
 * SIGNALBOX_MODEL_PROCESS_OPERATIONS: how many operations; SIGNALBOX_MODEL_SEED: the order of an earlier run.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { skipWithout } from '../support/programs.ts'
import { run } from './processes.ts'

const OPERATIONS = Number(process.env['SIGNALBOX_MODEL_PROCESS_OPERATIONS'] ?? 400)
const SEED = Number(process.env['SIGNALBOX_MODEL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

test(`${OPERATIONS} random operations on a fleet of processes: no worker answers with what was replaced`, { skip: skipWithout('redis-server') }, async (t) => {
  t.diagnostic(`seed ${SEED}`)
  const { violations, operations, lookups, calms, late } = await run(OPERATIONS, SEED)
  t.diagnostic(`${operations} operations, ${lookups} answers of workers judged, ${calms} times all agreed, ${late} late without a fault`)
  assert.deepEqual(violations, [])
  assert.ok(late <= 2 + operations / 100, `${late} lookups and changes outlasted the deadline without a fault`)
})
