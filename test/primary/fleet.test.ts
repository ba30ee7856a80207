import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { spawn } from '../../src/actor/actor.ts'
import type { Behaviour } from '../../src/actor/actor.ts'
import { Link } from '../../src/actor/link.ts'
import type { Question, Reply } from '../../src/actor/message.ts'
import type { SignalboxError } from '../../src/errors.ts'
import { CHANGES_OWED, DRAIN_DEFAULT_MS, IDENTIFIERS_PER_FRAME } from '../../src/limits.ts'
import type { BusReport } from '../../src/primary/bus-member.ts'
import { Fleet } from '../../src/primary/fleet.ts'
import type { FleetMessage, FleetOptions } from '../../src/primary/fleet.ts'
import type { ResolverMessage } from '../../src/resolver/resolver.ts'
import type { SessionsMessage } from '../../src/session/sessions.ts'
import { BusHub } from '../support/bus-hub.ts'
import { Actor, beats } from '../support/bus-member.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { eventually } from '../support/settled.ts'

const ACK_TIMEOUT = 2_000

/** A worker's actors: notes what it is told and answers, or keeps silent. */
class Obedient implements Behaviour<ResolverMessage | SessionsMessage> {
  readonly heard: (ResolverMessage | SessionsMessage)[] = []
  readonly kicks: number
  /** Answers so many messages and no more. */
  answers = Number.POSITIVE_INFINITY

  constructor(kicks: number) {
    this.kicks = kicks
  }

  receive(message: ResolverMessage | SessionsMessage, reply: Reply): void {
    this.heard.push(message)
    if (this.heard.length > this.answers) return
    if (message.type === 'kick' || message.type === 'drain') reply.to(message, this.kicks)
    else reply.to(message as Question<true>, true)
  }

  crashed(error: SignalboxError): void {
    throw error
  }
}

const SILENT: BusReport = {
  up() {},
  beat() {},
  down() {},
  joined() {},
  left() {},
  lost() {},
  differs() {},
  twin() {},
  strangers() {},
  failed() {},
}

function house(options: Partial<FleetOptions> = {}) {
  const clock = new FakeClock()
  const unconfirmed: string[] = []
  const fleet = new Fleet({
    clock,
    ackTimeout: ACK_TIMEOUT,
    unconfirmed: (worker, what, { code }) => unconfirmed.push(`${worker} ${what} ${code}`),
    reread: undefined,
    ...options,
  })
  const { ref } = spawn<FleetMessage>(fleet, { name: 'fleet', clock })
  /** A worker behind a link, as it is in life. */
  const join = (worker: number, kicks = 0) => {
    const behaviour = new Obedient(kicks)
    const deliver = (other: () => Link) => (frames: Uint8Array) => {
      setImmediate(() => other().receive(frames))
      return true
    }
    const onInvalid = (error: SignalboxError): void => {
      throw error
    }
    const near: Link = new Link({ clock, onInvalid, send: deliver(() => far) })
    const far: Link = new Link({ clock, onInvalid, send: deliver(() => near) })
    far.export('resolver', spawn<ResolverMessage>(behaviour, { name: 'resolver', clock }).ref)
    far.export('sessions', spawn<SessionsMessage>(behaviour, { name: 'sessions', clock }).ref)
    ref.tell({ type: 'joined', member: { worker, resolver: near.remote('resolver'), sessions: near.remote('sessions') } })
    return { behaviour, die: () => near.close(), heard: () => behaviour.heard.map(({ type }) => type) }
  }
  return { clock, ref, fleet, join, unconfirmed, invalidate: (...identifiers: string[]) => ref.ask({ type: 'invalidate', identifiers }, 60_000) }
}

