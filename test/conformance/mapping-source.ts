/**
 * What every mapping source must do, whatever it keeps the mappings in. Called once per implementation with a way to
 * make an empty, writable source; it knows nothing of files, keys or tables.
 */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, it } from 'node:test'
import fc from 'fast-check'
import { systemClock } from '../../src/clock.ts'
import { SignalboxError } from '../../src/errors.ts'
import type { Changed, Mapping, MappingSource } from '../../src/mapping/source.ts'
import { eventually } from '../support/settled.ts'

/** Destinations that the source under test must know. */
export const DESTINATIONS = ['legacy', 'stalwart', 'third-one'] as const

export interface SourceFixture {
  readonly source: MappingSource
  /** Closes the source and removes what it was kept in. */
  dispose(): Promise<void>
  /** Another source over the same store: what was committed is there. Closed by dispose. */
  reopen(): Promise<MappingSource>
  /** Somebody else writes to the store, past the source; `destination` undefined removes. */
  outside(identifier: string, destination: string | undefined): Promise<void>
}

export interface SourceSuite {
  /** `watch`: outside changes are to be noticed. */
  make(options: { readonly watch: boolean }): Promise<SourceFixture>
  /** Whether exports come in order of the identifiers' bytes. */
  readonly ordered: boolean
  /** False: the store has no way to tell of outside changes. Default true. */
  readonly watchable?: boolean
  /** False: leases hold for one source only, because the store has one writer. Default true. */
  readonly leasesShared?: boolean
}

const ODD_IDENTIFIERS = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  'a',
  "o'brien@example.org",
  'back\\slash',
  '100%',
  '%s%d%n',
  'glob*?[a-z]',
  '{curly}',
  '$where',
  '-flag',
  'a=b&c=d',
  "';drop--",
  'grüße@müller.example',
  'иван@пример.рф',
  '日本語@例え.jp',
  '😀@emoji.example',
  '\u00a0nbsp',
  'e\u0301',
  '\u00e9',
  '\u{10ffff}',
  'x'.repeat(512),
  'ü'.repeat(256),
]

