/** A member of the bus over a network in memory: who is there, what was missed, who has confirmed. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decodeBusFrame, encodeBusFrame } from '../../src/bus/frame.ts'
import type { OutgoingFrame } from '../../src/bus/frame.ts'
import type { Clock, Timer } from '../../src/clock.ts'
import { SignalboxError } from '../../src/errors.ts'
import { BUS_WELCOMES } from '../../src/limits.ts'
import type { Change } from '../../src/primary/bus-member.ts'
import { BusHub } from '../support/bus-hub.ts'
import type { HubFrame } from '../support/bus-hub.ts'
import { Actor, beats, HEARTBEAT, outcomeOf, settle } from '../support/bus-member.ts'
import type { ActorOptions } from '../support/bus-member.ts'
import { FakeClock } from '../support/fake-clock.ts'

const FRAMES = 'signalbox:test:frames'
const CAROL: Change = { kind: 'invalidate', identifiers: ['carol'], reread: false }
const KICK: Change = { kind: 'kick', identifier: 'carol' }

class Stage {
  readonly clock = new FakeClock()
  readonly hub = new BusHub(this.clock)
  #epoch = 1_000

  /** Not joined yet. */
  actor(name: string, options: ActorOptions = {}, epoch = this.#epoch++): Actor {
    return new Actor(this.hub, this.clock, name, epoch, options)
  }

  async joined(name: string, options: ActorOptions = {}, epoch?: number): Promise<Actor> {
    const actor = this.actor(name, options, epoch)
    await actor.join()
    await settle()
    return actor
  }

  /** A and B, who know each other. */
  async pair(options: ActorOptions = {}): Promise<[Actor, Actor]> {
    const a = await this.joined('a', options)
    const b = await this.joined('b', options)
    return [a, b]
  }

  beats(count: number): Promise<void> {
    return beats(this.clock, count)
  }

  /** Frames to all of one sender, as they went out. */
  recorded(from: string, channel = FRAMES): readonly HubFrame[] {
    return this.hub.published.filter((frame) => frame.from === from && frame.channel === channel)
  }

  forge(frame: Partial<OutgoingFrame> & Pick<OutgoingFrame, 'kind' | 'sequence'>, secret?: string, channel = FRAMES): void {
    this.hub.inject(channel, encodeBusFrame({ instance: 'a', epoch: 1_000, payload: {}, ...frame }, channel, secret))
  }
}

/** Loses the next frame to all that `from` sends to `to`. */
function loseNext(hub: BusHub, from: string, to: string): void {
  hub.fate = (frame) => {
    if (frame.from !== from || frame.to !== to || frame.channel !== FRAMES) return [0]
    hub.fate = () => [0]
    return []
  }
}

describe('joining', () => {
  test('alone: up at once, no holds, no doubt', async () => {
    const stage = new Stage()
    const a = await stage.joined('a')
    assert.equal(a.member.state, 'up')
    assert.deepEqual(a.doubts, [])
    assert.equal(stage.clock.now(), 0)
  })

  test('with peers: everybody knows everybody, the holds in force come with it, nothing is doubted, no time passes', async () => {
    const stage = new Stage()
    const others = [await stage.joined('a'), await stage.joined('b'), await stage.joined('c')]
    for (const other of others) other.holds = [{ identifier: `held-${other.name}`, id: other.name, ms: 5_000 }]
    const d = stage.actor('d')
    const holds = await d.join()
    await settle()
    assert.deepEqual(holds.map(({ identifier }) => identifier).sort(), ['held-a', 'held-b', 'held-c'])
    assert.equal(stage.clock.now(), 0)
    assert.equal(d.doubtful, 0, 'it has nothing cached yet')
    for (const actor of [...others, d]) {
      assert.equal(actor.member.state, 'up')
      assert.deepEqual(actor.doubts, [], actor.name)
      assert.equal(actor.member.peers().length, 3)
      assert.ok(actor.member.peers().every(({ proven, facts }) => proven && facts?.workers === 2))
    }
    await stage.beats(3)
    for (const actor of [...others, d]) assert.equal(actor.member.counters.gaps, 0)
  })

  test('a subscriber that never answers is waited for three heartbeats, not for ever', async () => {
    const stage = new Stage()
    const a = await stage.joined('a')
    a.end.mute = true
    const b = stage.actor('b')
    const joining = b.join()
    await beats(stage.clock, 3)
    assert.equal(await outcomeOf(joining), 'pending')
    await beats(stage.clock, 1)
    assert.deepEqual(await outcomeOf(joining), { value: [] })
    assert.equal(b.member.state, 'up')
  })

  test('where nobody can count subscribers, one heartbeat must do', async () => {
    const stage = new Stage()
    stage.hub.counts = false
    const a = stage.actor('a')
    const joining = a.join()
    await stage.beats(3)
    assert.deepEqual(await outcomeOf(joining), { value: [] })
    const b = stage.actor('b')
    const second = b.join()
    await stage.beats(3)
    await second
    assert.equal(b.peer('a')?.proven, true)
  })

  test('a refusal and an unreachable server end it, with their own codes', async () => {
    const stage = new Stage()
    const refused = stage.actor('a')
    refused.end.refusal = new SignalboxError('BUS_REFUSED', 'NOPERM')
    await assert.rejects(refused.join(), { code: 'BUS_REFUSED' })
    const away = stage.actor('a')
    away.end.cut = true
    await assert.rejects(away.join(), { code: 'BUS_DOWN' })
    assert.ok(away.end.closed)
    assert.equal(stage.clock.pending, 0)
  })

  test('a bus that may be unavailable is joined later: down until then, doubt and the holds when it is there', async () => {
    const stage = new Stage()
    const a = await stage.joined('a')
    a.holds = [{ identifier: 'carol', id: 'h1', ms: 4_000 }]
    const b = stage.actor('b', { allowUnavailable: true })
    b.end.cut = true
    assert.deepEqual(await b.join(), [])
    assert.equal(b.member.state, 'down')
    assert.deepEqual(b.told, ['down cut'])
    assert.deepEqual(await b.member.publish(CAROL), [])
    await stage.beats(2)
    b.end.mend()
    await settle()
    assert.equal(b.member.state, 'up')
    assert.ok(b.told.includes('up'))
    assert.ok(b.doubts.length > 0)
    assert.deepEqual(b.obeyed, [{ kind: 'hold', identifier: 'carol', id: 'h1', ms: 4_000 }])
    assert.equal(a.peer('b')?.proven, true)
  })

  test('a server that takes subscriptions and passes nothing on: joined, and down', async () => {
    const stage = new Stage()
    const a = stage.actor('a')
    a.end.mute = true
    const joining = a.join()
    await stage.beats(4)
    await joining
    assert.equal(a.member.state, 'down')
    assert.deepEqual(a.told, ['down its own heartbeat has not come back'])
  })

  for (const stageOfJoining of ['opening', 'waiting for peers'] as const) {
    test(`closed while ${stageOfJoining}: joining fails, nothing is left behind`, async () => {
      const stage = new Stage()
      const a = await stage.joined('a')
      a.end.mute = true
      const b = stage.actor('b')
      const joining = b.join()
      joining.catch(() => {})
      if (stageOfJoining === 'waiting for peers') await settle()
      await b.member.close()
      await assert.rejects(joining, { code: 'DRAINING' })
      assert.ok(b.end.closed)
      await a.member.close()
      assert.equal(stage.clock.pending, 0)
    })
  }
})