test('a change is confirmed when every worker has acknowledged it, and not before', async () => {
  const { join, invalidate, clock } = house()
  const [one, two] = [join(1), join(2)]
  two.behaviour.answers = 0
  let confirmed = false
  const asked = invalidate('a').then((confirmation) => {
    confirmed = true
    return confirmation
  })
  await eventually(() => two.heard().includes('invalidate'), 'both are told')
  for (let turns = 0; turns < 10; turns++) await turn()
  assert.deepEqual(one.heard(), ['invalidate'])
  assert.equal(confirmed, false)
  clock.advance(ACK_TIMEOUT)
  assert.deepEqual(await asked, { workers: 1, workersExpected: 2, peers: [], bus: 'none' })
})

test('a worker that is silent is named as unconfirmed', async () => {
  const { join, invalidate, clock, unconfirmed } = house()
  join(1)
  const { behaviour, heard } = join(2)
  behaviour.answers = 0
  const asked = invalidate('a')
  await eventually(() => heard().length === 1, 'it is told')
  // The other one's answer is on its way.
  for (let turns = 0; turns < 10; turns++) await turn()
  clock.advance(ACK_TIMEOUT)
  await asked
  assert.deepEqual(unconfirmed, ['2 invalidate ACTOR_DEADLINE'])
})

test('a worker that dies in the middle of a change has nothing left to obey with: the change is in force', async () => {
  const { join, invalidate, unconfirmed, ref } = house()
  join(1)
  const two = join(2)
  two.behaviour.answers = 0
  const asked = invalidate('a')
  await eventually(() => two.heard().length === 1, 'it is told')
  two.die()
  assert.deepEqual(await asked, { workers: 1, workersExpected: 1, peers: [], bus: 'none' })
  assert.deepEqual(unconfirmed, [])
  ref.tell({ type: 'left', worker: 2 })
  assert.deepEqual((await ref.ask({ type: 'members' }, 1_000)).map(({ worker }) => worker), [1])
  assert.equal((await invalidate('b')).workersExpected, 1)
})

test('without a worker a change is in force at once', async () => {
  assert.deepEqual(await house().invalidate('a'), { workers: 0, workersExpected: 0, peers: [], bus: 'none' })
})

test('25,000 identifiers go out in frames of 10,000 at most, in order, and are confirmed as one change', async () => {
  const { join, invalidate } = house()
  const { behaviour } = join(1)
  const identifiers = Array.from({ length: 25_000 }, (_, index) => `account-${index}@example.com`)
  assert.deepEqual(await invalidate(...identifiers), { workers: 1, workersExpected: 1, peers: [], bus: 'none' })
  const frames = behaviour.heard.map((message) => (message.type === 'invalidate' ? message.identifiers : []))
  assert.deepEqual(frames.map(({ length }) => length), [IDENTIFIERS_PER_FRAME, IDENTIFIERS_PER_FRAME, 5_000])
  assert.deepEqual(frames.flat(), identifiers)
})

test('identifiers of the greatest length fill a frame without bursting it', async () => {
  const { join, invalidate } = house()
  join(1)
  const identifiers = Array.from({ length: IDENTIFIERS_PER_FRAME }, (_, index) => String(index).padStart(512, 'x'))
  assert.deepEqual((await invalidate(...identifiers)).workers, 1)
})

test('one frame that is not acknowledged leaves the whole change unconfirmed', async () => {
  const { join, invalidate, clock, unconfirmed } = house()
  const { behaviour, heard } = join(1)
  behaviour.answers = 2
  const asked = invalidate(...Array.from({ length: 20_001 }, (_, index) => String(index)))
  await eventually(() => heard().length === 3, 'all three frames')
  for (let turns = 0; turns < 10; turns++) await turn()
  clock.advance(ACK_TIMEOUT)
  assert.deepEqual(await asked, { workers: 0, workersExpected: 1, peers: [], bus: 'none' })
  assert.deepEqual(unconfirmed, ['1 invalidate ACTOR_DEADLINE'])
})

test('a kick is counted over all workers; those of a worker that dies are not waited for', async () => {
  const { join, ref } = house()
  join(1, 2)
  join(2, 3)
  const { die } = join(3, 100)
  die()
  const { kicked, confirmation } = await ref.ask({ type: 'kick', identifier: 'a' }, 60_000)
  assert.equal(kicked, 5)
  assert.deepEqual([confirmation.workers, confirmation.workersExpected], [2, 2])
})

