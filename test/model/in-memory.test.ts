/**
 * The fleet's promise over random operations and faults, in memory: once a change is acknowledged nothing older is
 * answered, what is missed is bounded, and all agree when all is well. Two mutants that lack one check each must be caught
 * by the same model, from every seed.
 *
 * SIGNALBOX_MODEL_OPERATIONS: about how many operations; SIGNALBOX_MODEL_SEED: repeats a run.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { BusHeader } from '../../src/bus/frame.ts'
import { Peers } from '../../src/primary/peers.ts'
import type { Followed } from '../../src/primary/peers.ts'
import { Generations } from '../../src/resolver/generations.ts'
import { SOUND } from './instance.ts'
import type { Parts } from './instance.ts'
import { play, runs } from './world.ts'

const LONGEST = 80
const OPERATIONS = Number(process.env['SIGNALBOX_MODEL_OPERATIONS'] ?? 5_000)
const SEED = process.env['SIGNALBOX_MODEL_SEED']
const MUTANT_SEEDS = [1, 2, 3]

/** Doesn't see that an invalidation has overtaken a lookup. */
class Blind extends Generations {
  override voidSince(): boolean {
    return false
  }
}

/** Lets gaps pass. */
class Gapless extends Peers {
  override follow(header: BusHeader, now: number): Followed {
    const followed = super.follow(header, now)
    return followed.continuity === 'gap' ? { ...followed, continuity: 'next' } : followed
  }
}

describe('a fleet in memory', () => {
  test('answers with nothing older than it has acknowledged, over random operations and faults', async (t) => {
    const total = { operations: 0, lookups: 0, runs: 0 }
    const property = fc.asyncProperty(runs(LONGEST), async (run) => {
      const { violations, operations, lookups } = await play(run)
      total.operations += operations
      total.lookups += lookups
      total.runs++
      assert.deepEqual(violations, [])
    })
    const seed = SEED === undefined ? {} : { seed: Number(SEED) }
    // A run has half of LONGEST operations, more or less.
    await fc.assert(property, { numRuns: Math.ceil((OPERATIONS * 2) / LONGEST), ...seed })
    t.diagnostic(`${total.operations} operations in ${total.runs} runs, ${total.lookups} lookups`)
  })

  const mutants: readonly (readonly [string, Parts])[] = [
    ['without the check of generations', { ...SOUND, generations: () => new Blind() }],
    ['without the check for gaps', { ...SOUND, peers: () => new Gapless() }],
  ]
  for (const [name, parts] of mutants) {
    for (const seed of MUTANT_SEEDS) {
      test(`a fleet ${name} is caught (seed ${seed})`, async (t) => {
        let caught: readonly string[] = []
        const property = fc.asyncProperty(runs(LONGEST), async (run) => {
          // Nothing counts but an answer that is too old.
          const violations = (await play(run, parts)).violations.filter((violation) => violation.includes('instead of version'))
          if (violations.length > 0) caught = violations
          return violations.length === 0
        })
        const { failed, numRuns } = await fc.check(property, { numRuns: 1_000, seed, endOnFailure: true })
        assert.ok(failed)
        t.diagnostic(`after ${numRuns} runs: ${caught[0]}`)
      })
    }
  }
})