describe('two of one name', () => {
  test('the newcomer refuses to start before anybody has heard of it; the elder and its peers notice nothing', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    const twin = stage.actor('a')
    await assert.rejects(twin.join(), { code: 'BUS_NAME_TAKEN', message: /another live instance is named "a"/ })
    await stage.beats(4)
    assert.deepEqual([...a.doubts, ...b.doubts], [])
    assert.equal(b.peer('a')?.epoch, 1_000)
    assert.equal(a.member.state, 'up')
    assert.ok(!b.told.includes('left a'))
    const outcome = await a.member.publish(CAROL)
    assert.deepEqual(outcome, [{ instance: 'b', acknowledged: true, count: 0 }])
  })

  test('a newcomer whose clock is behind gives way as well', async () => {
    const stage = new Stage()
    const [a] = await stage.pair()
    await assert.rejects(stage.actor('a', {}, 500).join(), { code: 'BUS_NAME_TAKEN' })
    assert.equal(a.member.state, 'up')
  })

  test('of two that start at the same time exactly one gets through', async () => {
    const stage = new Stage()
    const early = stage.actor('a', {}, 10)
    const late = stage.actor('a', {}, 20)
    const results = Promise.allSettled([late.join(), early.join()])
    await stage.beats(5)
    assert.deepEqual((await results).map(({ status }) => status), ['rejected', 'fulfilled'])
    assert.equal(early.member.state, 'up')
  })

  test('a predecessor whose connection is still counted delays the start, and does not prevent it', async () => {
    const stage = new Stage()
    const dead = await stage.joined('a')
    dead.end.mute = true
    const a = stage.actor('a')
    const joining = a.join()
    await stage.beats(8)
    assert.deepEqual(await outcomeOf(joining), { value: [] })
    assert.equal(a.member.state, 'up')
  })

  test('found later (both started without a bus): told once, doubted, and neither ends', async () => {
    const stage = new Stage()
    const one = await stage.joined('a')
    const other = stage.actor('a', { allowUnavailable: true })
    other.end.cut = true
    await other.join()
    other.end.mend()
    await stage.beats(4)
    for (const actor of [one, other]) {
      assert.deepEqual(actor.told.filter((event) => event.startsWith('twin')), ['twin 1'])
      assert.ok(actor.doubtful > 0)
      assert.equal(actor.member.state, 'up')
    }
  })

  test('however many lives the other claims to have had, it is told seldom, with how often it was heard', async () => {
    const stage = new Stage()
    const a = await stage.joined('a')
    const heard = async (): Promise<void> => {
      for (let epoch = 5_000; epoch < 5_100; epoch++) stage.forge({ kind: 'bye', epoch, sequence: 1 })
      await settle()
    }
    await heard()
    assert.deepEqual(a.told, ['twin 1'])
    assert.equal(a.member.state, 'up')
    stage.clock.advance(599_999)
    await heard()
    const twins = (): readonly string[] => a.told.filter((event) => event.startsWith('twin'))
    assert.deepEqual(twins(), ['twin 1'])
    stage.clock.advance(1)
    await heard()
    assert.deepEqual(twins(), ['twin 1', 'twin 200'])
  })

  test('who is followed can be followed again once the other is gone', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    const other = stage.actor('a', { allowUnavailable: true })
    other.end.cut = true
    await other.join()
    other.end.mend()
    await settle()
    other.end.vanish()
    await stage.beats(3)
    b.doubts.length = 0
    await stage.beats(3)
    assert.deepEqual(b.doubts, [])
    assert.equal(b.peer('a')?.epoch, 1_000)
    assert.deepEqual(await a.member.publish(CAROL), [{ instance: 'b', acknowledged: true, count: 0 }])
  })
})

