import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { SignalboxError } from '../../src/errors.ts'
import { FAILED_LOOKUP_MS, LOOKUP_REPEATS, SOURCE_PROBE_MS } from '../../src/limits.ts'
import type { OpenRoute } from '../../src/resolver/route.ts'
import { testConfig } from '../support/config.ts'
import { inBrief, scripted } from './scripted.ts'
import type { Scripted } from './scripted.ts'

const POSITIVE = 600_000
const NEGATIVE = 30_000
const SETTLE = 1_000
const STALE = 86_400_000

function cached({ resolver }: Scripted, identifier: string): string | undefined {
  const route = resolver.cached(identifier)
  return route === undefined ? undefined : inBrief(route)
}

async function open({ actor }: Scripted, identifier: string): Promise<OpenRoute> {
  const route = await actor.ref.ask({ type: 'resolve', identifier }, 1_000)
  assert.notEqual(route.kind, 'unavailable')
  return route as OpenRoute
}

// ---- fresh, doubtful, void ----

test('a mapped route is fresh for positive_ttl, the default route for negative_ttl', async () => {
  for (const [destination, life] of [['one', POSITIVE], [undefined, NEGATIVE]] as const) {
    const box = scripted()
    const brief = destination ?? 'legacy(default)'
    assert.equal(await box.look('a', destination), `${brief} store`)
    box.clock.advance(life - 1)
    assert.equal(cached(box, 'a'), `${brief} cache`)
    assert.equal(box.source.asked, 1)
    box.clock.advance(1)
    assert.equal(cached(box, 'a'), undefined)
    assert.equal(await box.look('a', 'two'), 'two store')
    assert.equal(cached(box, 'a'), 'two cache')
  }
})

test('a doubtful route is used only while the lookup fails, for stale_ttl beyond its life', async () => {
  const box = scripted()
  await box.look('a', 'one')
  box.clock.advance(POSITIVE)
  const asked = box.ask('a')
  assert.equal(asked.outcome, undefined, 'the source is asked first')
  await box.source.fail('a')
  assert.equal(asked.outcome, 'one stale')
  assert.equal(box.resolver.stats().staleServed, 1)

  box.clock.advance(STALE)
  const atTheEnd = box.ask('a')
  await box.source.fail('a')
  assert.equal(atTheEnd.outcome, 'one stale')
  box.clock.advance(FAILED_LOOKUP_MS)
  const tooLate = box.ask('a')
  await box.source.fail('a')
  assert.equal(tooLate.outcome, 'ROUTE_UNAVAILABLE')
})

test('a void route is never used again: neither the old one nor the default while the lookup fails, whatever on_failure says', async () => {
  for (const onFailure of ['reject', 'default'] as const) {
    const box = scripted({ with: { onFailure } })
    await box.look('a', 'one')
    box.invalidate('a')
    const asked = box.ask('a')
    await box.source.fail('a')
    assert.equal(asked.outcome, 'ROUTE_UNAVAILABLE')
    box.clock.advance(FAILED_LOOKUP_MS)
    assert.equal(await box.look('a', 'two'), 'two store')
  }
})

test('an account that nothing is known of gets the temporary failure, or the default where the operator chose that', async () => {
  const rejects = scripted()
  const refused = rejects.ask('a')
  await rejects.source.fail('a')
  assert.equal(refused.outcome, 'ROUTE_UNAVAILABLE')

  const defaults = scripted({ with: { onFailure: 'default' } })
  const given = defaults.ask('a')
  await defaults.source.fail('a')
  assert.equal(given.outcome, 'legacy(default) stale')
})

test('an account that was invalidated is not unknown, even where its mark found no room or was pushed out of the cache', async () => {
  const box = scripted({ with: { onFailure: 'default', cacheMaxEntries: 2 } })
  await box.look('a', 'one')
  await box.look('b', 'one')
  box.invalidate('never-seen')
  assert.equal(cached(box, 'a'), 'one cache', 'a mark pushes no route out')
  const unseen = box.ask('never-seen')
  await box.source.fail('never-seen')
  assert.equal(unseen.outcome, 'ROUTE_UNAVAILABLE')

  box.invalidate('b')
  await box.look('c', 'one')
  await box.look('d', 'one')
  const pushedOut = box.ask('b')
  await box.source.fail('b')
  assert.equal(pushedOut.outcome, 'ROUTE_UNAVAILABLE')
})