export function mappingSourceSuite(name: string, suite: SourceSuite): void {
  describe(`a mapping source: ${name}`, () => {
    let fixture: SourceFixture
    let source: MappingSource

    beforeEach(async () => {
      fixture = await suite.make({ watch: false })
      source = fixture.source
    })
    afterEach(() => fixture.dispose())

    it('knows nothing of an account that was never mapped', async () => {
      assert.equal(await source.lookup('nobody@example.org'), undefined)
      assert.deepEqual(await all(source), [])
      assert.deepEqual(await source.summary(), new Map())
    })

    it('finds what was put as soon as the put has resolved, and what replaced it', async () => {
      assert.equal(source.writable, true)
      await source.put('alice@example.org', 'legacy')
      assert.equal(await source.lookup('alice@example.org'), 'legacy')
      await source.put('alice@example.org', 'stalwart')
      assert.equal(await source.lookup('alice@example.org'), 'stalwart')
      assert.equal(await source.lookup('alice@example.or'), undefined)
      assert.equal(await source.lookup('alice@example.orgg'), undefined)
      assert.equal(await source.lookup('lice@example.org'), undefined)
    })

    it('says whether a delete removed something', async () => {
      await source.put('alice@example.org', 'legacy')
      assert.equal(await source.delete('alice@example.org'), true)
      assert.equal(await source.lookup('alice@example.org'), undefined)
      assert.equal(await source.delete('alice@example.org'), false)
      assert.deepEqual(await all(source), [])
    })

    it('has committed what it has answered: another source over the same store finds it', async () => {
      await source.put('alice@example.org', 'legacy')
      await source.put('bob@example.org', 'stalwart')
      await source.delete('alice@example.org')
      const other = await fixture.reopen()
      assert.deepEqual(await all(other), [{ identifier: 'bob@example.org', destination: 'stalwart' }])
    })

    it('keeps identifiers with odd names, and never mixes them up', async () => {
      for (const identifier of ODD_IDENTIFIERS) assert.equal(await source.lookup(identifier), undefined, identifier)
      const mappings = ODD_IDENTIFIERS.map((identifier, i) => ({ identifier, destination: destination(i) }))
      await source.import(mappings.slice(0, 5), 'merge')
      await Promise.all(mappings.slice(5).map((mapping) => source.put(mapping.identifier, mapping.destination)))
      const other = await fixture.reopen()
      for (const mapping of mappings) {
        assert.equal(await source.lookup(mapping.identifier), mapping.destination, mapping.identifier)
        assert.equal(await other.lookup(mapping.identifier), mapping.destination, mapping.identifier)
      }
      assert.deepEqual(sorted(await all(source)), sorted(mappings))
      for (const { identifier } of mappings) assert.equal(await source.delete(identifier), true, identifier)
      assert.deepEqual(await all(source), [])
    })

    it('does not find what cannot have been stored: too long, not Unicode', async () => {
      await source.put('\ufffd', 'legacy')
      await source.put('x'.repeat(512), 'legacy')
      assert.equal(await source.lookup('\ud800'), undefined)
      assert.equal(await source.lookup('x'.repeat(513)), undefined)
      assert.equal(await source.lookup('x'.repeat(100_000)), undefined)
    })

    it('takes a thousand puts at once, each of which finds itself', async () => {
      await Promise.all(
        Array.from({ length: 1_000 }, async (_, i) => {
          await source.put(`user${i}@example.org`, destination(i))
          assert.equal(await source.lookup(`user${i}@example.org`), destination(i))
        }),
      )
      assert.equal((await all(source)).length, 1_000)
    })

    it('lets the last of several puts of one account win', async () => {
      await Promise.all([
        source.put('alice@example.org', 'legacy'),
        source.put('alice@example.org', 'stalwart'),
        source.put('alice@example.org', 'third-one'),
      ])
      const found = await source.lookup('alice@example.org')
      const other = await fixture.reopen()
      assert.ok(found !== undefined)
      assert.equal(await other.lookup('alice@example.org'), found)
    })

    it('imports by merging: adds, changes, leaves, and says how many of each', async () => {
      await source.put('a@example.org', 'legacy')
      await source.put('b@example.org', 'legacy')
      await source.put('c@example.org', 'legacy')
      const result = await source.import(
        [
          { identifier: 'b@example.org', destination: 'stalwart' },
          { identifier: 'c@example.org', destination: 'legacy' },
          { identifier: 'd@example.org', destination: 'third-one' },
        ],
        'merge',
      )
      assert.deepEqual(counts(result), { added: 1, changed: 1, removed: 0, unchanged: 1 })
      assert.ok(covers(result.invalidate, ['b@example.org', 'd@example.org']))
      assert.deepEqual(sorted(await all(source)), [
        { identifier: 'a@example.org', destination: 'legacy' },
        { identifier: 'b@example.org', destination: 'stalwart' },
        { identifier: 'c@example.org', destination: 'legacy' },
        { identifier: 'd@example.org', destination: 'third-one' },
      ])
    })

    it('imports by replacing: what the import lacks is gone', async () => {
      await source.put('a@example.org', 'legacy')
      await source.put('b@example.org', 'legacy')
      async function* mappings(): AsyncGenerator<Mapping> {
        yield { identifier: 'b@example.org', destination: 'stalwart' }
        await new Promise((resolve) => setImmediate(resolve))
        yield { identifier: 'c@example.org', destination: 'stalwart' }
      }
      const result = await source.import(mappings(), 'replace')
      assert.deepEqual(counts(result), { added: 1, changed: 1, removed: 1, unchanged: 0 })
      assert.ok(covers(result.invalidate, ['a@example.org', 'b@example.org', 'c@example.org']))
      assert.deepEqual(sorted(await all(source)), [
        { identifier: 'b@example.org', destination: 'stalwart' },
        { identifier: 'c@example.org', destination: 'stalwart' },
      ])
    })

    it('imports nothing of an import that breaks off or holds a mistake', async () => {
      await source.put('a@example.org', 'legacy')
      const gone = new Error('the client went away')
      async function* broken(): AsyncGenerator<Mapping> {
        yield { identifier: 'b@example.org', destination: 'stalwart' }
        throw gone
      }
      const wrong = [
        { identifier: 'b@example.org', destination: 'stalwart' },
        { identifier: 'with space', destination: 'stalwart' },
      ]
      for (const mode of ['merge', 'replace'] as const) {
        await assert.rejects(source.import(broken(), mode))
        await assert.rejects(source.import(wrong, mode), hasCode('SOURCE_INVALID'))
        assert.deepEqual(await all(source), [{ identifier: 'a@example.org', destination: 'legacy' }])
      }
    })

    it('tells in a dry run what an import would do, and does nothing', async () => {
      await source.import(['a', 'b', 'c'].map((name) => ({ identifier: `${name}@example.org`, destination: 'legacy' })), 'merge')
      const few = [
        { identifier: 'a@example.org', destination: 'legacy' },
        { identifier: 'b@example.org', destination: 'stalwart' },
        { identifier: 'd@example.org', destination: 'stalwart' },
        { identifier: 'd@example.org', destination: 'stalwart' },
      ]
      const many = Array.from({ length: 6_000 }, (_, i) => ({ identifier: `u${i}`, destination: destination(i) }))
      const before = await all(source)
      const dry = async (mappings: Mapping[], mode: 'merge' | 'replace') => counts(await source.import(mappings, mode, { dryRun: true }))
      assert.deepEqual(await dry(few.slice(0, 3), 'merge'), { added: 1, changed: 1, removed: 0, unchanged: 1 })
      assert.deepEqual(await dry(few, 'replace'), { added: 1, changed: 1, removed: 1, unchanged: 1 })
      assert.deepEqual(await dry([...many, ...few], 'merge'), { added: 6_001, changed: 1, removed: 0, unchanged: 1 })
      assert.deepEqual(await dry([...few, ...many], 'replace'), { added: 6_001, changed: 1, removed: 1, unchanged: 1 })
      await assert.rejects(dry([...many, { identifier: 'with space', destination: 'legacy' }], 'merge'), hasCode('SOURCE_INVALID'))
      assert.deepEqual(sorted(await all(source)), sorted(before))
      assert.deepEqual(counts(await source.import(few.slice(0, 3), 'replace')), { added: 1, changed: 1, removed: 1, unchanged: 1 })
    })

    it('imports more than it would keep in memory', async () => {
      const mappings = Array.from({ length: 12_000 }, (_, i) => ({ identifier: `u${i}`, destination: destination(i) }))
      const result = await source.import(mappings, 'merge')
      assert.deepEqual(counts(result), { added: 12_000, changed: 0, removed: 0, unchanged: 0 })
      assert.equal((await all(source)).length, 12_000)
      assert.equal(await source.lookup('u11999'), destination(11_999))
      const again = await source.import(mappings.slice(0, 6_000), 'replace')
      assert.deepEqual(counts(again), { added: 0, changed: 0, removed: 6_000, unchanged: 6_000 })
      assert.equal(await source.lookup('u11999'), undefined)
    })

    it('exports by prefix and destination, and no more than asked for', async () => {
      for (const identifier of ['aa', 'ab', 'b', 'ba*', 'bä']) {
        await source.put(identifier, identifier === 'ab' ? 'stalwart' : 'legacy')
      }
      assert.deepEqual(names(await all(source, { prefix: 'a' })), ['aa', 'ab'])
      assert.deepEqual(names(await all(source, { prefix: 'ba*' })), ['ba*'])
      assert.deepEqual(names(await all(source, { prefix: 'zzz' })), [])
      assert.deepEqual(names(await all(source, { destination: 'stalwart' })), ['ab'])
      assert.deepEqual(names(await all(source, { prefix: 'b', destination: 'legacy' })), ['b', 'ba*', 'bä'])
      assert.equal((await all(source, { limit: 2 })).length, 2)
      assert.deepEqual(await all(source, { limit: 0 }), [])
    })

    if (suite.ordered) {
      it('exports in order of the bytes, and goes on behind a given identifier, there or not', async () => {
        const inOrder = ['A', 'Z', 'a', 'a0', 'aa', 'b', 'ä', '\uffee', '😀']
        await source.import([...inOrder].reverse().map((identifier) => ({ identifier, destination: 'legacy' })), 'merge')
        const exported: string[] = []
        for await (const { identifier } of source.export()) exported.push(identifier)
        assert.deepEqual(exported, inOrder)
        assert.deepEqual(names(await all(source, { after: 'a', limit: 2 })), ['a0', 'aa'])
        assert.deepEqual(names(await all(source, { after: 'a00', limit: 1 })), ['aa'])
        assert.deepEqual(names(await all(source, { after: 'a0', prefix: 'a' })), ['aa'])
        assert.deepEqual(names(await all(source, { after: '😀' })), [])
        assert.deepEqual(names(await all(source, { after: 'Z', prefix: 'b' })), ['b'])
      })
    }

    it('counts accounts per destination', async () => {
      await source.put('a', 'legacy')
      await source.put('b', 'legacy')
      await source.put('c', 'stalwart')
      await source.put('a', 'stalwart')
      await source.delete('b')
      assert.deepEqual(await source.summary(), new Map([['stalwart', 2]]))
    })

    it('reloads without harm', async () => {
      await source.put('a', 'legacy')
      const result = await source.reload()
      assert.deepEqual([result.added, result.changed, result.removed], [0, 0, 0])
      assert.ok(covers(result.invalidate, []))
      assert.equal(await source.lookup('a'), 'legacy')
    })

    it('is what a Map would be, under any sequence of operations', async () => {
      const identifier = fc.constantFrom('a', 'b', 'ab', 'b\u00e9', '__proto__', 'c'.repeat(512))
      const operation = fc.oneof(
        fc.record({ put: identifier, to: fc.constantFrom(...DESTINATIONS) }),
        fc.record({ remove: identifier }),
        fc.record({
          load: fc.array(fc.tuple(identifier, fc.constantFrom(...DESTINATIONS)), { maxLength: 4 }),
          mode: fc.constantFrom('merge' as const, 'replace' as const),
        }),
      )
      await fc.assert(
        fc.asyncProperty(fc.array(operation, { maxLength: 12 }), async (operations) => {
          await source.import([], 'replace')
          const model = new Map<string, string>()
          for (const one of operations) {
            if ('put' in one) {
              await source.put(one.put, one.to)
              model.set(one.put, one.to)
            } else if ('remove' in one) {
              assert.equal(await source.delete(one.remove), model.delete(one.remove))
            } else {
              if (one.mode === 'replace') model.clear()
              await source.import(one.load.map(([identifier, to]) => ({ identifier, destination: to })), one.mode)
              for (const [name, to] of one.load) model.set(name, to)
            }
          }
          const expected = [...model].map(([identifier, destination]) => ({ identifier, destination }))
          assert.deepEqual(sorted(await all(source)), sorted(expected))
          for (const [name, to] of model) assert.equal(await source.lookup(name), to)
          const summary = new Map<string, number>()
          for (const to of model.values()) summary.set(to, (summary.get(to) ?? 0) + 1)
          assert.deepEqual(sortedEntries(await source.summary()), sortedEntries(summary))
        }),
        { numRuns: 12 },
      )
    })

    it('exchanges a mapping only while it is what it is expected to be', async () => {
      assert.equal(await source.exchange('a', { from: 'legacy', to: 'stalwart' }), false)
      assert.equal(await source.lookup('a'), undefined)
      assert.equal(await source.exchange('a', { from: undefined, to: 'stalwart' }), true)
      assert.equal(await source.lookup('a'), 'stalwart')
      assert.equal(await source.exchange('a', { from: undefined, to: 'legacy' }), false)
      assert.equal(await source.exchange('a', { from: 'legacy', to: 'third-one' }), false)
      assert.equal(await source.exchange('a', { from: 'stalwart', to: 'stalwart' }), true)
      assert.equal(await source.exchange('a', { from: 'stalwart', to: 'legacy' }), true)
      assert.equal(await source.lookup('a'), 'legacy')
      assert.equal(await source.exchange('a', { from: 'stalwart', to: undefined }), false)
      assert.equal(await source.exchange('a', { from: 'legacy', to: undefined }), true)
      assert.equal(await source.lookup('a'), undefined)
      assert.equal(await source.exchange('a', { from: undefined, to: undefined }), true)
      assert.deepEqual(await all(source), [])
    })

    it('lets one of many that exchange the same mapping at once win', async () => {
      await source.put('a', 'legacy')
      const won = await Promise.all(Array.from({ length: 8 }, () => source.exchange('a', { from: 'legacy', to: 'stalwart' })))
      assert.equal(won.filter((one) => one).length, 1)
      assert.equal(await source.lookup('a'), 'stalwart')
    })

    it('leases an account to one at a time, and says to the others whose it is', async () => {
      const [one, two] = ['one', 'two'].map((id, since) => ({ id, who: `mx1 for ${id}, "quoted" %s`, since: 1_700_000_000_000 + since }))
      assert.ok(one !== undefined && two !== undefined)
      for (const identifier of ODD_IDENTIFIERS) {
        assert.equal(await source.lease(identifier, one, 60_000), undefined, identifier)
        assert.deepEqual(await source.lease(identifier, two, 60_000), one)
        // Who doesn't have it can't end it.
        await source.endLease(identifier, two.id)
        assert.deepEqual(await source.lease(identifier, two, 60_000), one)
      }
      for (const identifier of ODD_IDENTIFIERS) {
        await source.endLease(identifier, one.id)
        assert.equal(await source.lease(identifier, two, 60_000), undefined, identifier)
      }
      assert.deepEqual(await all(source), [], 'a lease is no mapping')
      assert.deepEqual(await source.summary(), new Map())
    })

    it('gives one of many that ask at once the lease, and everybody else the same answer', async () => {
      const holders = Array.from({ length: 12 }, (_, i) => ({ id: `holder-${i}`, who: `operator ${i}`, since: i }))
      const answers = await Promise.all(holders.map((holder) => source.lease('a', holder, 60_000)))
      const [winner, ...others] = holders.filter((_, i) => answers[i] === undefined)
      assert.ok(winner !== undefined)
      assert.deepEqual(others, [])
      assert.deepEqual(answers.filter((answer) => answer !== undefined), holders.slice(1).map(() => winner))
    })

    it('lets a lease end by itself', async () => {
      const [one, two] = [{ id: 'one', who: 'a', since: 1 }, { id: 'two', who: 'b', since: 2 }]
      assert.equal(await source.lease('a', one, 20), undefined)
      await untilTaken(() => source.lease('a', two, 60_000))
      // It comes too late, and ends nothing that isn't its own.
      await source.endLease('a', one.id)
      assert.deepEqual(await source.lease('a', one, 60_000), two)
    })

    if (suite.leasesShared !== false) {
      it('leases for everybody who uses the store', async () => {
        const other = await fixture.reopen()
        const [one, two] = [{ id: 'one', who: 'a', since: 1 }, { id: 'two', who: 'b', since: 2 }]
        assert.equal(await source.lease('a', one, 60_000), undefined)
        assert.deepEqual(await other.lease('a', two, 60_000), one)
        assert.equal(await other.lease('b', two, 60_000), undefined)
        await source.endLease('a', one.id)
        assert.equal(await other.lease('a', two, 20), undefined)
        await untilTaken(() => source.lease('a', one, 60_000))
        for (let round = 0; round < 20; round++) {
          const at = `raced${round}`
          await source.lease(at, { id: 'dead', who: 'a', since: 1 }, 1)
          const answers = await Promise.all([source, other, source, other].map((from, i) => from.lease(at, { id: `r${i}`, who: '', since: i }, 60_000)))
          assert.ok(answers.filter((answer) => answer === undefined).length <= 1, JSON.stringify(answers))
        }
      })
    }

    it('lets a write that was accepted finish when it is closed, and refuses what comes after', async () => {
      const written = source.put('a', 'legacy')
      const closed = source.close()
      await written
      await closed
      await source.close()
      await assert.rejects(source.lookup('a'), hasCode('SOURCE_UNAVAILABLE'))
      await assert.rejects(source.put('b', 'legacy'), hasCode('SOURCE_UNAVAILABLE'))
      const other = await fixture.reopen()
      assert.equal(await other.lookup('a'), 'legacy')
      assert.equal(await other.lookup('b'), undefined)
    })
  })

  if (suite.watchable === false) return
  describe(`a watching mapping source: ${name}`, () => {
    it('reports what somebody else changed, and not its own changes', async () => {
      const fixture = await suite.make({ watch: true })
      try {
        const heard: (Changed | { readonly doubt: true; readonly reason: string })[] = []
        fixture.source.onChange((change) => heard.push(change))
        await fixture.source.put('mine@example.org', 'legacy')
        await fixture.outside('other@example.org', 'stalwart')
        const concerns = (identifier: string): boolean => heard.some((change) => 'doubt' in change || covers(change, [identifier]))
        await eventually(() => concerns('other@example.org'), 'the change is reported')
        assert.equal(await fixture.source.lookup('other@example.org'), 'stalwart')
        assert.equal(await fixture.source.lookup('mine@example.org'), 'legacy')
        heard.length = 0
        await fixture.outside('other@example.org', undefined)
        await eventually(() => concerns('other@example.org'), 'the removal is reported')
        assert.equal(await fixture.source.lookup('other@example.org'), undefined)
      } finally {
        await fixture.dispose()
      }
    })
  })
}