describe('publishing', () => {
  test('a change is obeyed by every peer and confirmed, a kick with its count', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    assert.deepEqual(await a.member.publish(KICK), [{ instance: 'b', acknowledged: true, count: 3 }])
    assert.deepEqual(b.obeyed, [KICK])
    assert.equal(a.peer('b')?.acknowledged, a.member.sequence)
    assert.equal(a.peer('b')?.unacknowledged, 0)
  })

  test('a peer that does not obey is named when the time is over; an acknowledgement after that changes nothing', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    b.disobedient = true
    const publishing = a.member.publish(CAROL)
    const { sequence } = a.member
    stage.clock.advance(1_999)
    assert.equal(await outcomeOf(publishing), 'pending')
    stage.clock.advance(1)
    assert.deepEqual(await publishing, [{ instance: 'b', acknowledged: false, count: 0 }])
    assert.ok(b.told.includes('failed invalidate INTERNAL'))
    assert.equal(a.peer('b')?.unacknowledged, 1)
    const payload = { epoch: 1_000, sequence, count: 0 }
    stage.forge({ kind: 'acknowledge', instance: 'b', epoch: 1_001, sequence: 0, payload }, undefined, 'signalbox:test:to:a')
    await settle()
    assert.equal(a.peer('b')?.unacknowledged, 0)
  })

  test('an acknowledgement of an older epoch of ours, or of what was never said, confirms nothing', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    b.disobedient = true
    const publishing = a.member.publish(CAROL)
    const sequence = a.member.sequence
    for (const payload of [{ epoch: 999, sequence, count: 0 }, { epoch: 1_000, sequence: sequence + 5, count: 0 }]) {
      stage.forge({ kind: 'acknowledge', instance: 'b', epoch: 1_001, sequence: 0, payload }, undefined, 'signalbox:test:to:a')
    }
    await settle()
    stage.clock.advance(2_000)
    assert.deepEqual(await publishing, [{ instance: 'b', acknowledged: false, count: 0 }])
    assert.equal(a.member.counters.repeated, 2)
    assert.ok((a.peer('b')?.acknowledged ?? 0) <= sequence)
  })

  test('a peer that says bye while it is awaited is not awaited any more, and not named', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    b.disobedient = true
    const publishing = a.member.publish(CAROL)
    await b.member.close()
    assert.deepEqual(await outcomeOf(publishing), { value: [] })
    assert.ok(a.told.includes('left b'))
    assert.deepEqual(a.doubts, [])
  })

  test('a transport that fails: everybody is named at once, and the peers find the gap', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    a.end.cut = true
    assert.deepEqual(await a.member.publish(CAROL), [{ instance: 'b', acknowledged: false, count: 0 }])
    assert.ok(a.told.includes('failed invalidate BUS_DOWN'))
    assert.equal(stage.clock.now(), 0)
    a.end.cut = false
    await stage.beats(1)
    assert.deepEqual(b.doubts, ['frames of peer a were missed'])
  })

  test('a lost peer is named at once, for as long as it may serve what it has', async () => {
    for (const [busDownTtl, memory] of [[5_000, 5_000], [100, 3_000]] as const) {
      const stage = new Stage()
      const [a, b] = await stage.pair({ cluster: { busDownTtl } })
      b.end.vanish()
      await stage.beats(4)
      assert.ok(a.told.includes('lost b'))
      const lostAt = a.peer('b')?.lostAt ?? assert.fail()
      const named = [{ instance: 'b', acknowledged: false, count: 0 }]
      assert.deepEqual(await a.member.publish(CAROL), named)
      stage.clock.advance(lostAt + memory - stage.clock.now())
      assert.deepEqual(await a.member.publish(CAROL), named)
      stage.clock.advance(1)
      assert.deepEqual(await a.member.publish(CAROL), [])
      assert.equal(a.peer('b')?.lostAt, lostAt, 'still in /fleet')
    }
  })

  test('a lost peer is named for what concerns sessions until it is forgotten: they live as long as it does', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    b.end.vanish()
    await stage.beats(4)
    stage.clock.advance(86_400_000)
    const named = [{ instance: 'b', acknowledged: false, count: 0 }]
    const hold = { kind: 'hold', identifier: 'carol', id: 'one', ms: 1_000 } as const
    const drain = { kind: 'drain', destination: 'alpha', over: 0 } as const
    for (const change of [KICK, hold, drain]) assert.deepEqual(await a.member.publish(change), named)
    assert.deepEqual(await a.member.publish(CAROL), [])
    assert.equal(a.member.forget('b'), true)
    assert.deepEqual(await a.member.publish(KICK), [])
  })

  test('a lost peer that is back is asked again, and named no longer', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    b.end.cut = true
    await stage.beats(4)
    assert.ok(a.told.includes('lost b'))
    assert.deepEqual(await a.member.publish(KICK), [{ instance: 'b', acknowledged: false, count: 0 }])
    b.end.mend()
    await stage.beats(2)
    assert.deepEqual(await a.member.publish(KICK), [{ instance: 'b', acknowledged: true, count: 3 }])
  })

  test('after leaving: everybody is named, nothing waits', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    b.disobedient = true
    const earlier = a.member.publish(CAROL)
    await settle()
    await Promise.all([a.member.close(), a.member.close()])
    const named = [{ instance: 'b', acknowledged: false, count: 0 }]
    assert.deepEqual(await Promise.all([earlier, a.member.publish(CAROL), a.member.publish(KICK)]), [named, named, named])
    assert.equal(await a.member.ask('b', 1_000), undefined)
  })
})

