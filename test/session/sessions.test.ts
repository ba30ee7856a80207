import assert from 'node:assert/strict'
import { test } from 'node:test'
import { spawn } from '../../src/actor/actor.ts'
import { Sessions } from '../../src/session/sessions.ts'
import type { SessionHandle, SessionsMessage } from '../../src/session/sessions.ts'
import { FakeClock } from '../support/fake-clock.ts'

class Handle implements SessionHandle {
  account: string | undefined
  bridgedTo: string | undefined
  idleBeforeLogin = true
  readonly ends: string[] = []
  onEnd: () => void = () => {}

  constructor(account?: string) {
    this.account = account
  }

  end(why: 'kicked' | 'shutdown'): void {
    this.ends.push(why)
    this.onEnd()
  }
}

function room() {
  const sessions = new Sessions()
  const { ref } = spawn<SessionsMessage>(sessions, { name: 'sessions', clock: new FakeClock() })
  const join = (account: string): Handle => {
    const handle = new Handle(account)
    sessions.open(handle)
    ref.tell({ type: 'join', session: handle })
    return handle
  }
  return { sessions, ref, join }
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