test('invalidate-all makes every route void', async () => {
  const box = scripted()
  await box.look('a', 'one')
  box.actor.ref.tell({ type: 'invalidate-all' })
  const asked = box.ask('a')
  await box.source.fail('a')
  assert.equal(asked.outcome, 'ROUTE_UNAVAILABLE')
})

test('a failed lookup is remembered for five seconds at most, and not beyond negative_ttl; an invalidation forgets it', async () => {
  for (const [negativeTtl, memory] of [[NEGATIVE, FAILED_LOOKUP_MS], [1_000, 1_000]] as const) {
    const box = scripted({ with: { negativeTtl } })
    box.ask('a')
    await box.source.fail('a')
    box.clock.advance(memory - 1)
    const spared = box.ask('a')
    await turn()
    assert.equal(spared.outcome, 'ROUTE_UNAVAILABLE')
    assert.equal(box.source.asked, 2, 'by no login, but by the probe, which has no answer yet')
    box.clock.advance(1)
    box.ask('a')
    assert.equal(box.source.asked, 2, 'it waits for that answer')
    await box.source.fail('a')
    box.invalidate('a')
    box.ask('a')
    assert.equal(box.source.asked, 3)
  }
})

test('a destination that is not declared means the default route, told and cached as no mapping', async () => {
  const box = scripted()
  assert.equal(await box.look('a', '__proto__'), 'legacy(default) store')
  assert.deepEqual(box.told, ['answered', 'undeclared a __proto__'])
  assert.equal(cached(box, 'a'), 'legacy(default) cache')
  box.clock.advance(NEGATIVE)
  assert.equal(cached(box, 'a'), undefined)
})

test('names of prototype properties are accounts like any other', async () => {
  const box = scripted()
  for (const name of ['__proto__', 'constructor', 'toString']) {
    assert.equal(cached(box, name), undefined)
    assert.equal(await box.look(name, 'one'), 'one store')
    assert.equal(cached(box, name), 'one cache')
  }
})

// ---- lookups ----

test('lookups of one account at the same time are one lookup, answered to all in order', async () => {
  const box = scripted()
  const order: number[] = []
  const asked = [0, 1, 2].map((index) => {
    const one = box.ask('a')
    void one.promise.then(() => order.push(index))
    return one
  })
  box.ask('b')
  assert.equal(box.source.asked, 2)
  await box.source.answer('a', 'one')
  assert.deepEqual(asked.map(({ outcome }) => outcome), ['one store', 'one store', 'one store'])
  assert.deepEqual(order, [0, 1, 2])
  assert.equal(box.resolver.stats().lookupsOpen, 1)
})

test('an answer that an invalidation overtook is used for nobody and not stored; the lookup is repeated', async () => {
  for (const overtake of [
    (box: Scripted) => box.invalidate('a'),
    (box: Scripted) => box.actor.ref.tell({ type: 'invalidate-all' }),
    (box: Scripted) => box.actor.ref.tell({ type: 'doubt', reason: 'a gap' }),
  ]) {
    const box = scripted({ with: { settle: 0 } })
    const before = box.ask('a')
    overtake(box)
    const after = box.ask('a')
    await box.source.answer('a', 'one')
    assert.deepEqual([before.outcome, after.outcome, cached(box, 'a')], [undefined, undefined, undefined])
    assert.equal(box.source.asked, 2)
    await box.source.answer('a', 'two')
    assert.deepEqual([before.outcome, after.outcome, cached(box, 'a')], ['two store', 'two store', 'two cache'])
  }
})

test('a lookup whose account keeps changing is repeated three times, then the login is refused for the moment', async () => {
  const box = scripted()
  const asked = box.ask('a')
  for (let repeat = 0; repeat < LOOKUP_REPEATS; repeat++) {
    box.invalidate('a')
    await box.source.answer('a', 'one')
    assert.equal(asked.outcome, undefined)
  }
  box.invalidate('a')
  await box.source.answer('a', 'one')
  assert.equal(asked.outcome, 'ROUTE_VOID')
  assert.equal(box.source.asked, 1 + LOOKUP_REPEATS)
  assert.equal(await box.look('a', 'two'), 'two store', 'the next login begins anew')
})

test('invalidating another account disturbs no lookup', async () => {
  const box = scripted()
  const asked = box.ask('a')
  box.invalidate('b', 'c')
  await box.source.answer('a', 'one')
  assert.equal(asked.outcome, 'one store')
})