describe('what was missed', () => {
  test('kicks may be missing after frames were, and after this instance was away; not because somebody new has come or one is gone', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    await stage.joined('c')
    await settle()
    assert.deepEqual([a.kicksMissed, b.kicksMissed], [[], []])
    loseNext(stage.hub, 'a', 'b')
    void a.member.publish(KICK)
    await stage.beats(1)
    assert.deepEqual([a.kicksMissed, b.kicksMissed], [[], ['frames of peer a were missed']])
    b.end.cut = true
    await stage.beats(4)
    assert.deepEqual(a.kicksMissed, [])
    b.end.mend()
    await stage.beats(1)
    assert.deepEqual(a.kicksMissed, ['frames of peer b were missed'])
    assert.equal(b.kicksMissed[1], 'the subscription to the bus was made anew')
  })

  test('a lost frame is doubted with the next one', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    loseNext(stage.hub, 'a', 'b')
    void a.member.publish(CAROL)
    await settle()
    assert.deepEqual([b.doubts, b.obeyed], [[], []])
    await stage.beats(1)
    assert.deepEqual(b.doubts, ['frames of peer a were missed'])
    assert.equal(b.member.counters.gaps, 1)
    assert.equal(b.peer('a')?.gaps, 1)
  })

  test('a repeated frame is obeyed once', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    stage.hub.fate = () => [0, 0]
    await a.member.publish(KICK)
    await settle()
    assert.deepEqual(b.obeyed, [KICK])
    assert.ok(b.member.counters.repeated > 0)
    assert.deepEqual(b.doubts, [])
  })

  test('a frame that was overtaken is doubted, not confirmed, and no sign of life later', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    stage.hub.fate = ({ from, to, channel }) => {
      if (from !== 'a' || to !== 'b' || channel !== FRAMES) return [0]
      stage.hub.fate = () => [0]
      return [10_000]
    }
    const publishing = a.member.publish(CAROL)
    await settle()
    await stage.beats(2)
    assert.deepEqual(b.doubts, ['frames of peer a were missed'])
    assert.deepEqual(await publishing, [{ instance: 'b', acknowledged: false, count: 0 }])
    a.end.vanish()
    await stage.beats(4)
    assert.ok(b.told.includes('lost a'))
    await stage.beats(5)
    assert.deepEqual(b.obeyed, [])
    assert.notEqual(b.peer('a')?.lostAt, undefined)
  })

  test('a peer gone without bye is lost and doubted within four heartbeats; back in sequence it costs no doubt', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    a.end.mute = true
    await stage.beats(2)
    assert.deepEqual(b.told.filter((event) => event.startsWith('lost')), [])
    await stage.beats(2)
    assert.deepEqual(b.told.filter((event) => event.startsWith('lost')), ['lost a'])
    assert.deepEqual(b.doubts, ['peer a is gone without a bye'])
    a.end.mute = false
    await stage.beats(1)
    assert.equal(b.peer('a')?.lostAt, undefined)
    assert.equal(b.told.filter((event) => event === 'joined a').length, 2)
    assert.deepEqual(b.doubts.slice(1), ['frames of peer a were missed'])
  })

  test('whoever appears may have written what nobody heard of: all is doubtful, and no line is spent on it', async () => {
    const stage = new Stage()
    const a = await stage.joined('a')
    await stage.joined('b')
    assert.deepEqual([a.quiet, a.doubts], [['peer b has appeared'], []])
    await stage.beats(3)
    assert.equal(a.doubtful, 1)
    assert.deepEqual([a.told, a.member.counters.gaps], [['joined b'], 0])
  })

  test('what an instance wrote while it could tell nobody is doubted when it is there again, by those too who never knew it', async () => {
    const stage = new Stage()
    const b = await stage.joined('b')
    b.end.cut = true
    const a = stage.actor('a')
    const joining = a.join()
    await stage.beats(4)
    await joining
    assert.deepEqual(await b.member.publish(CAROL), [])
    b.end.vanish()
    assert.equal(a.doubtful, 0)
    await stage.joined('b')
    assert.equal(a.doubtful, 1)
    assert.deepEqual(a.obeyed, [])
  })

  test('one whose frames to all never arrive is known by what it asks us, and is named', async () => {
    const stage = new Stage()
    const b = await stage.joined('b')
    stage.hub.fate = ({ from, to, channel }) => (from === 'c' && to === 'b' && channel === FRAMES ? [] : [0])
    const c = stage.actor('c')
    const joining = c.join()
    await stage.beats(4)
    await joining
    assert.equal(b.peer('c')?.proven, true)
    assert.ok(b.doubts.includes('peer c was there without our knowing'))
    assert.ok((await b.member.publish(CAROL)).some(({ instance }) => instance === 'c'))
    assert.deepEqual(c.obeyed, [CAROL])
  })

  test('a restart without bye is worth a line, one with bye is not; both are doubted', async () => {
    const stage = new Stage()
    const [first, b] = await stage.pair()
    await first.member.close()
    await settle()
    const second = await stage.joined('a')
    await stage.beats(2)
    assert.deepEqual([b.doubts, b.quiet], [[], ['peer a has appeared']])
    second.end.vanish()
    await stage.joined('a')
    assert.deepEqual(b.doubts, ['peer a has started anew'])
    assert.equal(b.member.peers().length, 1)
  })

  test('a restart whose hello was not heard is doubted when it answers us', async () => {
    const stage = new Stage()
    const [first, b] = await stage.pair()
    first.end.vanish()
    b.end.deaf = true
    const again = stage.actor('a')
    const joining = again.join()
    // Below B's patience with itself.
    await stage.beats(1)
    b.end.deaf = false
    b.end.mend()
    await settle()
    assert.ok(b.doubts.some((reason) => reason.includes('peer a')), b.doubts.join())
    assert.equal(b.peer('a')?.epoch, 1_002)
    await stage.beats(3)
    await joining
  })

  test('a peer whose clock was set back is followed again once it has answered', async () => {
    const stage = new Stage()
    const [first, b] = await stage.pair()
    first.end.vanish()
    const again = await stage.joined('a', {}, 5)
    await stage.beats(1)
    assert.ok(b.doubts.length > 0)
    assert.equal(b.peer('a')?.epoch, 5)
    assert.deepEqual(await again.member.publish(KICK), [{ instance: 'b', acknowledged: true, count: 3 }])
  })

  test('a forgotten peer that starts anew is doubted: what it said while it was lost was not heard', async () => {
    const stage = new Stage()
    const [first, b] = await stage.pair()
    assert.equal(b.member.forget('a'), false, 'it lives')
    first.end.vanish()
    await stage.beats(4)
    assert.equal(b.member.forget('a'), true)
    assert.deepEqual(b.member.peers(), [])
    b.doubts.length = 0
    await stage.joined('a')
    assert.deepEqual(b.doubts, ['peer a has started anew'])
  })

  test('a kind or version that is not known is doubted and counted, the sequence followed', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    const change = (bytes: Buffer, at: number): Buffer => {
      const changed = Buffer.from(bytes)
      changed[at] = 99
      return changed
    }
    for (const at of [0, 1]) {
      // On its way to B the next frame of A becomes one of a later version.
      stage.hub.fate = ({ from, to, channel }) => (from === 'a' && to === 'b' && channel === FRAMES ? [] : [0])
      void a.member.publish(KICK)
      await settle()
      stage.hub.fate = ({ to }) => (to === 'b' ? [0] : [])
      const { bytes } = stage.recorded('a').at(-1) ?? assert.fail()
      stage.hub.inject(FRAMES, change(bytes, at))
      await settle()
      stage.hub.fate = () => [0]
      assert.equal(b.doubts.length, 1)
      assert.equal(b.peer('a')?.sequence, a.member.sequence)
      await a.member.publish(CAROL)
      assert.equal(b.doubts.length, 1)
      b.doubts.length = 0
    }
    assert.deepEqual([b.member.counters.invalid, b.member.counters.gaps], [2, 0])
    assert.deepEqual(b.obeyed, [CAROL, CAROL])
  })

  test('frames that cannot be read, whatever they are, are doubted and counted, and end nothing', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    const next = (): number => (b.peer('a')?.sequence ?? 0) + 1
    const bad: (() => void)[] = [
      () => stage.forge({ kind: 'invalidate', sequence: next(), payload: { identifiers: ['x'.repeat(513)], reread: false } }),
      () => stage.forge({ kind: 'invalidate', sequence: next(), payload: { identifiers: 'carol' } }),
      () => stage.forge({ kind: 'hold', sequence: next(), payload: { identifier: 'carol', id: 'x', ms: 120_001 } }),
      () => stage.forge({ kind: 'heartbeat', sequence: next(), payload: { facts: { digest: 'x'.repeat(300), version: '', workers: 1 } } }),
      () => stage.forge({ kind: 'acknowledge', sequence: next(), payload: { epoch: 1, sequence: 1, count: 0 } }),
      () => stage.forge({ kind: 'kick', sequence: 0, payload: { identifier: 'carol' } }, undefined, 'signalbox:test:to:b'),
    ]
    for (const [index, send] of bad.entries()) {
      b.doubts.length = 0
      send()
      await settle()
      assert.equal(b.doubts.length, 1, `number ${index}`)
      assert.equal(b.member.counters.invalid, index + 1)
    }
    assert.deepEqual(b.obeyed, [])
    assert.equal(b.peer('a')?.lostAt, undefined)
    assert.equal(a.member.state, 'up')
    assert.equal(b.member.state, 'up')
  })

  test('frames of which not even the sender can be believed are doubted, counted, and shown with the names that they bear', async () => {
    const stage = new Stage()
    const [, b] = await stage.pair()
    assert.equal(b.member.strangers, undefined)
    b.told.length = 0
    b.quiet.length = 0
    const since = stage.clock.wall()
    const bad: (() => void)[] = [
      () => stage.forge({ kind: 'bye', instance: 'stray', sequence: 3 }, 'a secret that B does not have'),
      () => stage.hub.inject(FRAMES, Buffer.alloc(0)),
      () => stage.hub.inject(FRAMES, Buffer.from('not a frame at all, but longer than its header')),
      () => stage.forge({ kind: 'kick', instance: 'b', sequence: 3, payload: { identifier: 'carol' } }, 'another', 'signalbox:test:to:b'),
    ]
    for (const [index, send] of bad.entries()) {
      send()
      await settle()
      assert.equal(b.quiet.length, index + 1)
      assert.equal(b.member.counters.invalid, index + 1)
    }
    const reason = 'a bus frame is authenticated, this instance has no secret'
    assert.deepEqual(b.member.strangers, { frames: 4, names: ['stray', 'b'], since, last: stage.clock.wall(), reason })
    assert.deepEqual(b.told, [`strangers stray 1: ${reason}`])
    assert.deepEqual([b.obeyed, b.doubts, b.member.state], [[], [], 'up'])
    assert.equal(b.peer('a')?.proven, true)
    stage.clock.advance(600_000)
    stage.hub.inject(FRAMES, Buffer.alloc(0))
    await settle()
    assert.ok(b.told.includes('strangers stray,b 4: a bus frame of 0 bytes is out of bounds'))
  })

  test('a doubt that is worth a line is told although a quiet one came in the same moment', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    b.quiet.length = 0
    const sequence = (b.peer('a')?.sequence ?? 0) + 5
    b.end.arrive(FRAMES, Buffer.alloc(0))
    b.end.arrive(FRAMES, encodeBusFrame({ kind: 'bye', instance: 'a', epoch: a.epoch, sequence, payload: {} }, FRAMES, undefined))
    b.end.arrive(FRAMES, Buffer.alloc(0))
    assert.deepEqual([b.quiet.length, b.doubts], [1, ['frames of peer a were missed']])
  })

  test('frames of another channel are never seen', async () => {
    const stage = new Stage()
    const a = await stage.joined('a')
    const b = await stage.joined('b', { cluster: { channel: 'signalbox:other' } })
    void b.member.publish(CAROL)
    await stage.beats(2)
    assert.deepEqual([a.member.peers(), b.member.peers(), a.doubts], [[], [], []])
  })
})

