/**
 * What does a cached route cost? Hits a second in one resolver over 20,000 and over a million accounts, in random order,
 * and bytes an entry at a million, key included. Best of five rounds of half a second each.
 */
import { systemClock } from '../src/clock.ts'
import { Resolver } from '../src/resolver/resolver.ts'
import type { ResolverMessage } from '../src/resolver/resolver.ts'
import { spawn } from '../src/actor/actor.ts'
import type { RunningActor } from '../src/actor/actor.ts'
import { testConfig } from '../test/support/config.ts'

const ROUNDS = 5
const ROUND_MS = 500
const BATCH = 10_000

const collect = globalThis.gc
if (collect === undefined) throw new Error('run me with --expose-gc, or through npm run bench')

for (const accounts of [20_000, 1_000_000]) {
  // Made anew for each lookup, as a login's name is; a string that is the cache's own key would be found faster.
  const name = (index: number) => `user${index}@example.com`
  const { mapping } = testConfig({ mapping: { cacheMaxEntries: accounts, settle: 0 } })
  let actor: RunningActor<ResolverMessage> | undefined
  collect()
  const before = process.memoryUsage()
  const resolver = new Resolver({
    mapping,
    clock: systemClock,
    source: { lookup: () => Promise.resolve('b0'), close: () => Promise.resolve() },
    destinationId: () => 0,
    destinationName: () => 'b0',
    defaultDestination: () => 0,
    loginHoldMax: 1,
    busDownTtl: 1,
    patience: Number.POSITIVE_INFINITY,
    self: (message) => actor?.ref.tell(message),
    random: Math.random,
    report: { undeclared() {}, auditStale() {}, sourceFailed() {}, sourceAnswered() {} },
  })
  actor = spawn(resolver, { name: 'resolver', clock: systemClock })
  for (let index = 0; index < accounts; index += BATCH) {
    const { ref } = actor
    await Promise.all(
      Array.from({ length: Math.min(BATCH, accounts - index) }, (_, more) => ref.ask({ type: 'resolve', identifier: name(index + more) }, 60_000)),
    )
  }
  collect()
  const after = process.memoryUsage()
  const bytes = (after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers) / accounts
  const names = Array.from({ length: 4_096 }, () => name(Math.floor(Math.random() * accounts)))
  let best = 0
  for (let round = 0; round < ROUNDS; round++) {
    let hits = 0
    const start = systemClock.now()
    while (systemClock.now() - start < ROUND_MS) {
      for (const key of names) if (resolver.cached(key) === undefined) throw new Error(`${key} is not cached`)
      hits += names.length
    }
    best = Math.max(best, hits / ((systemClock.now() - start) / 1000))
  }
  console.log(`${accounts} accounts: ${(best / 1e6).toFixed(2)} million hits a second, ${bytes.toFixed(0)} bytes an entry`)
}