test('a failure that an invalidation overtook is no failure of the new lookup', async () => {
  const box = scripted()
  const asked = box.ask('a')
  box.invalidate('a')
  await box.source.fail('a')
  assert.equal(asked.outcome, undefined)
  await box.source.answer('a', 'one')
  assert.equal(asked.outcome, 'one store')
  assert.equal(box.resolver.stats().lookupFailures, 0)
})

test('after an invalidation a route is used and not cached until the source has settled', async () => {
  for (const message of [{ type: 'invalidate', identifiers: ['a'] }, { type: 'invalidate-all' }] as const) {
    const box = scripted()
    box.actor.ref.tell(message)
    box.clock.advance(SETTLE - 1)
    assert.equal(await box.look('a', 'one'), 'one store')
    assert.equal(cached(box, 'a'), undefined)
    box.clock.advance(1)
    assert.equal(await box.look('a', 'two'), 'two store')
    assert.equal(cached(box, 'a'), 'two cache')
  }
})

// ---- the bus ----

test('while the bus is down routes are doubtful from bus_down_ttl on; when it is back all are', async () => {
  const box = scripted()
  await box.look('old', 'one')
  box.clock.advance(10_000)
  await box.look('new', 'one')
  assert.equal(cached(box, 'old'), 'one cache')
  box.actor.ref.tell({ type: 'bus', up: false })
  assert.deepEqual([cached(box, 'old'), cached(box, 'new')], [undefined, 'one cache'])
  box.clock.advance(4_999)
  assert.equal(cached(box, 'new'), 'one cache')
  box.clock.advance(1)
  assert.equal(cached(box, 'new'), undefined)

  assert.equal(await box.look('new', 'two'), 'two store')
  assert.equal(cached(box, 'new'), 'two cache')
  box.actor.ref.tell({ type: 'bus', up: true })
  assert.equal(cached(box, 'new'), undefined)
  const asked = box.ask('new')
  await box.source.fail('new')
  assert.equal(asked.outcome, 'two stale', 'doubtful, not void')
})

test('a bus that is up once more without having been down casts no doubt', async () => {
  const box = scripted()
  await box.look('a', 'one')
  box.actor.ref.tell({ type: 'bus', up: true })
  assert.equal(cached(box, 'a'), 'one cache')
})

// ---- the primary's pulse ----

const PATIENCE = 3_000

test('when the primary is silent, routes are doubtful from bus_down_ttl on, though nobody says that the bus is down', async () => {
  const box = scripted({ patience: PATIENCE })
  await box.look('a', 'one')
  box.clock.advance(10_000)
  box.actor.ref.tell({ type: 'beat', at: 10_000 })
  await box.look('b', 'one')
  assert.equal(cached(box, 'a'), 'one cache', 'as long as it beats')
  box.clock.advance(PATIENCE)
  assert.deepEqual([cached(box, 'a'), cached(box, 'b')], ['one cache', 'one cache'])
  box.clock.advance(1)
  assert.deepEqual([cached(box, 'a'), cached(box, 'b')], [undefined, 'one cache'], 'what is younger than bus_down_ttl is used')
  box.clock.advance(5_000 - PATIENCE - 1)
  assert.equal(cached(box, 'b'), undefined)
  const asked = box.ask('b')
  await box.source.fail('b')
  assert.equal(asked.outcome, 'one stale', 'doubtful, not void')

  box.actor.ref.tell({ type: 'beat', at: 15_000 })
  assert.equal(cached(box, 'a'), 'one cache', 'it has missed nothing: what was said meanwhile came before the beat')
})

test('a beat says until when all was heard: one that was sent long ago, and a younger one before it, is no sign of now', async () => {
  const box = scripted({ patience: PATIENCE })
  await box.look('a', 'one')
  box.clock.advance(60_000)
  box.actor.ref.tell({ type: 'beat', at: 1_000 })
  assert.equal(cached(box, 'a'), undefined)
  box.actor.ref.tell({ type: 'beat', at: 59_000 })
  assert.equal(cached(box, 'a'), 'one cache')
  box.actor.ref.tell({ type: 'beat', at: 2_000 })
  assert.equal(cached(box, 'a'), 'one cache')
})

test('a worker of a file that only its primary changes needs no beat', async () => {
  const box = scripted({ patience: Number.POSITIVE_INFINITY })
  await box.look('a', 'one')
  box.clock.advance(60_000)
  assert.equal(cached(box, 'a'), 'one cache')
})

