import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RELOAD_DIFFERENCES, SUMMARY_VALUES } from '../../src/limits.ts'
import type { Mapping } from '../../src/mapping/source.ts'
import { OTHER_VALUES, summarise } from '../../src/mapping/summary.ts'
import { Tally } from '../../src/mapping/tally.ts'

test('each change is counted as what it is, and only changes are invalidated', () => {
  const tally = new Tally()
  tally.count('new', undefined, 'x')
  tally.count('moved', 'x', 'y')
  tally.count('gone', 'x', undefined)
  tally.count('same', 'x', 'x')
  assert.deepEqual(tally.result(), {
    added: 1,
    changed: 1,
    removed: 1,
    unchanged: 1,
    invalidate: { all: false, identifiers: ['new', 'moved', 'gone'] },
  })
})

test(`${RELOAD_DIFFERENCES} changes are named, one more means everything`, () => {
  const tally = new Tally()
  for (let i = 0; i < RELOAD_DIFFERENCES; i++) tally.count(`u${i}`, undefined, 'x')
  assert.equal(tally.result().invalidate.all, false)
  tally.count('one more', undefined, 'x')
  assert.deepEqual(tally.result().invalidate, { all: true })
  assert.equal(tally.result().added, RELOAD_DIFFERENCES + 1)
})

test(`a summary counts ${SUMMARY_VALUES} values one by one and the others together`, async () => {
  async function* mappings(): AsyncGenerator<Mapping> {
    for (let i = 0; i < SUMMARY_VALUES + 5; i++) yield { identifier: `u${i}`, destination: `d${i}` }
    yield { identifier: 'again', destination: 'd0' }
  }
  const counts = await summarise(mappings())
  assert.equal(counts.size, SUMMARY_VALUES + 1)
  assert.equal(counts.get(OTHER_VALUES), 5)
  assert.equal(counts.get('d0'), 2)
})
