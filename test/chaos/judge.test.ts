/** What the judge of the chaos run excuses, and what it does not: each kind of excuse where it fits, and right beside that. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../support/fake-clock.ts'
import type { LogLine } from '../support/signalbox.ts'
import type { Graces } from './causes.ts'
import type { Visited } from './crowd.ts'
import type { Door } from './fleet.ts'
import { Judge } from './judge.ts'
import type { Visit } from './visit.ts'

const ACCOUNT = 'one@example.com'
const OTHER = 'other@example.com'
const IMAP: Door = { protocol: 'imap', tls: 'plain', port: 1 }
const SMTP: Door = { protocol: 'smtp', tls: 'plain', port: 2 }
const HTTP: Door = { protocol: 'http', tls: 'plain', port: 3 }
const GRACES: Graces = { cut: 2_000, ended: 5_000, busy: 10_000, absent: 1_000, moved: 20_000 }

/** Two instances, an account on d1, and a clock that stands. */
class Court {
  readonly clock = new FakeClock()
  readonly lines: LogLine[] = []
  readonly a: Visited = { name: 'a', box: { lines: this.lines } }
  readonly b: Visited = { name: 'b', box: { lines: [] } }
  readonly judge = new Judge([ACCOUNT, OTHER], ['a', 'b'], this.clock)

  constructor() {
    this.clock.advance(1_000_000)
    this.judge.known(ACCOUNT, 'd1')
    this.judge.known(OTHER, 'd1')
  }

  /** Somebody comes now, and gets in; what is given to the result is how it ends now. `alive`: how long ago the last sign of life was. */
  comes(door = IMAP, member = this.a, account = ACCOUNT, destination = door === SMTP ? 'd0' : 'd1'): (end: Partial<Visit> & { readonly since?: number }) => void {
    const back = this.judge.setOut({ member, door, account })
    const began = this.clock.now()
    return ({ since = 300, ...end }) => {
      const noticed = this.clock.now()
      const outcome = end.outcome ?? 'cut'
      const inside = outcome === 'cut' || outcome === 'served'
      back({ outcome, destination: inside ? destination : undefined, wrong: undefined, bytes: 0, took: 10, began, answered: began, arrived: inside ? began : undefined, alive: Math.max(began, noticed - since), noticed, ...end })
    }
  }

  says(event: string, more: Readonly<Record<string, unknown>> = {}): void {
    this.lines.push({ text: event, event, listener: 'imap-plain', account: ACCOUNT, time: new Date(this.clock.wall()).toISOString(), ...more })
  }

  /** A fault that lasts so long, at an instance. */
  fault(ms: number, member = this.a, graces = GRACES): void {
    const cause = this.judge.begin(graces, ({ trip }) => trip.member === member)
    this.clock.advance(ms)
    cause.over()
  }

  /** What was violated, once the log has been read. */
  async violated(): Promise<readonly string[]> {
    this.clock.advance(10_000)
    await this.judge.settled()
    return this.judge.violations()
  }
}

const served: Partial<Visit> = { outcome: 'served' }

test('a session that is cut within the reach of a fault at its instance is excused', async () => {
  const court = new Court()
  const end = court.comes()
  court.clock.advance(5_000)
  court.fault(100)
  end({})
  assert.deepEqual(await court.violated(), [])
})

test('the same cut after the fault’s grace is a violation, although the session has lived through the fault', async () => {
  const court = new Court()
  const end = court.comes()
  court.clock.advance(1_000)
  court.fault(100)
  court.clock.advance(2_301)
  end({})
  const [violation = '', ...more] = await court.violated()
  assert.match(violation, /^a, imap plain, one@example\.com, from .*: cut on d1 between .* without a fault that explains it/)
  assert.deepEqual(more, [])
})

test('what counts is the stretch between the last sign of life and the moment it was noticed: a cut right at the end of the grace is excused', async () => {
  const court = new Court()
  const end = court.comes()
  court.clock.advance(1_000)
  court.fault(100)
  court.clock.advance(2_300)
  end({})
  assert.deepEqual(await court.violated(), [])
})

test('a cut before the fault, at another instance, or of a kind that the fault does not have, is a violation', async () => {
  const early = new Court()
  const end = early.comes()
  early.clock.advance(1_000)
  end({})
  early.fault(100)
  assert.equal((await early.violated()).length, 1)

  const elsewhere = new Court()
  const stays = elsewhere.comes(IMAP, elsewhere.b)
  elsewhere.fault(100)
  stays({})
  assert.equal((await elsewhere.violated()).length, 1)

  const other = new Court()
  const stands = other.comes()
  other.fault(100, other.a, { busy: 10_000 })
  stands({})
  assert.equal((await other.violated()).length, 1)
})