test('a session that stood still on its way to the bridge looks its route up again, one that had a stale route as well', async () => {
  for (const stale of [false, true]) {
    const box = scripted({ patience: PATIENCE, with: { positiveTtl: 1_000 } })
    await box.look('a', 'one')
    if (stale) box.clock.advance(1_000)
    const asked = box.ask('a')
    if (stale) await box.source.fail('a')
    const route = await asked.promise
    assert.ok(route.kind !== 'unavailable' && route.source === (stale ? 'stale' : 'cache'))
    box.actor.ref.tell({ type: 'beat', at: box.clock.now() })
    assert.equal(box.resolver.standing(route), 'holds')
    box.clock.advance(60_000)
    assert.equal(box.resolver.standing(route), 'doubtful')
    box.actor.ref.tell({ type: 'beat', at: box.clock.now() })
    assert.equal(box.resolver.standing(route), 'holds')
  }
})

test('an answer that was waiting while the process stood still is used for nobody: the source is asked again', async () => {
  const box = scripted({ patience: PATIENCE })
  const asked = box.ask('a')
  box.clock.advance(60_000)
  await box.source.answer('a', 'one')
  assert.equal(asked.outcome, undefined)
  await box.source.answer('a', 'two')
  assert.equal(asked.outcome, 'two store')
  assert.equal(cached(box, 'a'), 'two cache')
})

test('while the bus is down an answer that took its time is used: the source is slow, nobody stood still', async () => {
  const box = scripted({ patience: PATIENCE, busDownTtl: 100 })
  box.actor.ref.tell({ type: 'bus', up: false })
  const asked = box.ask('a')
  box.clock.advance(testConfig().mapping.lookupTimeout)
  await box.source.answer('a', 'one')
  assert.equal(asked.outcome, 'one store')
})

// ---- failed lookups ----

test('what failed is asked for again as soon as anything is doubtful, the bus is back, or the source has answered somebody', async () => {
  const reasons: readonly [string, (box: Scripted) => unknown][] = [
    ['a doubt', ({ actor }) => actor.ref.tell({ type: 'doubt', reason: 'a gap' })],
    ['the bus', ({ actor }) => actor.ref.tell({ type: 'bus', up: true })],
    ['an answer', (box) => box.look('b', 'one')],
  ]
  for (const [what, happens] of reasons) {
    const box = scripted()
    await box.look('a', 'one')
    box.clock.advance(POSITIVE)
    box.actor.ref.tell({ type: 'bus', up: false })
    const failing = box.ask('a')
    await box.source.fail('a')
    assert.equal(failing.outcome, 'one stale')
    const spared = box.ask('a')
    await turn()
    assert.equal(spared.outcome, 'one stale')
    await happens(box)
    assert.equal(await box.look('a', 'two'), 'two store', what)
  }
})

test('while failures are remembered the source is probed, so that it is asked for everybody once it answers; then no more', async () => {
  const box = scripted()
  box.ask('a')
  await box.source.fail('a')
  const failing = box.ask('b')
  await box.source.fail('b')
  assert.equal(failing.outcome, 'ROUTE_UNAVAILABLE')
  box.clock.advance(SOURCE_PROBE_MS - 1)
  assert.equal(box.source.asked, 2)
  box.clock.advance(1)
  assert.equal(box.source.asked, 3)
  await box.source.fail('b')
  const spared = box.ask('a')
  await turn()
  assert.equal(spared.outcome, 'ROUTE_UNAVAILABLE')
  box.clock.advance(SOURCE_PROBE_MS)
  await box.source.answer('b', 'two')
  assert.equal(await box.look('a', 'one'), 'one store')
  assert.equal(cached(box, 'b'), 'two cache')
  box.clock.advance(FAILED_LOOKUP_MS)
  assert.equal(box.source.asked, 5)
})

test('probes end with the memory of failures, when no login has failed since', async () => {
  const box = scripted()
  box.source.onLookup = () => queueMicrotask(() => void box.source.open[0]?.fail())
  box.ask('a')
  await turn()
  await box.clock.advanceAsync(FAILED_LOOKUP_MS, SOURCE_PROBE_MS)
  const { asked } = box.source
  assert.ok(asked > 2)
  await box.clock.advanceAsync(FAILED_LOOKUP_MS, SOURCE_PROBE_MS)
  assert.equal(box.source.asked, asked)
})

