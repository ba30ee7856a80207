import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { SignalboxError } from '../../src/errors.ts'
import type { ErrorCode } from '../../src/errors.ts'
import { CUTOVER_LEASE_MARGIN_MS } from '../../src/limits.ts'
import type { Confirmation, CutoverAnswer, CutoverStep } from '../../src/management/operations.ts'
import type { LeaseHolder } from '../../src/mapping/lease.ts'
import { cutover } from '../../src/primary/cutover.ts'
import type { CutoverGround } from '../../src/primary/cutover.ts'
import { FakeClock } from '../support/fake-clock.ts'

const GOOD: Confirmation = { workers: 2, workersExpected: 2, peers: [{ instance: 'b', acknowledged: true }], bus: 'up' }
const SLOW_WORKER: Confirmation = { ...GOOD, workers: 1 }
const SILENT_PEER: Confirmation = { ...GOOD, peers: [{ instance: 'b', acknowledged: false }] }
const BUS_DOWN: Confirmation = { ...GOOD, peers: [], bus: 'down' }
const ME: LeaseHolder = { id: 'me', who: 'a for 192.0.2.1', since: 1 }
const OTHER: LeaseHolder = { id: 'other', who: 'b for 192.0.2.2', since: 2 }

/** An instance in memory: notes what it is asked in order, and fails where it is told to. */
class Ground implements CutoverGround {
  readonly asked: string[] = []
  readonly holds = new Set<string>()
  mapping: string | undefined
  holder: LeaseHolder | undefined
  /** For how long, milliseconds. */
  leased: number | undefined
  /** Destinations of the account's sessions. */
  sessions: string[] = []
  /** What a question rejects with, by its name; `written`: although it has done its work. */
  readonly failures = new Map<string, { readonly code: ErrorCode; readonly written?: boolean }>()
  readonly confirmations = new Map<string, Confirmation>()
  /** Done before a question is answered. */
  readonly meanwhile = new Map<string, () => void>()

  constructor(mapping: string | undefined, sessions: readonly string[] = []) {
    this.mapping = mapping
    this.sessions = [...sessions]
  }

  async lookup(): Promise<string | undefined> {
    this.#ask('lookup')
    return this.mapping
  }

  async lease(_: string, holder: LeaseHolder, ms: number): Promise<LeaseHolder | undefined> {
    this.#ask('lease')
    this.leased = ms
    if (this.holder !== undefined) return this.holder
    this.holder = holder
    return undefined
  }

  async endLease(_: string, id: string): Promise<void> {
    this.#ask('endLease')
    if (this.holder?.id === id) this.holder = undefined
  }

  async hold(_: string, id: string): Promise<Confirmation> {
    this.holds.add(id)
    return this.#confirm('hold')
  }

  async write(_: string, destination: string): Promise<void> {
    if (this.failures.get('write')?.written === true) this.mapping = destination
    this.#ask('write')
    this.mapping = destination
  }

  async exchange(_: string, { from, to }: { from: string | undefined; to: string | undefined }): Promise<boolean> {
    this.#ask('exchange')
    if (this.mapping !== from) return false
    this.mapping = to
    return true
  }

  async invalidate(): Promise<Confirmation> {
    return this.#confirm('invalidate')
  }

  async kick(_: string, except: string | undefined): Promise<{ kicked: number; confirmation: Confirmation }> {
    const before = this.sessions.length
    this.sessions = this.sessions.filter((destination) => destination === except)
    return { kicked: before - this.sessions.length, confirmation: this.#confirm('kick') }
  }

  async release(_: string, id: string): Promise<Confirmation> {
    this.holds.delete(id)
    return this.#confirm('release')
  }

  #confirm(what: string): Confirmation {
    this.#ask(what)
    return this.confirmations.get(what) ?? GOOD
  }

  #ask(what: string): void {
    this.asked.push(what)
    this.meanwhile.get(what)?.()
    const failure = this.failures.get(what)
    if (failure !== undefined) throw new SignalboxError(failure.code, `${what} failed`)
  }
}

function act(ground: Ground, clock = new FakeClock()): Promise<CutoverAnswer> {
  return cutover(ground, clock, { identifier: 'carol', destination: 'new', hold: 30_000, holder: ME })
}

const outcomes = (answer: CutoverAnswer): string[] => ('steps' in answer ? answer.steps.map(({ step, outcome }) => `${step} ${outcome}`) : [])

