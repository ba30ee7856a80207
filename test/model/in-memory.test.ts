/**
 * The fleet's promise over random operations and faults, in memory: once a change is acknowledged nothing older is
 * answered, what is missed is bounded, and all agree when all is well. Mutants that lack one check each must be caught
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
import { FailedLookups } from '../../src/resolver/failed-lookups.ts'
import { Generations } from '../../src/resolver/generations.ts'
import { SOUND } from './instance.ts'
import type { Parts } from './instance.ts'
import type { Step } from './step.ts'
import { play, runs } from './world.ts'
import type { Climate } from './world.ts'

const LONGEST = 80
const OPERATIONS = Number(process.env['SIGNALBOX_MODEL_OPERATIONS'] ?? 5_000)
const SEED = process.env['SIGNALBOX_MODEL_SEED']
// Any will do; from these the rarest fault is found within seconds.
const MUTANT_SEEDS = [2, 4, 6]

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

/** Goes on sparing the source when there is a reason to ask it. */
class Elephant extends FailedLookups {
  override forgetAll(): void {}
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

  test('asks for what failed during an outage once all is well; one that goes on sparing the source is caught', async () => {
    const climate: Climate = { watch: false, bus: ['fine'], source: [{ there: 0, back: 0 }], settle: 0 }
    const steps: Step[] = [
      { do: 'put', who: 0, key: 0 },
      { do: 'look', key: 0 },
      { do: 'outage', who: 0, how: 'cut' },
      { do: 'put', who: 1, key: 0 },
      { do: 'wait', quarters: 40 },
      { do: 'look', key: 0 },
      // The account that failed last is the one that is probed.
      { do: 'look', key: 1 },
      { do: 'outage', who: 0, how: 'mend' },
      { do: 'wait', quarters: 8 },
      { do: 'look', key: 0 },
    ]
    assert.deepEqual((await play([climate, steps])).violations, [])
    const { violations } = await play([climate, steps], { ...SOUND, failed: () => new Elephant() })
    assert.match(violations.join(), /\(stale\).* instead of version/)
  })

  const mutants: readonly (readonly [string, Parts])[] = [
    ['without the check of generations', { ...SOUND, generations: () => new Blind() }],
    ['without the check for gaps', { ...SOUND, peers: () => new Gapless() }],
    ['whose workers trust a primary that is silent', { ...SOUND, patience: Number.POSITIVE_INFINITY }],
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
