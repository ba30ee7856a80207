import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEATHS_AT_START, RESPAWN_MAX_MS, RESPAWN_MIN_MS } from '../../src/limits.ts'
import { Deaths } from '../../src/primary/deaths.ts'

test('the pauses of those that die young double, from the first to the longest, and begin anew after one that lived', () => {
  const deaths = new Deaths()
  const pauses = Array.from({ length: 10 }, () => deaths.one({ young: true, everReady: true }))
  assert.equal(pauses[0], RESPAWN_MIN_MS)
  for (const [index, pause] of pauses.entries()) assert.equal(pause, Math.min(RESPAWN_MIN_MS * 2 ** index, RESPAWN_MAX_MS))
  assert.equal(pauses.at(-1), RESPAWN_MAX_MS)
  assert.equal(deaths.one({ young: false, everReady: true }), 0)
  assert.equal(deaths.one({ young: true, everReady: true }), RESPAWN_MIN_MS)
})

test('as many as end an instance at its start do so; one less, or once a worker has served, never', () => {
  const atStart = new Deaths()
  for (let count = 1; count < DEATHS_AT_START; count++) assert.notEqual(atStart.one({ young: true, everReady: false }), undefined)
  assert.equal(atStart.one({ young: true, everReady: false }), undefined)
  assert.equal(atStart.count, DEATHS_AT_START)
  const later = new Deaths()
  for (let count = 0; count < 3 * DEATHS_AT_START; count++) assert.notEqual(later.one({ young: true, everReady: true }), undefined)
})