describe('the cutover of an account', () => {
  test('holds, writes, voids, ends sessions, releases, in this order, under a lease', async () => {
    const ground = new Ground('old', ['old', 'old', 'new'])
    const answer = await act(ground)
    assert.deepEqual(ground.asked, ['lease', 'lookup', 'hold', 'write', 'invalidate', 'kick', 'release', 'endLease'])
    assert.ok(answer.result === 'moved')
    assert.deepEqual([answer.from, answer.sessionsEnded, answer.confirmation], ['old', 2, GOOD])
    assert.deepEqual(outcomes(answer), ['hold ok', 'write ok', 'invalidate ok', 'kick ok', 'release ok'])
    assert.deepEqual([ground.mapping, ground.sessions, ground.holds.size, ground.holder], ['new', ['new'], 0, undefined])
  })

  test('the lease outlives the hold, a write that takes as long again, and what the rest may take', async () => {
    const ground = new Ground('old')
    await act(ground)
    assert.equal(ground.leased, 2 * 30_000 + CUTOVER_LEASE_MARGIN_MS)
  })

  test('an account without a mapping is moved too, and spares sessions that are there by default', async () => {
    const ground = new Ground(undefined, ['new'])
    const answer = await act(ground)
    assert.ok(answer.result === 'moved')
    assert.deepEqual([answer.from, answer.sessionsEnded], [null, 0])
  })

  test('an account that is there already is unchanged: nothing is held or written, but what an act left undone is done', async () => {
    const ground = new Ground('new', ['old', 'new'])
    const answer = await act(ground)
    assert.deepEqual(ground.asked, ['lease', 'lookup', 'invalidate', 'kick', 'endLease'])
    assert.ok(answer.result === 'unchanged')
    assert.equal(answer.sessionsEnded, 1)
    assert.deepEqual(ground.sessions, ['new'])
  })

  test('somebody else’s lease is told, and nothing is done', async () => {
    const ground = new Ground('old', ['old'])
    ground.holder = OTHER
    assert.deepEqual(await act(ground), { result: 'busy', holder: OTHER })
    assert.deepEqual(ground.asked, ['lease', 'endLease'])
    assert.equal(ground.holder, OTHER)
  })

  for (const question of ['lease', 'lookup']) {
    test(`rejects with nothing changed when the source fails at the ${question}`, async () => {
      const ground = new Ground('old', ['old'])
      ground.failures.set(question, { code: 'SOURCE_UNAVAILABLE' })
      await assert.rejects(act(ground), { code: 'SOURCE_UNAVAILABLE' })
      assert.deepEqual([ground.mapping, ground.sessions, ground.holder], ['old', ['old'], undefined])
      assert.ok(!ground.asked.includes('hold'))
    })
  }

  const lacks: readonly [string, Confirmation, ErrorCode, RegExp][] = [
    ['a worker does not obey', SLOW_WORKER, 'ACTOR_DEADLINE', /1 of 2 workers/],
    ['a peer does not obey', SILENT_PEER, 'ACTOR_DEADLINE', /peer b/],
    ['the bus is down', BUS_DOWN, 'BUS_DOWN', /bus is down/],
  ]
  for (const [what, confirmation, code, words] of lacks) {
    for (const step of ['hold', 'invalidate', 'kick'] as const) {
      test(`${what} at the ${step}: the mapping is as it was, the hold released, and the step named`, async () => {
        const ground = new Ground('old', ['old'])
        ground.confirmations.set(step, confirmation)
        // Invalidating after putting back may fail for the same reason, and changes nothing about it.
        const answer = await act(ground)
        assert.ok(answer.result === 'failed')
        assert.deepEqual([answer.step, answer.error.code, answer.putBack], [step, code, step === 'hold' ? 'not needed' : 'done'])
        assert.match(answer.error.message, words)
        assert.deepEqual([ground.mapping, ground.holds.size, ground.holder], ['old', 0, undefined])
        assert.equal(ground.asked.at(-2), 'release')
      })
    }

    test(`${what} at the release: the account is moved, and the answer says what is unconfirmed`, async () => {
      const ground = new Ground('old', ['old'])
      ground.confirmations.set('release', confirmation)
      const answer = await act(ground)
      assert.ok(answer.result === 'moved')
      assert.deepEqual(outcomes(answer).at(-1), 'release unconfirmed')
      assert.equal(ground.mapping, 'new')
    })
  }

  test('a mapping that was not there before is removed when a step fails', async () => {
    const ground = new Ground(undefined)
    ground.confirmations.set('kick', SILENT_PEER)
    const answer = await act(ground)
    assert.ok(answer.result === 'failed')
    assert.deepEqual([answer.putBack, ground.mapping], ['done', undefined])
  })

  test('a write that is refused needs no putting back', async () => {
    const ground = new Ground('old', ['old'])
    ground.failures.set('write', { code: 'SOURCE_CONFLICT' })
    const answer = await act(ground)
    assert.ok(answer.result === 'failed')
    assert.deepEqual([answer.step, answer.error.code, answer.putBack], ['write', 'SOURCE_CONFLICT', 'not needed'])
    assert.deepEqual(ground.asked, ['lease', 'lookup', 'hold', 'write', 'release', 'endLease'])
    assert.deepEqual(ground.sessions, ['old'])
  })

  for (const written of [true, false]) {
    test(`a write without an answer that ${written ? 'happened is undone' : 'did not happen is left at that'}, and its routes are void`, async () => {
      const ground = new Ground('old', ['old'])
      ground.failures.set('write', { code: 'SOURCE_TIMEOUT', written })
      const answer = await act(ground)
      assert.ok(answer.result === 'failed')
      assert.deepEqual([answer.step, answer.putBack], ['write', written ? 'done' : 'not needed'])
      assert.deepEqual(ground.asked.filter((asked) => asked === 'invalidate'), ['invalidate'])
      assert.deepEqual([ground.mapping, ground.holds.size], ['old', 0])
    })
  }

  test('what somebody else has written meanwhile is left', async () => {
    const ground = new Ground('old', ['old'])
    ground.confirmations.set('kick', SILENT_PEER)
    ground.meanwhile.set('kick', () => (ground.mapping = 'third'))
    const answer = await act(ground)
    assert.ok(answer.result === 'failed')
    assert.deepEqual([answer.putBack, ground.mapping], ['left', 'third'])
  })

  test('a putting back that fails is told, and the hold is released all the same', async () => {
    const ground = new Ground('old')
    ground.confirmations.set('invalidate', SILENT_PEER)
    ground.failures.set('exchange', { code: 'SOURCE_UNAVAILABLE' })
    const answer = await act(ground)
    assert.ok(answer.result === 'failed')
    assert.deepEqual([answer.step, answer.putBack], ['invalidate', 'failed'])
    assert.deepEqual(outcomes(answer), ['hold ok', 'write ok', 'invalidate failed', 'put_back failed', 'release ok'])
    assert.equal(ground.holds.size, 0)
  })

  test('who came in after the hold had run out is ended when the mapping is put back', async () => {
    const clock = new FakeClock()
    const ground = new Ground('old', ['old'])
    ground.confirmations.set('kick', SILENT_PEER)
    let first = true
    ground.meanwhile.set('kick', () => {
      if (!first) return
      first = false
      clock.advance(30_000)
      ground.sessions.push('new')
    })
    const answer = await act(ground, clock)
    assert.ok(answer.result === 'failed')
    assert.deepEqual([ground.mapping, ground.sessions], ['old', []])
  })

  test('an account that is there already is never put back', async () => {
    const ground = new Ground('new', ['old'])
    ground.confirmations.set('kick', SILENT_PEER)
    const answer = await act(ground)
    assert.ok(answer.result === 'failed')
    assert.deepEqual([answer.step, answer.putBack, ground.mapping], ['kick', 'not needed', 'new'])
  })

  test('an account that the source cannot hold is the asker’s mistake, and the hold is released', async () => {
    const ground = new Ground(undefined)
    ground.failures.set('write', { code: 'CLIENT_BAD_IDENTIFIER' })
    await assert.rejects(act(ground), { code: 'CLIENT_BAD_IDENTIFIER' })
    assert.deepEqual([ground.holds.size, ground.holder], [0, undefined])
  })

  test('a lease that cannot be given back is told and fails nothing', async () => {
    const ground = new Ground('old')
    ground.failures.set('endLease', { code: 'SOURCE_UNAVAILABLE' })
    const answer = await act(ground)
    assert.equal(answer.result, 'moved')
    assert.equal(outcomes(answer).at(-1), 'lease unconfirmed')
  })

  test('whatever fails: moved means moved, failed means as before or told otherwise, and no hold is left', async () => {
    const question = fc.constantFrom('hold', 'write', 'exchange', 'invalidate', 'kick', 'release', 'endLease')
    const code = fc.constantFrom<ErrorCode>('SOURCE_UNAVAILABLE', 'SOURCE_TIMEOUT', 'SOURCE_CONFLICT', 'ACTOR_DEADLINE')
    const confirmed = fc.constantFrom('hold', 'invalidate', 'kick', 'release')
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('old', 'new', undefined),
        fc.array(fc.tuple(question, code, fc.boolean()), { maxLength: 3 }),
        fc.array(fc.tuple(confirmed, fc.constantFrom(SLOW_WORKER, SILENT_PEER, BUS_DOWN)), { maxLength: 2 }),
        async (mapping, failures, confirmations) => {
          const ground = new Ground(mapping, ['old'])
          // A refusal that is none: those codes say for certain that nothing was written.
          for (const [name, what, written] of failures) ground.failures.set(name, { code: what, written: written && what !== 'SOURCE_CONFLICT' })
          for (const [name, what] of confirmations) ground.confirmations.set(name, what)
          const answer = await act(ground)
          assert.ok(answer.result !== 'busy')
          if (answer.result === 'failed') {
            const expected: Record<typeof answer.putBack, boolean> = { done: ground.mapping === mapping, 'not needed': ground.mapping === mapping, left: true, failed: true }
            assert.ok(expected[answer.putBack], `${answer.putBack}: ${ground.mapping}`)
            const failing = answer.steps.filter(({ outcome }) => outcome === 'failed').map(({ step }): CutoverStep => step)
            assert.equal(failing[0], answer.step)
          } else {
            assert.equal(ground.mapping, 'new')
            assert.deepEqual(ground.sessions, [])
          }
          assert.ok(ground.failures.has('release') || ground.holds.size === 0)
        },
      ),
      { numRuns: 500 },
    )
  })
})