test('every kind of change reaches the worker as what it is', async () => {
  const { join, ref } = house()
  const { behaviour } = join(1)
  await ref.ask({ type: 'invalidate-all' }, 60_000)
  await ref.ask({ type: 'doubt', reason: 'a gap' }, 60_000)
  await ref.ask({ type: 'hold', identifier: 'a', id: 'h', ms: 5 }, 60_000)
  await ref.ask({ type: 'release', identifier: 'a', id: 'h' }, 60_000)
  await ref.ask({ type: 'local-change', changed: { all: false, identifiers: ['b'] } }, 60_000)
  assert.deepEqual(behaviour.heard, [
    { type: 'invalidate-all' },
    { type: 'doubt', reason: 'a gap' },
    { type: 'hold', identifier: 'a', id: 'h', ms: 5 },
    { type: 'release', identifier: 'a', id: 'h' },
    { type: 'invalidate', identifiers: ['b'] },
  ])
})

test('a worker that joins is told the holds in force with what is left of them, and that the bus is down', async () => {
  const { join, ref, clock } = house()
  await ref.ask({ type: 'hold', identifier: 'a', id: 'long', ms: 10_000 }, 60_000)
  await ref.ask({ type: 'hold', identifier: 'a', id: 'short', ms: 1_000 }, 60_000)
  await ref.ask({ type: 'hold', identifier: 'b', id: 'released', ms: 10_000 }, 60_000)
  await ref.ask({ type: 'release', identifier: 'b', id: 'released' }, 60_000)
  ref.tell({ type: 'bus', up: false })
  clock.advance(4_000)
  const { behaviour } = join(1)
  await eventually(() => behaviour.heard.length === 2, 'it is told')
  assert.deepEqual(behaviour.heard, [{ type: 'bus', up: false }, { type: 'hold', identifier: 'a', id: 'long', ms: 6_000 }])
})

test('without a bus the workers are told at every heartbeat that the primary lives', async () => {
  const { join, clock } = house({ heartbeat: 1_000 })
  const { behaviour } = join(1)
  clock.advance(2_500)
  await eventually(() => behaviour.heard.length === 2, 'it is told')
  assert.deepEqual(behaviour.heard, [{ type: 'beat', at: 1_000 }, { type: 'beat', at: 2_000 }])
})

test('with a bus a beat says when the heartbeat was sent that has come back, and none is told while none comes back', async () => {
  const { join, clock, fleet, ref } = house({ heartbeat: 1_000 })
  const hub = new BusHub(clock)
  const a: Actor = new Actor(hub, clock, 'a', 1, { told: { ...SILENT, beat: (at) => ref.tell({ type: 'beat', at }) } })
  fleet.attach(a.member, await a.join())
  const { behaviour } = join(1)
  hub.fate = () => [400]
  const from = clock.now()
  await beats(clock, 3)
  await eventually(() => behaviour.heard.length >= 2, 'it is told')
  const told = behaviour.heard.map((message) => (message.type === 'beat' ? message.at : undefined))
  assert.deepEqual(told.slice(0, 2), [from + 1_000, from + 2_000])
  a.end.mute = true
  await beats(clock, 2)
  const silent = behaviour.heard.length
  await beats(clock, 4)
  assert.equal(behaviour.heard.length, silent)
})

test('a worker that is still owed a change is told no beat: it would believe to know of the change', async () => {
  const { join, ref, clock } = house({ heartbeat: 1_000 })
  const { behaviour } = join(1)
  behaviour.answers = 0
  for (let count = 0; count <= CHANGES_OWED; count++) void ref.ask({ type: 'invalidate', identifiers: [`user${count}`] }, 60_000)
  await eventually(() => behaviour.heard.length === CHANGES_OWED, 'all but the last are sent')
  clock.advance(1_500)
  await turn()
  await turn()
  assert.equal(behaviour.heard.some(({ type }) => type === 'beat'), false)
})