describe('up and down', () => {
  test('without its own heartbeat it is down within four; back again: everything doubted, hello, holds', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    a.holds = [{ identifier: 'carol', id: 'h', ms: 9_000 }]
    b.end.mute = true
    await stage.beats(4)
    assert.equal(b.member.state, 'down')
    assert.deepEqual(b.told.filter((event) => event.startsWith('down')), ['down its own heartbeat has not come back'])
    b.doubts.length = 0
    b.end.mute = false
    await stage.beats(1)
    assert.equal(b.member.state, 'up')
    assert.deepEqual(b.doubts, ['this instance was off the bus'])
    assert.equal(b.told.filter((event) => event === 'up').length, 1)
    assert.equal(b.obeyed.filter(({ kind }) => kind === 'hold').length, 1)
    await stage.beats(3)
    assert.equal(b.doubts.length, 1)
  })

  test('its state is not "up" a moment longer than it hears itself, whenever it is asked', async () => {
    const stage = new Stage()
    const a = await stage.joined('a')
    a.end.mute = true
    stage.clock.advance(3_000)
    assert.equal(a.member.state, 'up')
    stage.clock.advance(1)
    assert.equal(a.member.state, 'down')
  })

  test('frames held back by a server that stood still do not make it up as of now', async () => {
    const stage = new Stage()
    const a = await stage.joined('a')
    stage.hub.fate = () => [10_000 - (stage.clock.now() % 10_000)]
    stage.clock.advance(9_999)
    await settle()
    assert.equal(a.member.state, 'down')
    a.told.length = 0
    stage.hub.fate = () => []
    stage.clock.advance(1)
    await settle()
    // Those of the last three seconds are recent enough.
    assert.equal(a.member.state, 'up')
    stage.clock.advance(3_001)
    assert.equal(a.member.state, 'down')
    const stale = stage.recorded('a').slice(0, 4)
    for (const { bytes } of stale) stage.hub.inject(FRAMES, bytes)
    stage.hub.fate = () => [0]
    for (const { bytes } of stale) stage.hub.inject(FRAMES, bytes)
    await settle()
    assert.equal(a.member.state, 'down')
  })

  test('a subscription made anew is doubted, and hello is said', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    b.end.mend()
    assert.deepEqual(b.doubts, ['the subscription to the bus was made anew'])
    await settle()
    assert.deepEqual(a.doubts, [])
    assert.equal(b.member.state, 'up')
  })

  test('a process that stood still does not take the living for lost', async () => {
    const stage = new Stage()
    const clock = new StoppableClock(stage.clock)
    await stage.joined('a')
    const b = await stage.joined('b', { clock })
    const wakes = 10 * HEARTBEAT
    stage.hub.fate = ({ to }) => [to === 'b' ? wakes - stage.clock.now() : 0]
    clock.stop()
    await beats(stage.clock, 9)
    stage.clock.advance(HEARTBEAT - 1)
    clock.go()
    assert.equal(b.member.state, 'down')
    stage.clock.advance(1)
    await settle()
    stage.hub.fate = () => [0]
    await stage.beats(3)
    assert.deepEqual(b.told, ['joined a', 'down its own heartbeat has not come back', 'up'])
    assert.deepEqual(b.doubts, ['this instance was off the bus'])
    assert.equal(b.member.state, 'up')
  })

  test('a process that is always late finds the lost all the same', async () => {
    const stage = new Stage()
    const clock = new StoppableClock(stage.clock)
    const a = await stage.joined('a')
    const b = await stage.joined('b', { clock })
    a.end.vanish()
    for (let round = 0; round < 3; round++) {
      clock.stop()
      await stage.beats(4)
      clock.go()
      await settle()
    }
    assert.ok(b.told.includes('lost a'))
    assert.ok(b.doubts.includes('peer a is gone without a bye'))
  })
})

