/** A worker that stands still: what it is told when it goes on, and what was confirmed meanwhile. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { spawn } from '../../src/actor/actor.ts'
import type { Behaviour } from '../../src/actor/actor.ts'
import type { Question, Reply } from '../../src/actor/message.ts'
import { SignalboxError } from '../../src/errors.ts'
import { CHANGES_OWED, IDENTIFIERS_PER_FRAME, INVALIDATIONS_REMEMBERED } from '../../src/limits.ts'
import { WorkerLine } from '../../src/primary/worker-line.ts'
import type { ResolverMessage } from '../../src/resolver/resolver.ts'
import { FakeClock } from '../support/fake-clock.ts'

const ACK_TIMEOUT = 2_000

/** Hears everything; answers when it is let. */
class Standing implements Behaviour<ResolverMessage> {
  readonly heard: ResolverMessage[] = []
  #waiting: (() => void)[] | undefined = []

  receive(message: ResolverMessage, reply: Reply): void {
    this.heard.push(message)
    const answer = (): void => reply.to(message as Question<true>, true)
    if (this.#waiting === undefined) answer()
    else this.#waiting.push(answer)
  }

  goOn(): void {
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    for (const answer of waiting) answer()
  }

  crashed(error: SignalboxError): void {
    throw error
  }
}

function house() {
  const clock = new FakeClock()
  const worker = new Standing()
  const actor = spawn<ResolverMessage>(worker, { name: 'resolver', clock })
  return { clock, worker, actor, line: new WorkerLine({ clock, resolver: actor.ref, ackTimeout: ACK_TIMEOUT }) }
}

/** How many were kept, and how many failed with which code. */
async function outcomes(promises: readonly Promise<unknown>[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const outcome of await Promise.allSettled(promises)) {
    const name = outcome.status === 'fulfilled' ? 'obeyed' : outcome.reason instanceof SignalboxError ? outcome.reason.code : 'other'
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

describe('the line to a worker', () => {
  test('changes beyond what it may owe become one, which is told when it answers and confirms them all', async () => {
    const { worker, line } = house()
    const all = Array.from({ length: CHANGES_OWED + 5_000 }, (_, index) => line.invalidate([`account${index}`]))
    assert.equal(worker.heard.length, CHANGES_OWED)
    worker.goOn()
    assert.deepEqual(await outcomes(all), { obeyed: all.length })
    assert.equal(worker.heard.length, CHANGES_OWED + 1)
    assert.deepEqual(worker.heard.at(-1), { type: 'invalidate-all' })
    await line.invalidate(['again'])
    assert.deepEqual(worker.heard.at(-1), { type: 'invalidate', identifiers: ['again'] }, 'one by one again')
  })

  test('so do those beyond the identifiers that it would remember', async () => {
    const { worker, line } = house()
    const identifiers = Array.from({ length: IDENTIFIERS_PER_FRAME }, (_, index) => `account${index}`)
    const frames = Math.floor(INVALIDATIONS_REMEMBERED / IDENTIFIERS_PER_FRAME) + 1
    const all = Array.from({ length: frames + 20 }, () => line.invalidate(identifiers))
    assert.equal(worker.heard.length, frames)
    worker.goOn()
    assert.deepEqual(await outcomes(all), { obeyed: all.length })
    assert.deepEqual(worker.heard.slice(frames), [{ type: 'invalidate-all' }])
  })

  test('whoever waits is told in time that it has not obeyed; what comes later is told to it all the same', async () => {
    const { clock, worker, line } = house()
    const early = Array.from({ length: CHANGES_OWED + 3 }, (_, index) => line.invalidate([`account${index}`]))
    const failed = outcomes(early)
    clock.advance(ACK_TIMEOUT)
    assert.deepEqual(await failed, { ACTOR_DEADLINE: early.length })
    const later = line.invalidateAll()
    assert.equal(worker.heard.length, CHANGES_OWED, 'it has answered nothing yet, though nobody waits any more')
    worker.goOn()
    await later
    assert.deepEqual(worker.heard.slice(CHANGES_OWED), [{ type: 'invalidate-all' }])
  })

  test('a change that comes while everything is being invalidated is told after it', async () => {
    const { worker, line } = house()
    const owed = Array.from({ length: CHANGES_OWED + 1 }, (_, index) => line.invalidate([`account${index}`]))
    worker.goOn()
    await owed.at(-1)
    const after = line.invalidate(['late'])
    await after
    assert.deepEqual(worker.heard.slice(CHANGES_OWED), [{ type: 'invalidate-all' }, { type: 'invalidate', identifiers: ['late'] }])
  })

  test('of doubts one is under way and one waits, for all that come meanwhile', async () => {
    const { worker, line } = house()
    const doubts = Array.from({ length: 1_000 }, () => line.doubt('a gap'))
    assert.equal(worker.heard.length, 1)
    worker.goOn()
    assert.deepEqual(await outcomes(doubts), { obeyed: 1_000 })
    assert.deepEqual(worker.heard, [{ type: 'doubt', reason: 'a gap' }, { type: 'doubt', reason: 'a gap' }])
  })

  test('one that is gone owes nothing: all are told so, and nothing waits', async () => {
    const { clock, actor, line } = house()
    const all = [...Array.from({ length: CHANGES_OWED + 10 }, (_, index) => line.invalidate([`account${index}`])), line.doubt('one'), line.doubt('two')]
    actor.stop()
    const failed = outcomes(all)
    // A question that was put to the actor before it stopped has its own deadline.
    clock.advance(60_000)
    await turn()
    const counts = await failed
    assert.equal((counts['ACTOR_DEADLINE'] ?? 0) + (counts['ACTOR_GONE'] ?? 0), all.length)
    assert.deepEqual(await outcomes([line.invalidate(['later']), line.doubt('later')]), { ACTOR_GONE: 2 })
    assert.equal(clock.pending, 0)
  })
})
