import assert from 'node:assert/strict'
import { test } from 'node:test'
import { spawn } from '../../src/actor/actor.ts'
import { DRAIN_STEP_MS, KEEPALIVE_LOOK_MS, SESSIONS_LISTED } from '../../src/limits.ts'
import { Sessions } from '../../src/session/sessions.ts'
import type { EndedBy, SessionHandle, SessionsMessage } from '../../src/session/sessions.ts'
import { FakeClock } from '../support/fake-clock.ts'

class Handle implements SessionHandle {
  account: string | undefined
  bridgedTo: string | undefined
  routedTo: string | undefined
  idleBeforeLogin = true
  readonly protocol = 'imap'
  readonly client = '192.0.2.1'
  readonly since = 1_000
  readonly bytes = { bytesIn: 10, bytesOut: 20 }
  readonly ends: string[] = []
  onEnd: () => void = () => {}
  looks = 0

  constructor(account?: string) {
    this.account = account
  }

  lasts(): void {
    this.looks++
  }

  end(why: EndedBy): void {
    this.ends.push(why)
    this.onEnd()
  }
}

function room() {
  const clock = new FakeClock()
  const sessions = new Sessions(clock)
  const { ref } = spawn<SessionsMessage>(sessions, { name: 'sessions', clock })
  const join = (account: string): Handle => {
    const handle = new Handle(account)
    sessions.open(handle)
    ref.tell({ type: 'join', session: handle })
    return handle
  }
  /** So many sessions that are bridged to `destination`, and leave when they are ended. */
  const bridge = (destination: string, count: number, account = 'a'): Handle[] =>
    Array.from({ length: count }, () => {
      const handle = join(account)
      handle.bridgedTo = destination
      handle.onEnd = () => {
        handle.bridgedTo = undefined
        ref.tell({ type: 'leave', session: handle })
        sessions.close(handle)
      }
      return handle
    })
  return { clock, sessions, ref, join, bridge }
}

test('a kick ends every session of the account and no other, names of prototype properties included', async () => {
  const { ref, join } = room()
  for (const name of ['a', '__proto__', 'constructor']) {
    const [mine, mine2, other] = [join(name), join(name), join('someone else')]
    assert.equal(await ref.ask({ type: 'kick', identifier: name }, 1_000), 2)
    assert.deepEqual([mine.ends, mine2.ends, other.ends], [['kicked'], ['kicked'], []])
  }
  assert.equal(await ref.ask({ type: 'kick', identifier: 'unknown' }, 1_000), 0)
})

test('a kick with an exception spares those that go there and those that have no route yet', async () => {
  const { ref, join } = room()
  const [waiting, there, elsewhere, other] = [join('a'), join('a'), join('a'), join('b')]
  there.routedTo = 'new'
  elsewhere.routedTo = 'old'
  other.routedTo = 'old'
  assert.equal(await ref.ask({ type: 'kick', identifier: 'a', except: 'new' }, 1_000), 1)
  assert.deepEqual([waiting.ends, there.ends, elsewhere.ends, other.ends], [[], [], ['kicked'], []])
  assert.equal(await ref.ask({ type: 'kick', identifier: 'a' }, 1_000), 3)
})

test('sessions that leave while they are being kicked are all kicked and all forgotten', async () => {
  const { sessions, ref, join } = room()
  const handles = Array.from({ length: 10 }, () => join('a'))
  for (const handle of handles) {
    handle.onEnd = () => {
      ref.tell({ type: 'leave', session: handle })
      sessions.close(handle)
    }
  }
  assert.equal(await ref.ask({ type: 'kick', identifier: 'a' }, 1_000), 10)
  assert.deepEqual(await ref.ask({ type: 'stats' }, 1_000), { sessions: 0, accounts: 0, byDestination: {} })
})

test('ending before login spares those on their way; ending all spares nobody', async () => {
  const { ref, sessions, join } = room()
  const idle = new Handle()
  sessions.open(idle)
  const busy = join('a')
  busy.idleBeforeLogin = false
  assert.equal(await ref.ask({ type: 'end', which: 'preauth' }, 1_000), 1)
  assert.deepEqual([idle.ends, busy.ends], [['shutdown'], []])
  assert.equal(await ref.ask({ type: 'end', which: 'all' }, 1_000), 2)
  assert.deepEqual(busy.ends, ['shutdown'])
})

test('bridged sessions are counted by destination', async () => {
  const { ref, join } = room()
  for (const destination of ['one', 'one', 'constructor']) join('a').bridgedTo = destination
  join('b')
  const stats = await ref.ask({ type: 'stats' }, 1_000)
  assert.deepEqual({ ...stats, byDestination: Object.entries(stats.byDestination) }, { sessions: 4, accounts: 2, byDestination: [['one', 2], ['constructor', 1]] })
})

test('a drain ends the sessions of its destination evenly over its time, and no others', async () => {
  const { clock, ref, sessions, bridge } = room()
  const mine = bridge('old', 100)
  const others = bridge('new', 3)
  const ended = (): number => mine.filter(({ ends }) => ends.length > 0).length
  assert.equal(await ref.ask({ type: 'drain', destination: 'old', over: 10_000 }, 1_000), 100)
  assert.equal(ended(), 0)
  for (const [ms, count] of [[1_000, 10], [1_000, 20], [3_000, 50], [5_000, 100]] as const) {
    clock.advance(ms)
    assert.equal(ended(), count)
  }
  assert.deepEqual(new Set(mine.flatMap(({ ends }) => ends)), new Set(['drained']))
  assert.equal(sessions.size, others.length)
  assert.deepEqual(others.flatMap(({ ends }) => ends), [])
  clock.advance(60_000)
  assert.ok(mine.every(({ ends }) => ends.length === 1), 'once each')
})