/** The clock of a process that can be stopped: what falls due meanwhile happens when it goes on, repeating timers once. */
class StoppableClock implements Clock {
  readonly #clock: Clock
  #due: Set<() => void> | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  stop(): void {
    this.#due = new Set()
  }

  go(): void {
    const due = this.#due ?? new Set()
    this.#due = undefined
    for (const callback of due) callback()
  }

  now(): number {
    return this.#clock.now()
  }

  wall(): number {
    return this.#clock.wall()
  }

  after(ms: number, callback: () => void): Timer {
    return this.#clock.after(ms, () => this.#run(callback))
  }

  every(ms: number, callback: () => void): Timer {
    return this.#clock.every(ms, () => this.#run(callback))
  }

  sleep(ms: number): Promise<void> {
    return this.#clock.sleep(ms)
  }

  #run(callback: () => void): void {
    if (this.#due === undefined) callback()
    else this.#due.add(callback)
  }
}

describe('recordings and forgeries', () => {
  const secret = 'a secret of sixteen or more'

  test('with a secret, what was recorded in this epoch is ignored, without a doubt', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair({ cluster: { secret } })
    await a.member.publish(KICK)
    assert.equal(b.obeyed.length, 1)
    for (const { channel, bytes } of stage.recorded('a')) stage.hub.inject(channel, bytes)
    await settle()
    assert.equal(b.obeyed.length, 1)
    assert.deepEqual(b.doubts, [])
  })

  test('what was recorded in an older epoch is never obeyed, and its sender stays followed', async () => {
    const stage = new Stage()
    const [first, b] = await stage.pair({ cluster: { secret } })
    await first.member.publish(KICK)
    await first.member.close()
    const second = await stage.joined('a', { cluster: { secret } })
    const recorded = stage.recorded('a').slice(0, 3)
    b.obeyed.length = 0
    for (const { channel, bytes } of recorded) stage.hub.inject(channel, bytes)
    await settle()
    assert.deepEqual(b.obeyed, [])
    assert.equal(b.peer('a')?.epoch, 1_002)
    assert.deepEqual(await second.member.publish(KICK), [{ instance: 'b', acknowledged: true, count: 3 }])
  })

  test('after a bye a recording brings nobody back', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair({ cluster: { secret } })
    await a.member.publish(KICK)
    await a.member.close()
    await settle()
    b.obeyed.length = 0
    for (const { channel, bytes } of stage.recorded('a')) stage.hub.inject(channel, bytes)
    await settle()
    assert.deepEqual([b.member.peers(), b.obeyed], [[], []])
  })

  test('an instance that has just started obeys no recorded kick or hold: its sender has not answered', async () => {
    const stage = new Stage()
    const [a] = await stage.pair({ cluster: { secret } })
    await a.member.publish(KICK)
    await a.member.publish({ kind: 'hold', identifier: 'carol', id: 'h', ms: 1_000 })
    a.end.vanish()
    const c = await stage.joined('c', { cluster: { secret } })
    for (const { channel, bytes } of stage.recorded('a')) stage.hub.inject(channel, bytes)
    await settle()
    assert.deepEqual(c.obeyed, [])
    assert.ok(c.told.includes('failed kick FRAME_INVALID'))
    assert.equal(c.peer('a')?.proven, false)
  })

  test('a recorded welcome brings back no hold', async () => {
    const stage = new Stage()
    const a = await stage.joined('a', { cluster: { secret } })
    a.holds = [{ identifier: 'carol', id: 'h', ms: 60_000 }]
    const b = await stage.joined('b', { cluster: { secret } })
    const welcome = stage.hub.published.find(({ channel, bytes }) => {
      return channel === 'signalbox:test:to:b' && decodeBusFrame(bytes, channel, secret).header.kind === 'welcome'
    })
    assert.ok(welcome !== undefined)
    stage.hub.inject(welcome.channel, welcome.bytes)
    await settle()
    assert.deepEqual(b.obeyed, [])
    assert.equal(b.member.counters.repeated, 1)
  })

  test('another secret, or none: doubt on both sides, nobody is a peer, nothing is obeyed', async () => {
    for (const other of [undefined, 'another secret of this length']) {
      const stage = new Stage()
      const a = await stage.joined('a', { cluster: { secret } })
      const b = stage.actor('b', { cluster: { secret: other } })
      const joining = b.join()
      await stage.beats(5)
      await joining
      void b.member.publish(KICK)
      await settle()
      assert.ok(a.doubtful > 0)
      assert.ok(a.member.counters.invalid > 0)
      assert.deepEqual([a.member.peers(), b.member.peers(), a.obeyed], [[], [], []])
      assert.deepEqual([a.member.strangers?.names, b.member.strangers?.names], [['b'], ['a']])
      assert.deepEqual([a.member.state, b.member.state], ['up', 'up'])
    }
  })

  test('invented names fill a table of bounded size; who is known stays followed', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    for (let index = 0; index < 3_000; index++) {
      stage.forge({ kind: 'heartbeat', instance: `ghost${index}`, epoch: 1, sequence: 1, payload: { facts: { digest: '', version: '', workers: 0 } } })
    }
    await settle()
    assert.equal(b.member.peers().length, 1_024)
    assert.ok(b.doubts.length > 0)
    const publishing = a.member.publish(CAROL)
    await settle()
    assert.deepEqual(b.obeyed, [CAROL])
    stage.clock.advance(2_000)
    assert.ok((await publishing).some(({ instance, acknowledged }) => instance === 'b' && acknowledged))
    await stage.beats(4)
    await stage.joined('c')
    assert.equal(b.peer('c')?.proven, true)
    assert.equal(b.member.peers().length, 1_024)
  })

  test('a forged number far ahead costs doubt, and the real sender is heard again as soon as it has answered', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    const facts = { digest: 'same', version: '1', workers: 2 }
    stage.forge({ kind: 'heartbeat', instance: 'a', epoch: a.epoch, sequence: 2 ** 47, payload: { facts } })
    await settle()
    assert.deepEqual(b.doubts, ['frames of peer a were missed'])
    const before = b.doubtful
    await stage.beats(1)
    assert.equal(b.peer('a')?.sequence, a.member.sequence)
    assert.ok(b.doubts.includes('frames under the name of peer a were not its own'))
    assert.ok(b.doubtful > before)
    assert.deepEqual(await a.member.publish(KICK), [{ instance: 'b', acknowledged: true, count: 3 }])
    b.doubts.length = 0
    await stage.beats(3)
    assert.deepEqual([b.doubts, b.told.filter((event) => event.startsWith('lost'))], [[], []])
  })

  test('one that a forged bye has taken away is there again once it has answered', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    stage.forge({ kind: 'bye', instance: 'b', epoch: b.epoch, sequence: 2 ** 47 })
    await settle()
    assert.equal(a.peer('b'), undefined, 'nothing shows yet that it was forged')
    const before = a.doubtful
    await stage.beats(1)
    assert.equal(a.peer('b')?.proven, true)
    assert.ok(a.doubtful > before)
    assert.deepEqual(await a.member.publish(CAROL), [{ instance: 'b', acknowledged: true, count: 0 }])
  })

  test('a recorded frame makes its sender be asked, once per heartbeat, and changes nothing', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair({ cluster: { secret } })
    await stage.beats(2)
    const doubtful = b.doubtful
    const asked = (): number => stage.recorded('b', 'signalbox:test:to:a').filter(({ bytes, channel }) => decodeBusFrame(bytes, channel, secret).header.kind === 'hello').length
    const before = asked()
    for (let round = 0; round < 10; round++) for (const { channel, bytes } of stage.recorded('a')) stage.hub.inject(channel, bytes)
    await settle()
    assert.equal(asked(), before + 1)
    assert.deepEqual([b.doubtful, b.peer('a')?.sequence], [doubtful, a.member.sequence])
  })

  test('names that were only ever forged are gone when they need not be named any more, without a line', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    a.told.length = 0
    const facts = { digest: 'x', version: '1', workers: 2 }
    stage.forge({ kind: 'hello', instance: 'ghost', epoch: 1, sequence: 1, payload: { question: 1, facts, destinations: [] } })
    await settle()
    const ghost = { instance: 'ghost', acknowledged: false, count: 0 }
    const real = { instance: 'b', acknowledged: true, count: 0 }
    assert.equal(a.peer('ghost')?.proven, false)
    assert.deepEqual(a.member.lacking('alpha'), [], 'what it says of itself counts for nothing')
    await stage.beats(4)
    assert.deepEqual(await a.member.publish(CAROL), [real, ghost])
    await stage.beats(6)
    assert.deepEqual(await a.member.publish(CAROL), [real])
    assert.deepEqual(a.member.peers().map(({ instance }) => instance), ['b'])
    assert.deepEqual(a.told, [])
    b.end.vanish()
    await stage.beats(20)
    assert.deepEqual(a.member.peers().map(({ instance }) => instance), ['b'], 'a real one stays')
  })

  test('a newcomer is heard although names that were made up fill the table', async () => {
    const stage = new Stage()
    const [, b] = await stage.pair()
    const fill = (): void => {
      for (let index = 0; index < 1_024; index++) {
        stage.forge({ kind: 'bye', instance: `ghost${index}`, epoch: 1, sequence: 2, payload: {} })
        stage.forge({ kind: 'heartbeat', instance: `ghost${index}`, epoch: 2, sequence: 2, payload: { facts: { digest: '', version: '', workers: 0 } } })
      }
    }
    fill()
    await settle()
    assert.equal(b.member.peers().length, 1_024)
    const c = await stage.joined('c')
    assert.equal(b.peer('c')?.proven, true)
    assert.ok((await c.member.publish(CAROL)).some(({ instance, acknowledged }) => instance === 'b' && acknowledged))
  })

  test('names that could not be channels or would spoil a log are no names', async () => {
    const stage = new Stage()
    const b = await stage.joined('b')
    for (const instance of ['', 'with space', 'new\nline', 'é', 'x'.repeat(129)]) {
      assert.throws(() => stage.forge({ kind: 'hello', instance, sequence: 1 }), { code: 'CONFIG_INVALID' })
      const valid = encodeBusFrame({ kind: 'hello', instance: 'name', epoch: 1, sequence: 1, payload: {} }, FRAMES, undefined)
      const forged = Buffer.concat([valid.subarray(0, 16), Buffer.from(instance, 'latin1'), valid.subarray(20)])
      forged[3] = Buffer.byteLength(instance, 'latin1')
      stage.hub.inject(FRAMES, forged)
      await settle()
    }
    assert.deepEqual(b.member.peers(), [])
  })
})

