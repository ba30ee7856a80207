/**
 * Random orders of puts, invalidations, logins, outages and doubts against a simple model: once the invalidation of a put
 * is acknowledged, no login that begins afterwards, and none that is about to enter the bridge, gets an older route than
 * that put wrote. A put whose invalidation is missed counts from the next doubt on, except for what is served because the
 * source can't be asked. The source answers late, with what it held when it was asked. Resolvers whose generations don't
 * do their work are run through the same model and must be caught by it.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import type { MappingConfig } from '../../src/config/config.ts'
import { Generations } from '../../src/resolver/generations.ts'
import type { Route } from '../../src/resolver/route.ts'
import { DESTINATIONS, scripted } from './scripted.ts'

const KEYS = ['a', 'b'] as const
type Key = (typeof KEYS)[number]

type Step =
  | { readonly do: 'put' | 'missed-put' | 'login'; readonly key: Key }
  | { readonly do: 'answer' | 'fail'; readonly which: number }
  | { readonly do: 'invalidate-all' | 'doubt' | 'bus' | 'audit' }
  | { readonly do: 'time'; readonly ms: number }

const key = fc.constantFrom(...KEYS)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('put' as const), key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('missed-put' as const), key }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('login' as const), key }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('answer' as const), which: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fail' as const), which: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('invalidate-all' as const, 'doubt' as const, 'bus' as const, 'audit' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('time' as const), ms: fc.constantFrom(10, 1_000, 40_000, 700_000) }) },
)

const mapping: fc.Arbitrary<Partial<MappingConfig>> = fc.record({
  onFailure: fc.constantFrom('reject', 'default'),
  cacheMaxEntries: fc.constantFrom(1, 100),
  negativeTtl: fc.constantFrom(0, 30_000),
})

/** A put writes the next version; a version's destination differs from that of the one before. */
const destinationOf = (version: number): number => 1 + (version % (DESTINATIONS.length - 1))

/** Plays the steps; throws an AssertionError at the first route that is older than it may be. */
async function play(steps: readonly Step[], generations: Generations, mapping: Partial<MappingConfig>): Promise<void> {
  const box = scripted({
    generations,
    with: { settle: 0, ...mapping },
  })
  /** What the source holds, and from which version on a login must see it: whatever happens, and where the source was asked. */
  const version: Record<Key, number> = { a: 0, b: 0 }
  const confirmed: Record<Key, number> = { a: 0, b: 0 }
  const doubted: Record<Key, number> = { a: 0, b: 0 }
  let failure: unknown
  const late: { key: Key; answer: () => Promise<void>; fail: () => Promise<void> }[] = []
  const given: { key: Key; route: Route }[] = []
  let busUp = true

  box.source.onLookup = (identifier) => {
    const asked = identifier as Key
    // The value at the time of asking, whenever the answer comes.
    const value = DESTINATIONS[destinationOf(version[asked])]
    queueMicrotask(() => {
      const open = box.source.open.find((lookup) => lookup.identifier === asked && !taken.has(lookup))
      assert.ok(open)
      taken.add(open)
      late.push({ key: asked, answer: () => open.answer(value), fail: () => open.fail() })
    })
  }
  const taken = new Set<unknown>()
  const floors = (asked: Key) => ({ always: confirmed[asked], asked: Math.max(confirmed[asked], doubted[asked]) })
  const doubt = (): void => {
    for (const name of KEYS) doubted[name] = version[name]
  }
  const check = (asked: Key, route: Route, floor: ReturnType<typeof floors>, what: string): void => {
    if (route.kind === 'unavailable') return
    const since = route.source === 'stale' ? floor.always : floor.asked
    if (route.kind === 'default') {
      assert.ok(mapping.onFailure === 'default' && route.source === 'stale', `${what}: the default route of a mapped account`)
      return
    }
    const allowed = []
    for (let at = since; at <= version[asked]; at++) allowed.push(destinationOf(at))
    assert.ok(allowed.includes(route.destination), `${what} of ${asked}: ${DESTINATIONS[route.destination]} is older than version ${since}`)
  }

  for (const one of steps) {
    switch (one.do) {
      case 'put':
        version[one.key]++
        await box.actor.ref.ask({ type: 'invalidate', identifiers: [one.key] }, 1_000)
        confirmed[one.key] = version[one.key]
        break
      case 'missed-put':
        version[one.key]++
        break
      case 'login': {
        const floor = floors(one.key)
        const hit = box.resolver.cached(one.key)
        if (hit !== undefined) {
          check(one.key, hit, floor, 'a cached route')
          given.push({ key: one.key, route: hit })
        } else {
          const { promise } = box.ask(one.key)
          promise
            .then((route) => {
              check(one.key, route, floor, 'a route')
              given.push({ key: one.key, route })
            })
            .catch((error: unknown) => {
              failure ??= error
            })
        }
        break
      }
      case 'answer':
      case 'fail':
        if (late.length > 0) {
          const [chosen] = late.splice(one.which % late.length, 1)
          await (one.do === 'answer' ? chosen?.answer() : chosen?.fail())
        }
        break
      case 'invalidate-all':
        await box.actor.ref.ask({ type: 'invalidate-all' }, 1_000)
        for (const name of KEYS) confirmed[name] = version[name]
        break
      case 'doubt':
        await box.actor.ref.ask({ type: 'doubt', reason: 'a gap' }, 1_000)
        doubt()
        break
      case 'bus':
        busUp = !busUp
        await box.actor.ref.ask({ type: 'bus', up: busUp }, 1_000)
        if (busUp) doubt()
        break
      case 'audit':
        box.actor.ref.tell({ type: 'audit' })
        break
      case 'time':
        box.clock.advance(one.ms)
        break
      default:
    }
    await turn()
    if (failure !== undefined) throw failure
    // Whatever was given out and still holds may enter the bridge now: it must be what was confirmed by now.
    for (const { key: asked, route } of given) {
      if (route.kind !== 'unavailable' && box.resolver.standing(route) === 'holds') check(asked, route, floors(asked), 'a route that holds')
    }
  }
}

async function run(make: () => Generations): Promise<fc.RunDetails<[Step[], Partial<MappingConfig>]>> {
  return fc.check(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), mapping, (steps, config) => play(steps, make(), config)),
    { numRuns: 400, endOnFailure: true },
  )
}

test('no login gets an older route than the last confirmed put, in any order of events', async () => {
  const details = await run(() => new Generations())
  assert.equal(details.failed, false, fc.defaultReportMessage(details) ?? '')
})

test('the same holds for a memory of invalidations that is too small', async () => {
  const details = await run(() => new Generations(1))
  assert.equal(details.failed, false, fc.defaultReportMessage(details) ?? '')
})

test('the model catches a resolver that does not notice an invalidation during a lookup', async () => {
  class Blind extends Generations {
    override voidSince(): boolean {
      return false
    }
  }
  assert.equal((await run(() => new Blind())).failed, true)
})

test('the model catches a resolver that acknowledges an invalidation and forgets it', async () => {
  class Forgetful extends Generations {
    override invalidate(key: string, now: number): void {
      if (key !== 'b') super.invalidate(key, now)
    }
  }
  assert.equal((await run(() => new Forgetful())).failed, true)
})

test('the model catches a resolver that never doubts', async () => {
  class Credulous extends Generations {
    override doubtAll(): void {}
  }
  assert.equal((await run(() => new Credulous())).failed, true)
})