// ---- standing ----

test('a route holds, is doubtful, or is void on entering the bridge', async () => {
  const box = scripted()
  await box.look('a', 'one')
  const route = await open(box, 'a')
  assert.equal(box.resolver.standing(route), 'holds')
  box.invalidate('b')
  assert.equal(box.resolver.standing(route), 'holds')
  box.actor.ref.tell({ type: 'doubt', reason: 'a gap' })
  assert.equal(box.resolver.standing(route), 'doubtful')
  box.invalidate('a')
  assert.equal(box.resolver.standing(route), 'void')
})

test('a stale route was doubtful from the start: a new doubt changes nothing, an invalidation does', async () => {
  const box = scripted()
  await box.look('a', 'one')
  box.clock.advance(POSITIVE)
  const asked = box.ask('a')
  await box.source.fail('a')
  const route = await asked.promise
  assert.ok(route.kind !== 'unavailable' && route.source === 'stale')
  box.actor.ref.tell({ type: 'doubt', reason: 'a gap' })
  assert.equal(box.resolver.standing(route), 'holds')
  box.actor.ref.tell({ type: 'invalidate-all' })
  assert.equal(box.resolver.standing(route), 'void')
})

test('the default route of a login without an account always holds; that of an account without a mapping can become void', async () => {
  const box = scripted()
  const nameless = box.resolver.defaultRoute()
  await box.look('a', undefined)
  const unmapped = await open(box, 'a')
  assert.equal(unmapped.kind, 'default')
  box.actor.ref.tell({ type: 'invalidate-all' })
  assert.equal(box.resolver.standing(nameless), 'holds')
  assert.equal(box.resolver.standing(unmapped), 'void')
})

// ---- bounds, audit, crash ----

test('the cache keeps cache_max_entries routes, the most recently used ones, and counts what it pushed out', async () => {
  const box = scripted({ with: { cacheMaxEntries: 3 } })
  for (const name of ['a', 'b', 'c']) await box.look(name, 'one')
  assert.equal(box.resolver.stats().evictions, 0)
  assert.equal(cached(box, 'a'), 'one cache')
  await box.look('d', 'two')
  assert.deepEqual(['a', 'b', 'c', 'd'].map((name) => cached(box, name)), ['one cache', undefined, 'one cache', 'two cache'])
  assert.equal(box.resolver.stats().evictions, 1)
  assert.equal(box.resolver.stats().entries, 3)
})

test('another bound keeps the routes, the most recently used ones, and what is void stays void', async () => {
  const box = scripted()
  for (const name of ['a', 'b', 'c']) await box.look(name, 'one')
  box.invalidate('c')
  box.resolver.reconfigure({ ...testConfig().mapping, cacheMaxEntries: 2 })
  assert.deepEqual(['a', 'b'].map((name) => cached(box, name)), [undefined, 'one cache'])
  const asked = box.ask('c')
  await box.source.fail('c')
  assert.equal(asked.outcome, 'ROUTE_UNAVAILABLE')
})

test('an audit that finds a difference counts, tells and corrects it', async () => {
  const box = scripted()
  await box.look('a', 'one')
  box.actor.ref.tell({ type: 'audit' })
  await box.source.answer('a', 'two')
  assert.deepEqual(box.told, ['answered', 'stale a one two'])
  assert.equal(cached(box, 'a'), undefined)
  const { audited, auditStale } = box.resolver.stats()
  assert.deepEqual([audited, auditStale], [1, 1])
  box.clock.advance(SETTLE)
  assert.equal(await box.look('a', 'two'), 'two store')
  box.actor.ref.tell({ type: 'audit' })
  await box.source.answer('a', 'two')
  assert.equal(box.resolver.stats().auditStale, 1)
})

test('an audit counts no difference that an invalidation, a doubt, a newer lookup or an outage explains', async () => {
  const explanations: ((box: Scripted) => Promise<void> | void)[] = [
    (box) => box.invalidate('a'),
    (box) => box.actor.ref.tell({ type: 'invalidate-all' }),
    (box) => box.actor.ref.tell({ type: 'doubt', reason: 'a gap' }),
    async (box) => {
      // The route ends its life, and is looked up anew, while the audit's answer is on its way.
      box.clock.advance(POSITIVE)
      box.ask('a')
      await box.source.open[1]?.answer('three')
    },
  ]
  for (const explain of explanations) {
    const box = scripted()
    await box.look('a', 'one')
    box.actor.ref.tell({ type: 'audit' })
    await explain(box)
    await box.source.answer('a', 'two')
    assert.equal(box.resolver.stats().auditStale, 0)
    assert.equal(box.resolver.stats().audited, 1)
  }
  const box = scripted()
  await box.look('a', 'one')
  box.actor.ref.tell({ type: 'audit' })
  await box.source.fail('a')
  assert.deepEqual([cached(box, 'a'), box.resolver.stats().audited], ['one cache', 0])
})