describe('introductions', () => {
  test('so many between two heartbeats are answered, one more is not, and the next heartbeat begins anew', async () => {
    const stage = new Stage()
    await stage.joined('a')
    const facts = { digest: 'x', version: '1', workers: 1 }
    const hello = (number: number): void => stage.forge({ kind: 'hello', instance: `x${number}`, epoch: 1, sequence: 1, payload: { question: number, facts, destinations: [] } })
    const welcomed = (): string[] => stage.hub.published.filter(({ from, channel, bytes }) => from === 'a' && channel.includes(':to:x') && decodeBusFrame(bytes, channel, undefined).header.kind === 'welcome').map(({ channel }) => channel)
    await stage.beats(1)
    for (let number = 1; number <= BUS_WELCOMES + 1; number++) hello(number)
    await settle()
    assert.equal(welcomed().length, BUS_WELCOMES)
    assert.ok(!welcomed().some((channel) => channel.endsWith(`:to:x${BUS_WELCOMES + 1}`)))
    await stage.beats(1)
    hello(BUS_WELCOMES + 1)
    await settle()
    assert.ok(welcomed().some((channel) => channel.endsWith(`:to:x${BUS_WELCOMES + 1}`)))
  })
})

describe('configurations', () => {
  test('a digest that differs is told once, and again when it differs anew; destinations are asked for when it changes', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    assert.deepEqual(b.member.lacking('gamma'), ['a'])
    assert.deepEqual(b.member.lacking('alpha'), [])
    a.digest = 'new'
    a.destinations = ['alpha', 'beta', 'gamma']
    await stage.beats(3)
    assert.equal(b.told.filter((event) => event === 'differs a').length, 1)
    assert.deepEqual(b.member.lacking('gamma'), [])
    assert.equal(b.peer('a')?.facts?.digest, 'new')
    b.digest = 'new'
    await stage.beats(2)
    a.digest = 'newer'
    await stage.beats(2)
    assert.equal(b.told.filter((event) => event === 'differs a').length, 2)
    assert.deepEqual([...a.doubts, ...b.doubts], [])
  })
})