test('after a calm no earlier fault excuses anything, however long its grace', async () => {
  const court = new Court()
  const end = court.comes()
  court.fault(100, court.a, { cut: 60_000 })
  court.clock.advance(1_000)
  court.judge.calm()
  court.clock.advance(1_000)
  end({})
  assert.equal((await court.violated()).length, 1)
})

test('each kind has its own grace: told to come again, ended before an answer, nobody there', async () => {
  for (const [outcome, grace] of [['busy', 10_000], ['ended', 5_000], ['absent', 1_000]] as const) {
    const court = new Court()
    court.fault(100)
    court.clock.advance(grace)
    court.comes()({ outcome, since: 0 })
    assert.deepEqual(await court.violated(), [], outcome)
    const late = new Court()
    late.fault(100)
    late.clock.advance(grace + 1)
    late.comes()({ outcome, since: 0 })
    assert.equal((await late.violated()).length, 1, outcome)
  }
})

test('a cut that a stopped process or a link that stands still held back is excused by the fault of that time, and by none other', async () => {
  for (const [held, violations] of [[true, 0], [false, 1]] as const) {
    const court = new Court()
    const end = court.comes()
    court.clock.advance(1_000)
    const hold = held ? court.judge.hold(({ door }) => door === IMAP) : undefined
    court.fault(100)
    court.clock.advance(3_000)
    hold?.over()
    court.clock.advance(50)
    // The last bytes came when it moved on, and then the end.
    end({ since: 10 })
    assert.equal((await court.violated()).length, violations)
  }
  const calm = new Court()
  const end = calm.comes()
  const hold = calm.judge.hold(() => true)
  calm.clock.advance(3_000)
  hold.over()
  end({})
  assert.equal((await calm.violated()).length, 1, 'to hold something back excuses nothing by itself')
})

test('a worker’s death excuses the sessions that it had by the log, and those that it had no time to log', async () => {
  const death = (court: Court): void => {
    const now = court.clock.now()
    const cause = court.judge.begin(GRACES, ({ trip }) => trip.member === court.a, ({ outcome, trace }) => outcome !== 'cut' || trace.wasIn(1, now, 500))
    court.clock.advance(100)
    cause.over()
  }
  for (const [worker, stays, violations] of [[1, 5_000, 0], [2, 5_000, 1], [undefined, 400, 0], [undefined, 600, 1]] as const) {
    const court = new Court()
    const end = court.comes()
    if (worker !== undefined) court.says('login', { worker })
    court.clock.advance(stays)
    death(court)
    end({ since: 100 })
    assert.equal((await court.violated()).length, violations, `worker ${worker}, ${stays} ms`)
  }
  // Another account's login, and the same account's through another door, are not its own.
  const court = new Court()
  const end = court.comes()
  court.says('login', { worker: 1, account: OTHER })
  court.says('login', { worker: 1, listener: 'pop3-plain' })
  court.clock.advance(5_000)
  death(court)
  end({})
  assert.equal((await court.violated()).length, 1)
})

test('a kick excuses the sessions of its account that were closed as kicked, and nobody who has no login', async () => {
  const kick = (court: Court): void => {
    const cause = court.judge.begin({ cut: 1_000, ended: 1_000, busy: 1_000 }, ({ trip }) => trip.account === ACCOUNT, ({ outcome, trace, alive, noticed }) => outcome !== 'cut' || trace.closedAs('kicked', alive - 1_000, noticed + 1_000))
    court.clock.advance(50)
    cause.over()
  }
  for (const [account, reason, violations] of [[ACCOUNT, 'kicked', 0], [ACCOUNT, 'backend', 1], [OTHER, 'kicked', 1]] as const) {
    const court = new Court()
    const end = court.comes(IMAP, court.a, account)
    court.clock.advance(3_000)
    kick(court)
    court.says('session_closed', { reason, account })
    end({})
    assert.equal((await court.violated()).length, violations, `${account} ${reason}`)
  }
})