test('a crash leaves an empty cache and no login without an answer', async () => {
  let broken = false
  const box = scripted({
    report: {
      undeclared: () => {},
      auditStale: () => {},
      sourceFailed: () => {},
      sourceAnswered: () => {
        if (broken) throw new TypeError('a defect')
      },
    },
  })
  await box.look('kept', 'one')
  const route = await open(box, 'kept')
  const waiting = [box.ask('a'), box.ask('a'), box.ask('b')]
  broken = true
  await box.source.answer('a', 'one')
  broken = false
  assert.deepEqual(waiting.map(({ outcome }) => outcome), ['INTERNAL', 'INTERNAL', 'INTERNAL'])
  assert.equal(box.actor.counters.crashes, 1)
  assert.equal(cached(box, 'kept'), undefined)
  assert.equal(box.resolver.standing(route), 'void')
  // The answer to a lookup from before the crash changes nothing.
  const again = box.ask('b')
  assert.equal(box.source.open.length, 2)
  await box.source.answer('b', 'three')
  assert.equal(again.outcome, undefined)
  await box.source.answer('b', 'two')
  assert.equal(again.outcome, 'two store')
})

test('an invalidation that finds the mailbox full makes everything doubtful', async () => {
  const box = scripted({ bound: 2 })
  await box.look('a', 'one')
  const route = await open(box, 'a')
  box.source.onLookup = () => {
    for (const name of ['x', 'y', 'a']) box.invalidate(name)
  }
  box.ask('b')
  assert.equal(box.actor.counters.refused, 1)
  assert.equal(cached(box, 'a'), undefined)
  assert.equal(box.resolver.standing(route), 'doubtful')
})

test('a lookup whose answer finds the mailbox full refuses its logins for the moment and is forgotten', async () => {
  let deliver: (() => void) | undefined
  const box = scripted({
    bound: 1,
    self: (message) => {
      deliver = () => box.actor.ref.tell(message)
    },
  })
  const asked = box.ask('a')
  await box.source.answer('a', 'one')
  box.source.onLookup = () => {
    box.invalidate('x')
    deliver?.()
  }
  box.ask('b')
  await turn()
  assert.equal(asked.outcome, 'ROUTE_UNAVAILABLE')
  assert.equal(box.resolver.stats().lookupsOpen, 1)
})

test('an operator who asks for a route does not wait for a hold and gets the failure as an error', async () => {
  const box = scripted()
  box.actor.ref.tell({ type: 'hold', identifier: 'a', id: 'h', ms: 1_000 })
  const asked = box.actor.ref.ask({ type: 'inspect', identifier: 'a' }, 1_000)
  await box.source.answer('a', 'one')
  assert.equal(inBrief(await asked), 'one store')
  const failing = box.actor.ref.ask({ type: 'inspect', identifier: 'b' }, 1_000).catch((error: SignalboxError) => error.code)
  await box.source.fail('b')
  assert.equal(await failing, 'ROUTE_UNAVAILABLE')
})

test('hits, misses, failures, invalidations and entries are counted', async () => {
  const box = scripted()
  await box.look('a', 'one')
  cached(box, 'a')
  cached(box, 'a')
  box.invalidate('a', 'b')
  box.ask('c')
  await box.source.fail('c')
  const { hits, misses, lookupFailures, invalidations, entries, held } = box.resolver.stats()
  assert.deepEqual({ hits, misses, lookupFailures, invalidations, entries, held }, { hits: 2, misses: 2, lookupFailures: 1, invalidations: 2, entries: 1, held: 0 })
})

// ---- holds ----