test('changes of a shared file that come while it is being read share the next reading', async () => {
  const finish: (() => void)[] = []
  const { ref } = house({ reread: () => new Promise((resolve) => finish.push(() => resolve({ all: false, identifiers: [] }))) })
  const obeyed = ['a', 'b', 'c', 'd'].map((identifier) => {
    return ref.ask({ type: 'obey', change: { kind: 'invalidate', identifiers: [identifier], reread: true } }, 60_000)
  })
  assert.equal(finish.length, 1)
  finish[0]?.()
  await obeyed[0]
  await eventually(() => finish.length === 2, 'the others are read for')
  finish[1]?.()
  await Promise.all(obeyed)
  assert.equal(finish.length, 2)
})

test('a doubt has the shared file read again, and what differs in it is void; a file that cannot be read is told of', async () => {
  let works = true
  const failed: string[] = []
  const { join, ref } = house({
    reread: async () => {
      if (!works) throw new Error('no such file')
      return { all: false, identifiers: ['moved'] }
    },
    rereadFailed: ({ message }) => failed.push(message),
  })
  const { behaviour, heard } = join(1)
  await ref.ask({ type: 'doubt', reason: 'a gap' }, 60_000)
  await eventually(() => heard().length === 2, 'both are told')
  assert.deepEqual(behaviour.heard, [{ type: 'doubt', reason: 'a gap' }, { type: 'invalidate', identifiers: ['moved'] }])
  works = false
  await ref.ask({ type: 'doubt', reason: 'a gap' }, 60_000)
  await eventually(() => failed.length === 1, 'the failure is told of')
  assert.deepEqual(failed, ['no such file'])
})

test('a peer’s change is obeyed after the shared file was read again, together with what else differed in it', async () => {
  let finish: (() => void) | undefined
  const { join, ref } = house({
    reread: () =>
      new Promise((resolve) => {
        finish = () => resolve({ all: false, identifiers: ['other'] })
      }),
  })
  const { behaviour } = join(1)
  const obeyed = ref.ask({ type: 'obey', change: { kind: 'invalidate', identifiers: ['a'], reread: true } }, 60_000)
  for (let turns = 0; turns < 10; turns++) await turn()
  assert.equal(behaviour.heard.length, 0)
  finish?.()
  await obeyed
  assert.deepEqual(behaviour.heard.flatMap((message) => (message.type === 'invalidate' ? message.identifiers : [])), ['a', 'other'])
})

test('a peer’s change that a worker does not obey, or whose file cannot be read, is not acknowledged', async () => {
  const { join, ref, clock } = house({ reread: () => Promise.reject(new Error('gone')) })
  const { behaviour, heard } = join(1)
  await assert.rejects(ref.ask({ type: 'obey', change: { kind: 'invalidate-all', reread: true } }, 60_000))
  assert.deepEqual(heard(), [])
  behaviour.answers = 0
  const obeyed = ref.ask({ type: 'obey', change: { kind: 'invalidate-all', reread: false } }, 60_000)
  await eventually(() => heard().length === 1, 'it is told')
  const rejected = assert.rejects(obeyed, { code: 'ACTOR_DEADLINE' })
  clock.advance(ACK_TIMEOUT)
  await rejected
})

test('a destination that is taken out is shut in every worker, and drained where that was asked', async () => {
  const { join, ref } = house()
  const [one, two] = [join(1, 3), join(2, 4)]
  const down = await ref.ask({ type: 'state', destination: 'old', state: 'down', over: 30_000 }, 60_000)
  assert.deepEqual([down.sessions, down.confirmation.workers], [0, 2])
  assert.deepEqual([one.heard(), two.heard()], [['shut'], ['shut']])
  assert.equal((await ref.ask({ type: 'state', destination: 'old', state: 'drain', over: 5_000 }, 60_000)).sessions, 7)
  assert.deepEqual(one.behaviour.heard.at(-1), { type: 'drain', destination: 'old', over: 5_000 })
  await ref.ask({ type: 'state', destination: 'old', state: 'up', over: 30_000 }, 60_000)
  assert.deepEqual(two.behaviour.heard.at(-1), { type: 'shut', destination: 'old', shut: false })
})