test('a session whose account has moved is excused when it was at the old place and was closed for that', async () => {
  const run = async (moved: boolean, reason: string, wait: number, door = IMAP): Promise<number> => {
    const court = new Court()
    const end = court.comes(door)
    court.clock.advance(1_000)
    // At the other instance: what was missed was missed there, or here.
    court.fault(100, court.b, { moved: 20_000 })
    if (moved) {
      const change = court.judge.changing(ACCOUNT, 'd2', 'a')
      change.acknowledged(['a', 'b'])
      change.over('done')
    }
    court.judge.calm()
    court.clock.advance(wait)
    court.says('session_closed', { reason, listener: `${door.protocol}-${door.tls}` })
    end({})
    return (await court.violated()).length
  }
  assert.equal(await run(true, 'moved', 10_000), 0)
  assert.equal(await run(false, 'moved', 10_000), 1, 'it has not moved')
  assert.equal(await run(true, 'backend', 10_000), 1, 'it was not closed for that')
  assert.equal(await run(true, 'moved', 20_301), 1, 'too late')
  assert.equal(await run(true, 'moved', 10_000, SMTP), 1, 'it has no account')
})

test('a login under way whose account moves is excused when the sessions were looked over at that moment', async () => {
  for (const [moved, ended, violations] of [[true, 1, 0], [true, 0, 1], [false, 1, 1]] as const) {
    const court = new Court()
    const end = court.comes()
    court.fault(100, court.b, { moved: 20_000 })
    if (moved) court.judge.changing(ACCOUNT, 'd2', 'a').over('done')
    court.clock.advance(1_000)
    court.says('sessions_reviewed', { ended })
    end({ outcome: 'ended' })
    assert.equal((await court.violated()).length, violations, `${moved} ${ended}`)
  }
})

test('mail servers that are away excuse who was there or may have been on the way there', async () => {
  for (const [names, outcome, violations] of [[['d1'], 'cut', 0], [['d2'], 'cut', 1], [['d1'], 'busy', 0], [['d2'], 'busy', 1]] as const) {
    const court = new Court()
    const end = court.comes()
    const cause = court.judge.begin({ cut: 2_000, busy: 10_000 }, ({ goes }) => goes(names))
    court.clock.advance(100)
    cause.over()
    end({ outcome })
    assert.equal((await court.violated()).length, violations, `${names.join()} ${outcome}`)
  }
})

test('who logs in while the account is changed may be told to come again; afterwards not', async () => {
  const court = new Court()
  const during = court.comes()
  const change = court.judge.changing(ACCOUNT, 'd2', 'a')
  change.acknowledged(['a', 'b'])
  change.over('done')
  during({ outcome: 'busy' })
  assert.deepEqual(await court.violated(), [])
  court.comes()({ outcome: 'busy' })
  assert.equal((await court.violated()).length, 1)
})

test('a login at a place that the instance had confirmed to be the wrong one is a violation, fault or not', async () => {
  const court = new Court()
  const change = court.judge.changing(ACCOUNT, 'd2', 'a')
  change.acknowledged(['a'])
  change.over('done')
  const cause = court.judge.begin(GRACES, () => true)
  court.comes(IMAP, court.b)(served)
  assert.deepEqual(court.judge.violations(), [], 'b has not confirmed')
  assert.equal(court.judge.allows(ACCOUNT, 'd1'), true)
  change.acknowledged(['b'])
  assert.equal(court.judge.allows(ACCOUNT, 'd1'), false)
  court.comes(IMAP, court.a)(served)
  cause.over()
  const [violation = '', ...more] = court.judge.violations()
  assert.match(violation, /^a, imap plain: one@example\.com: d1 \(version 1\) instead of version 2 \(d2\) or newer/)
  assert.deepEqual(more, [])
  court.comes(SMTP, court.a, ACCOUNT, 'd1')(served)
  assert.equal(court.judge.violated, 2, 'mail that is passed through has one place')
})

test('silence and other bytes are violations, whatever is broken', async () => {
  for (const wrong of ['left unanswered: nothing within 20000 ms', 'other bytes came than were sent to it']) {
    for (const door of [IMAP, SMTP, HTTP]) {
      const court = new Court()
      const end = court.comes(door)
      const cause = court.judge.begin(GRACES, () => true)
      end({ wrong })
      cause.over()
      assert.deepEqual(await court.violated(), [wrong])
    }
  }
})

test('a store that holds something else than what was confirmed is a violation; what nobody knew is read', async () => {
  const court = new Court()
  court.judge.changing(ACCOUNT, 'd2', 'a').over('unknown')
  court.judge.read(ACCOUNT, 'd1')
  assert.deepEqual(court.judge.violations(), [])
  court.judge.read(ACCOUNT, 'd3')
  const [violation = ''] = court.judge.violations()
  assert.match(violation, /the store holds d3 instead of d1/)
})