describe('statistics', () => {
  test('a peer is asked and answers; one that does not gives undefined in time', async () => {
    const stage = new Stage()
    const [a, b] = await stage.pair()
    assert.deepEqual(await a.member.ask('b', 1_000), { name: 'b', sessions: 7 })
    b.end.vanish()
    const asked = a.member.ask('b', 1_000)
    stage.clock.advance(999)
    assert.equal(await outcomeOf(asked), 'pending')
    stage.clock.advance(1)
    assert.equal(await asked, undefined)
  })

  test('one gathering serves all who ask meanwhile, and an answer of somebody else is none', async () => {
    const stage = new Stage()
    let gathered = 0
    let finish = (): void => {}
    const stats = async (): Promise<{ n: number }> => {
      gathered++
      await new Promise<void>((resolve) => (finish = resolve))
      return { n: gathered }
    }
    const [a, c] = await stage.pair()
    await stage.joined('s', { stats })
    const first = a.member.ask('s', 5_000)
    const second = c.member.ask('s', 5_000)
    await settle()
    assert.equal(gathered, 1)
    const query = stage.hub.published.find(({ from, channel }) => from === 'a' && channel === 'signalbox:test:to:s')
    assert.ok(query !== undefined)
    finish()
    assert.deepEqual(await Promise.all([first, second]), [{ n: 1 }, { n: 1 }])
  })
})