test('a worker that joins is told what was taken out before, and nothing of what is up', async () => {
  const { join, ref } = house()
  for (const [destination, state] of [['a', 'down'], ['b', 'drain'], ['c', 'down'], ['c', 'up']] as const) {
    await ref.ask({ type: 'state', destination, state, over: 0 }, 60_000)
  }
  const { behaviour, heard } = join(1)
  await eventually(() => heard().length === 2, 'it is told')
  assert.deepEqual(behaviour.heard, [
    { type: 'shut', destination: 'a', shut: true },
    { type: 'shut', destination: 'b', shut: true },
  ])
})

test('what a peer knows of the destinations is taken over where it is news, once', async () => {
  const { join, ref, fleet } = house()
  const { behaviour, heard } = join(1)
  const states = [{ destination: 'a', state: 'drain', at: 5 }] as const
  ref.tell({ type: 'adopt', states })
  await eventually(() => heard().length === 2, 'it is told')
  assert.deepEqual(heard(), ['shut', 'drain'])
  assert.partialDeepStrictEqual(behaviour.heard[1], { type: 'drain', over: DRAIN_DEFAULT_MS })
  ref.tell({ type: 'adopt', states })
  ref.tell({ type: 'adopt', states: [{ destination: 'a', state: 'up', at: 4 }] })
  for (let turns = 0; turns < 10; turns++) await turn()
  assert.deepEqual(heard(), ['shut', 'drain'])
  assert.deepEqual(fleet.states(), states)
  // A late word of a peer: obeyed, and what is known since stays.
  await ref.ask({ type: 'obey', change: { kind: 'state', destination: 'a', state: 'up', at: 3, over: 0 } }, 60_000)
  assert.deepEqual(behaviour.heard.at(-1), { type: 'shut', destination: 'a', shut: true })
})

test('a drain is confirmed when every worker has begun, with how many sessions are being ended', async () => {
  const { join, ref } = house()
  join(1, 2)
  join(2, 5)
  const { sessions, confirmation } = await ref.ask({ type: 'drain', destination: 'old', over: 1_000 }, 60_000)
  assert.deepEqual([sessions, confirmation.workers, confirmation.workersExpected], [7, 2, 2])
})

test('a worker that stands still is owed one invalidation of everything, however many changes there were', async () => {
  const { join, invalidate, clock } = house()
  const { behaviour, heard } = join(1)
  behaviour.answers = 0
  const asked = Promise.all(Array.from({ length: CHANGES_OWED + 500 }, (_, index) => invalidate(`account${index}`)))
  await eventually(() => heard().length === CHANGES_OWED, 'it is told what it may owe')
  for (let turns = 0; turns < 10; turns++) await turn()
  assert.equal(heard().length, CHANGES_OWED)
  clock.advance(ACK_TIMEOUT)
  assert.ok((await asked).every(({ workers, workersExpected }) => workers === 0 && workersExpected === 1))
})

test('a change that was made while the bus was down says so, though it is up by the time of the answer', async () => {
  const { clock, fleet, ref } = house()
  const hub = new BusHub(clock)
  const [a, b] = [new Actor(hub, clock, 'a', 1), new Actor(hub, clock, 'b', 2)]
  fleet.attach(a.member, await a.join())
  await b.join()
  a.end.mute = true
  await beats(clock, 4)
  assert.equal(a.member.state, 'down')
  const asked = ref.ask({ type: 'invalidate', identifiers: ['carol'] }, 60_000)
  a.end.mute = false
  await beats(clock, 3)
  assert.equal(a.member.state, 'up')
  assert.deepEqual(await asked, { workers: 0, workersExpected: 0, peers: [{ instance: 'b', acknowledged: false }], bus: 'down' })
})