test('a drain looks every DRAIN_STEP_MS who is due', async () => {
  const { clock, ref, bridge } = room()
  const mine = bridge('old', 1_000)
  const ended = (): number => mine.filter(({ ends }) => ends.length > 0).length
  await ref.ask({ type: 'drain', destination: 'old', over: 100 * DRAIN_STEP_MS }, 1_000)
  clock.advance(DRAIN_STEP_MS - 1)
  assert.equal(ended(), 0)
  clock.advance(1)
  assert.equal(ended(), 10)
})

test('a drain over no time ends all at once; what came later or ended by itself is left alone', async () => {
  const { clock, ref, bridge } = room()
  const [gone, ...rest] = bridge('old', 3)
  assert.equal(await ref.ask({ type: 'drain', destination: 'old', over: 1_000 }, 1_000), 3)
  gone?.onEnd()
  const late = bridge('old', 1)
  clock.advance(1_000)
  assert.deepEqual([gone?.ends, rest.map(({ ends }) => ends), late[0]?.ends], [[], [['drained'], ['drained']], []])
  assert.equal(await ref.ask({ type: 'drain', destination: 'old', over: 0 }, 1_000), 1)
  assert.deepEqual(late[0]?.ends, ['drained'])
  assert.equal(await ref.ask({ type: 'drain', destination: 'nowhere', over: 0 }, 1_000), 0)
})

test('a destination that is shut takes nobody until it is opened again', async () => {
  const { ref, sessions } = room()
  for (const name of ['old', '__proto__']) {
    assert.equal(sessions.mayGoTo(name), true)
    await ref.ask({ type: 'shut', destination: name, shut: true }, 1_000)
    assert.equal(sessions.mayGoTo(name), false)
    await ref.ask({ type: 'shut', destination: name, shut: false }, 1_000)
    assert.equal(sessions.mayGoTo(name), true)
  }
})

test('the list names bridged sessions of an account, of a destination or all, up to its limit, and counts every one', async () => {
  const { ref, bridge, join } = room()
  bridge('old', 3, 'a')
  bridge('new', 2, 'b')
  join('a')
  const list = async (of: { identifier?: string; destination?: string; limit?: number }) => {
    const answer = await ref.ask({ type: 'list', identifier: of.identifier, destination: of.destination, limit: of.limit ?? 100 }, 1_000)
    return { listed: answer.sessions.length, counted: answer.groups.map(({ destination, sessions, bytesIn }) => [destination, sessions, bytesIn]) }
  }
  assert.deepEqual(await list({}), { listed: 5, counted: [['old', 3, 30], ['new', 2, 20]] })
  assert.deepEqual(await list({ identifier: 'a' }), { listed: 3, counted: [['old', 3, 30]] })
  assert.deepEqual(await list({ identifier: '__proto__' }), { listed: 0, counted: [] })
  assert.deepEqual(await list({ destination: 'new' }), { listed: 2, counted: [['new', 2, 20]] })
  assert.deepEqual(await list({ identifier: 'a', destination: 'new' }), { listed: 0, counted: [] })
  assert.deepEqual(await list({ limit: 0 }), { listed: 0, counted: [['old', 3, 30], ['new', 2, 20]] })
  const { sessions: [first] } = await ref.ask({ type: 'list', identifier: 'b', destination: undefined, limit: 1 }, 1_000)
  assert.deepEqual(first, { account: 'b', protocol: 'imap', destination: 'new', client: '192.0.2.1', since: 1_000, bytesIn: 10, bytesOut: 20 })
})

test('the list stops at its limit and at the most that one answer may hold', async () => {
  const { ref, bridge } = room()
  bridge('old', SESSIONS_LISTED + 1)
  for (const [limit, listed] of [[1, 1], [SESSIONS_LISTED, SESSIONS_LISTED], [SESSIONS_LISTED + 1, SESSIONS_LISTED]] as const) {
    const answer = await ref.ask({ type: 'list', identifier: undefined, destination: undefined, limit }, 1_000)
    assert.deepEqual([answer.sessions.length, answer.groups[0]?.sessions], [listed, SESSIONS_LISTED + 1])
  }
})

test('a review ends what is elsewhere, spares what is there or has no route yet', async () => {
  const clock = new FakeClock()
  const counts: unknown[] = []
  const sessions = new Sessions(clock, { where: async (account) => (account === 'a' ? 'new' : undefined), reviewed: (told) => counts.push(told) })
  const { ref } = spawn<SessionsMessage>(sessions, { name: 'sessions', clock })
  const [waiting, there, elsewhere, unknown] = ['a', 'a', 'a', 'b'].map((account) => {
    const handle = new Handle(account)
    ref.tell({ type: 'join', session: handle })
    return handle
  })
  for (const [handle, destination] of [[there, 'new'], [elsewhere, 'old'], [unknown, 'old']] as const) if (handle !== undefined) handle.routedTo = destination
  ref.tell({ type: 'review' })
  for (let turns = 0; turns < 4; turns++) await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual([waiting?.ends, there?.ends, elsewhere?.ends, unknown?.ends], [[], [], ['moved'], []])
  assert.deepEqual(counts, [{ accounts: 2, ended: 1, unknown: 1 }])
})

test('sessions are looked over now and then for those that have lasted, with one timer for all', () => {
  const { clock, join, sessions } = room()
  const timers = clock.pending
  const [stays, goes] = [join('a'), join('b')]
  assert.equal(clock.pending, timers)
  clock.advance(KEEPALIVE_LOOK_MS)
  sessions.close(goes)
  clock.advance(KEEPALIVE_LOOK_MS)
  assert.deepEqual([stays.looks, goes.looks], [2, 1])
})