/** Asks for a lease until it is given, at most about ten seconds. */
async function untilTaken(take: () => Promise<unknown>): Promise<void> {
  for (let tries = 0; (await take()) !== undefined; tries++) {
    assert.ok(tries < 2_000, 'the lease never ended')
    await systemClock.sleep(5)
  }
}

function destination(i: number): string {
  return DESTINATIONS[i % DESTINATIONS.length] ?? 'legacy'
}

async function all(source: MappingSource, options: Parameters<MappingSource['export']>[0] = {}): Promise<Mapping[]> {
  const mappings: Mapping[] = []
  for await (const mapping of source.export(options)) mappings.push(mapping)
  return mappings
}

function sorted(mappings: readonly Mapping[]): Mapping[] {
  return [...mappings].sort((a, b) => Buffer.compare(Buffer.from(a.identifier), Buffer.from(b.identifier)))
}

function sortedEntries(map: ReadonlyMap<string, number>): [string, number][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1))
}

/** Identifiers in order, so that sources without one can be compared. */
function names(mappings: readonly Mapping[]): string[] {
  return sorted(mappings).map(({ identifier }) => identifier)
}

function counts({ added, changed, removed, unchanged }: Record<'added' | 'changed' | 'removed' | 'unchanged', number>): object {
  return { added, changed, removed, unchanged }
}

/** Whether invalidating `change` invalidates all of `identifiers`. */
function covers(change: Changed, identifiers: readonly string[]): boolean {
  return change.all || identifiers.every((identifier) => change.identifiers.includes(identifier))
}

export function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof SignalboxError && error.code === code
}
