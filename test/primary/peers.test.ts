/** The table of peers by itself: what a number means, who gives way when it is full, what is remembered. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { BusHeader, BusKind } from '../../src/bus/frame.ts'
import { BUS_OWED } from '../../src/limits.ts'
import { Acknowledgements } from '../../src/primary/acknowledgements.ts'
import { Introductions } from '../../src/primary/introductions.ts'
import { Peers } from '../../src/primary/peers.ts'
import { Pulse } from '../../src/primary/pulse.ts'

function frame(instance: string, epoch: number, sequence: number, kind: BusKind = 'heartbeat'): BusHeader {
  return { version: 1, kind, instance, epoch, sequence }
}

describe('peers', () => {
  test('what each number means', () => {
    const peers = new Peers()
    const means = (...[epoch, sequence, kind]: [number, number, BusKind?]): string => peers.follow(frame('a', epoch, sequence, kind), 0).continuity
    assert.equal(means(5, 1, 'hello'), 'new')
    assert.equal(means(5, 2), 'next')
    assert.equal(means(5, 2), 'repeated')
    assert.equal(means(5, 1, 'hello'), 'repeated')
    assert.equal(means(5, 4), 'gap')
    assert.equal(means(5, 3), 'repeated')
    assert.equal(means(4, 9), 'older')
    assert.equal(means(6, 1, 'hello'), 'restarted')
    assert.equal(means(6, 2), 'next')
    const answers = (epoch: number, sequence: number): void => void peers.proven(frame('a', epoch, 0, 'welcome'), sequence, 0)
    answers(6, 2)
    peers.left('a')
    assert.equal(means(6, 2), 'repeated')
    assert.equal(means(5, 9), 'older')
    assert.equal(means(7, 1, 'hello'), 'new')
    answers(7, 1)
    peers.left('a')
    assert.equal(means(8, 2), 'restarted')
    answers(8, 2)
    peers.forget('a')
    assert.equal(means(8, 3), 'gap')
    answers(8, 3)
    peers.forget('a')
    assert.equal(means(9, 1, 'hello'), 'restarted')
    assert.equal(peers.follow(frame('b', 1, 1, 'heartbeat'), 0).continuity, 'unheard')
    assert.equal(peers.follow(frame('c', 1, 2, 'hello'), 0).continuity, 'unheard')
  })

  test('repeated and older frames are no sign of life', () => {
    const peers = new Peers()
    peers.follow(frame('a', 5, 1, 'hello'), 0)
    assert.deepEqual(peers.silent(3_000, 3_000).map(({ instance }) => instance), ['a'])
    peers.follow(frame('a', 5, 1, 'hello'), 3_100)
    peers.follow(frame('a', 4, 9), 3_100)
    assert.equal(peers.get('a')?.lostAt, 3_000)
    assert.deepEqual(peers.follow(frame('a', 5, 2), 3_200).returned, true)
    assert.equal(peers.get('a')?.lostAt, undefined)
  })

  test('a proof is of an epoch, and ends a belief in another', () => {
    const peers = new Peers()
    peers.follow(frame('a', 9, 1, 'hello'), 0)
    const proven = peers.proven(frame('a', 5, 0, 'welcome'), 7, 0)
    assert.equal(proven?.missed, 'unheard')
    assert.deepEqual([peers.get('a')?.epoch, peers.get('a')?.sequence, peers.get('a')?.proven], [5, 7, true])
    assert.equal(peers.follow(frame('a', 5, 8), 0).continuity, 'next')
    assert.equal(peers.proven(frame('a', 5, 0, 'welcome'), 99, 0)?.missed, undefined)
    assert.equal(peers.get('a')?.sequence, 8, 'its sequence is followed on the channel for all')
    peers.follow(frame('a', 6, 1, 'hello'), 0)
    assert.equal(peers.get('a')?.proven, false)
  })

  test('an answer with a lower number than was known when it was asked for takes back what was forged, and only then', () => {
    const peers = new Peers()
    peers.follow(frame('a', 5, 1, 'hello'), 0)
    const welcome = (sequence: number, asked?: number): string | undefined => peers.proven(frame('a', 5, 0, 'welcome'), sequence, 0, asked)?.missed
    assert.equal(welcome(1), undefined)
    peers.follow(frame('a', 5, 1_000_000), 0)
    assert.equal(peers.follow(frame('a', 5, 2), 0).continuity, 'repeated')
    assert.equal(welcome(2), undefined, 'nobody noted what was known')
    assert.equal(welcome(2, 1), undefined, 'it was asked before')
    assert.equal(welcome(2, 1_000_000), 'rewound')
    assert.deepEqual([peers.get('a')?.sequence, peers.get('a')?.gaps], [2, 2])
    assert.equal(peers.follow(frame('a', 5, 3), 0).continuity, 'next')
    assert.equal(welcome(2, 1_000_000), 'rewound', 'doubted once too often rather than once too seldom')
    peers.follow(frame('a', 6, 1, 'hello'), 0)
    assert.equal(peers.proven(frame('a', 6, 0, 'welcome'), 1, 0, 1_000_000)?.missed, undefined, 'what was known was of another life')
  })

  test('at the limit one fits, one more does not; a mere name gives way when it is silent, and at once to one that answers', () => {
    const peers = new Peers(2)
    peers.follow(frame('ghost', 1, 1, 'hello'), 0)
    peers.proven(frame('real', 1, 0, 'welcome'), 1, 0)
    assert.equal(peers.follow(frame('new', 1, 1, 'hello'), 0).continuity, 'untracked')
    peers.silent(3_000, 3_000)
    assert.equal(peers.follow(frame('new', 1, 1, 'hello'), 3_000).continuity, 'new')
    assert.deepEqual(peers.all().map(({ instance }) => instance), ['real', 'new'])
    assert.notEqual(peers.proven(frame('more', 1, 0, 'welcome'), 1, 3_000), undefined)
    assert.deepEqual(peers.all().map(({ instance }) => instance), ['real', 'more'])
    assert.equal(peers.proven(frame('one', 1, 0, 'welcome'), 1, 3_000), undefined, 'those that have answered stay, lost or not')
  })

  test('a name that has never answered goes when it need not be named any more; one that has stays until it is forgotten', () => {
    const peers = new Peers()
    peers.follow(frame('ghost', 1, 1, 'hello'), 0)
    peers.follow(frame('real', 1, 1, 'hello'), 0)
    peers.proven(frame('real', 1, 0, 'welcome'), 1, 0)
    peers.silent(3_000, 3_000)
    peers.expire(8_000, 5_000)
    assert.equal(peers.missed(8_000, 5_000).length, 2)
    peers.expire(8_001, 5_000)
    assert.deepEqual(peers.all().map(({ instance }) => instance), ['real'])
    peers.expire(1e9, 5_000)
    assert.deepEqual(peers.all().map(({ instance }) => instance), ['real'])
  })

  test('mere names that leave do not push out what is remembered of the real', () => {
    const peers = new Peers(1)
    peers.proven(frame('real', 1, 0, 'welcome'), 7, 0)
    peers.left('real')
    for (const name of ['ghost1', 'ghost2']) {
      peers.follow(frame(name, 1, 1, 'hello'), 0)
      peers.left(name)
    }
    assert.equal(peers.follow(frame('real', 1, 7), 0).continuity, 'repeated')
    peers.proven(frame('other', 1, 0, 'welcome'), 1, 0)
    peers.left('other')
    assert.equal(peers.follow(frame('real', 1, 7), 0).continuity, 'unheard', 'the oldest gives way, and comes back as one never heard')
  })

  test('changes that are owed are counted per peer, up to a bound', () => {
    const peers = new Peers()
    peers.follow(frame('a', 1, 1, 'hello'), 0)
    for (let sequence = 1; sequence <= BUS_OWED; sequence++) assert.deepEqual(peers.expect(sequence), ['a'])
    assert.equal(peers.get('a')?.unacknowledged, BUS_OWED)
    peers.expect(BUS_OWED + 1)
    assert.equal(peers.get('a')?.unacknowledged, BUS_OWED)
    peers.acknowledged('a', 7)
    peers.acknowledged('a', 7)
    assert.equal(peers.get('a')?.unacknowledged, BUS_OWED - 1)
    assert.equal(peers.get('a')?.acknowledged, 7)
    peers.silent(5_000, 3_000)
    assert.deepEqual(peers.expect(BUS_OWED + 2), [])
  })

  test('lost ones are to be named until their memory is over', () => {
    const peers = new Peers()
    peers.follow(frame('a', 1, 1, 'hello'), 0)
    peers.silent(3_000, 3_000)
    assert.equal(peers.missed(8_000, 5_000).length, 1)
    assert.equal(peers.missed(8_001, 5_000).length, 0)
    assert.equal(peers.all().length, 1)
  })
})

describe('the pulse', () => {
  test('it beats for as long as a heartbeat sent lately has come back', () => {
    const pulse = new Pulse(3_000)
    assert.equal(pulse.beats(0), false)
    pulse.sent(1, 0)
    pulse.heard(2)
    assert.equal(pulse.beats(0), false, 'never sent')
    pulse.heard(1)
    assert.equal(pulse.beats(3_000), true)
    assert.equal(pulse.beats(3_001), false)
    pulse.sent(2, 4_000)
    pulse.sent(3, 5_000)
    pulse.heard(3)
    pulse.heard(2)
    assert.equal(pulse.beats(8_000), true, 'the newest counts')
    pulse.heard(1)
    assert.equal(pulse.beats(8_001), false, 'a repetition is nothing')
  })
})

describe('introductions', () => {
  test('a question to all is answered once by each, in time, until the next one', () => {
    const introductions = new Introductions(1_000, 3_000)
    const first = introductions.askAll(0)
    assert.equal(introductions.answered('a', first + 1, 0), undefined)
    assert.equal(introductions.answered('a', first, 3_000), -1)
    assert.equal(introductions.answered('a', first, 3_000), undefined)
    assert.equal(introductions.answered('b', first, 3_001), undefined)
    const second = introductions.askAll(4_000)
    assert.equal(introductions.answered('c', first, 4_000), undefined)
    assert.equal(introductions.answered('c', second, 4_000), -1)
  })

  test('a question to one is put once per heartbeat, answered once, by that one; the oldest of too many is dropped', () => {
    const introductions = new Introductions(1_000, 3_000, 2)
    const question = introductions.ask('a', 0, 42) ?? assert.fail()
    assert.equal(introductions.ask('a', 999, 43), undefined)
    assert.equal(introductions.answered('b', question, 0), undefined)
    assert.equal(introductions.answered('a', question, 0), 42)
    assert.equal(introductions.answered('a', question, 0), undefined)
    const again = introductions.ask('a', 1) ?? assert.fail()
    introductions.ask('b', 1)
    introductions.ask('c', 1)
    assert.equal(introductions.answered('a', again, 1), undefined)
  })
})

describe('acknowledgements', () => {
  test('settled by the last one awaited, in any order, and by nothing else', async () => {
    const acknowledgements = new Acknowledgements()
    const settled = acknowledgements.expect(1, ['a', 'b', 'c'])
    acknowledgements.acknowledged('x', 1, 9)
    acknowledgements.acknowledged('a', 2, 9)
    acknowledgements.acknowledged('b', 1, 2)
    acknowledgements.acknowledged('b', 1, 9)
    acknowledgements.left('c')
    assert.equal(acknowledgements.pending(1), true)
    acknowledgements.acknowledged('a', 1, 1)
    assert.equal(acknowledgements.pending(1), false)
    assert.deepEqual(await settled, [
      { instance: 'b', acknowledged: true, count: 2 },
      { instance: 'a', acknowledged: true, count: 1 },
    ])
  })

  test('when the time is over the missing are named', async () => {
    const acknowledgements = new Acknowledgements()
    const one = acknowledgements.expect(1, ['a', 'b'])
    const other = acknowledgements.expect(2, [])
    acknowledgements.acknowledged('b', 1, 0)
    acknowledgements.settleAll()
    acknowledgements.acknowledged('a', 1, 0)
    acknowledgements.settle(1)
    assert.deepEqual(await one, [
      { instance: 'b', acknowledged: true, count: 0 },
      { instance: 'a', acknowledged: false, count: 0 },
    ])
    assert.deepEqual(await other, [])
  })
})