test('a held account waits until its last hold is released, and goes on in the order of coming', async () => {
  const box = scripted()
  const order: string[] = []
  box.actor.ref.tell({ type: 'hold', identifier: 'a', id: 'first', ms: 10_000 })
  box.actor.ref.tell({ type: 'hold', identifier: 'a', id: 'second', ms: 10_000 })
  const asked = ['1', '2', '3'].map((name) => {
    const one = box.ask('a')
    void one.promise.then(() => order.push(name))
    return one
  })
  assert.equal(box.source.asked, 0)
  assert.equal(box.resolver.stats().held, 3)
  assert.equal(await box.actor.ref.ask({ type: 'release', identifier: 'a', id: 'first' }, 1_000), true)
  assert.equal(await box.actor.ref.ask({ type: 'release', identifier: 'a', id: 'no such hold' }, 1_000), false)
  assert.equal(box.source.asked, 0)
  assert.equal(await box.actor.ref.ask({ type: 'release', identifier: 'a', id: 'second' }, 1_000), true)
  assert.equal(box.source.asked, 1)
  await box.source.answer('a', 'one')
  assert.deepEqual(asked.map(({ outcome }) => outcome), ['one store', 'one store', 'one store'])
  assert.deepEqual(order, ['1', '2', '3'])
  assert.equal(box.resolver.stats().held, 0)
  assert.equal(box.clock.pending, 0)
})

test('a login whose lookup is under way when the hold begins waits like those that come after it', async () => {
  const box = scripted({ with: { settle: 0 } })
  const asked = box.ask('a')
  box.actor.ref.tell({ type: 'hold', identifier: 'a', id: 'h', ms: 10_000 })
  await box.source.answer('a', 'one')
  await turn()
  assert.equal(asked.outcome, undefined)
  box.invalidate('a')
  await box.actor.ref.ask({ type: 'release', identifier: 'a', id: 'h' }, 1_000)
  await box.source.answer('a', 'two')
  assert.equal(asked.outcome, 'two store')
})

test('a fresh route of a held account is not given out, and other accounts are not held', async () => {
  const box = scripted()
  await box.look('a', 'one')
  await box.look('b', 'one')
  box.actor.ref.tell({ type: 'hold', identifier: 'a', id: 'h', ms: 10_000 })
  assert.equal(cached(box, 'a'), undefined)
  assert.equal(cached(box, 'b'), 'one cache')
})

test('a login that is held while its account is moved gets the new route', async () => {
  const box = scripted({ with: { settle: 0 } })
  await box.look('a', 'one')
  box.actor.ref.tell({ type: 'hold', identifier: 'a', id: 'h', ms: 10_000 })
  const asked = box.ask('a')
  box.invalidate('a')
  box.actor.ref.tell({ type: 'release', identifier: 'a', id: 'h' })
  await box.source.answer('a', 'two')
  assert.equal(asked.outcome, 'two store')
})

test('a hold ends by itself, at the latest after two minutes, and can be prolonged', async () => {
  const box = scripted()
  box.actor.ref.tell({ type: 'hold', identifier: 'a', id: 'h', ms: 1_000 })
  const asked = box.ask('a')
  box.clock.advance(999)
  box.actor.ref.tell({ type: 'hold', identifier: 'a', id: 'h', ms: 1_000_000 })
  box.clock.advance(119_999)
  assert.equal(box.source.asked, 0)
  box.clock.advance(1)
  assert.equal(box.source.asked, 1)
  await box.source.answer('a', 'one')
  assert.equal(asked.outcome, 'one store')
})

test('as many logins are held as login_hold_max says; those whose clients have gone make room', async () => {
  const box = scripted()
  box.actor.ref.tell({ type: 'hold', identifier: 'a', id: 'h', ms: 10_000 })
  box.actor.ref.tell({ type: 'hold', identifier: 'b', id: 'h', ms: 10_000 })
  const waiting = [box.ask('a'), box.ask('b'), box.ask('b')]
  const tooMany = box.ask('a')
  await turn()
  assert.equal(tooMany.outcome, 'ROUTE_UNAVAILABLE')
  waiting[1]?.cancel.abort(new Error('gone'))
  const inItsPlace = box.ask('a')
  await turn()
  assert.equal(inItsPlace.outcome, undefined)
  assert.equal(box.resolver.stats().held, 3)
  box.clock.advance(10_000)
  assert.equal(box.resolver.stats().held, 0)
  await box.source.answer('a', 'one')
  await box.source.answer('b', 'two')
  assert.deepEqual([waiting[0]?.outcome, inItsPlace.outcome, waiting[2]?.outcome], ['one store', 'one store', 'two store'])
})
