/**
 * Workers that die or stand still while clients log in. What must hold: no connection is left without an answer or an
 * end, sessions of the other worker don't notice, a new worker takes the place, later logins succeed.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { Rig } from '../support/rig.ts'
import { StubImap } from '../support/stub-imap.ts'
import { WireClient } from '../support/wire-client.ts'

/** The bound is a second (HANDOVER_DEADLINE_MS and the client's own handshake); a busy machine gets five times that. */
const UNANSWERED_MS = 5_000
const CLIENTS = 12

/** How one connection of the load went. */
interface Attempt {
  readonly outcome: 'served' | 'ended'
  /** From connect to the first answer or the end, in milliseconds. */
  readonly answered: number
}

describe('a worker that dies', () => {
  let stub: StubImap
  let rig: Rig
  let accounts = 0
  const clients: WireClient[] = []
  /** Process ids that were stopped, so that a failing test doesn't leave one behind. */
  const stopped = new Set<number>()

  before(async () => {
    stub = await StubImap.start({ name: 'one', tls: 'plain' })
    rig = await Rig.start({
      destinations: { one: { port: stub.port, tls: 'plain' } },
      listener: { preauth_timeout: '60s' },
    })
  })
  after(async () => {
    for (const pid of stopped) resume(pid)
    await (rig as Rig | undefined)?.stop()
    await stub.stop()
  })
  afterEach(() => {
    for (const client of clients.splice(0)) client.destroy()
  })

  function resume(pid: number): void {
    if ([...rig.box.workers().values()].includes(pid)) process.kill(pid, 'SIGCONT')
  }

  function account(): string {
    return `user${++accounts}@example.com`
  }

  /** One connection: connects in the clear, so that nothing but the proxy's greeting is waited for, then logs in over TLS. */
  async function attempt(): Promise<Attempt> {
    const began = systemClock.now()
    const client = await WireClient.connect({ port: rig.imap })
    clients.push(client)
    try {
      await client.until(/^\* OK .*\r\n/, UNANSWERED_MS)
    } catch {
      // Either the connection ended (fine: the client knows), or nothing came in time.
      return { outcome: 'ended', answered: client.received === '' && !client.closed && !(await hasEnded(client)) ? Infinity : systemClock.now() - began }
    }
    const answered = systemClock.now() - began
    try {
      await client.command('a STARTTLS')
      await client.startTls(rig.authority.cert)
      const answer = await client.command(`b LOGIN ${account()} secret`)
      const served = /^b OK .*welcome to one\r\n/m.test(answer) && /this is one/.test(await client.command('c NOOP'))
      assert.ok(served, answer)
      return { outcome: 'served', answered }
    } catch (thrown) {
      if (thrown instanceof assert.AssertionError) throw thrown
      // Its worker died under it: it must have been told by the end of the connection.
      await client.untilClosed(UNANSWERED_MS)
      return { outcome: 'ended', answered }
    } finally {
      client.destroy()
    }
  }

  async function hasEnded(client: WireClient): Promise<boolean> {
    try {
      await client.untilClosed(100)
      return true
    } catch {
      return false
    }
  }

  /** Sessions that are bridged, by the worker that holds them. */
  async function bridged(count: number): Promise<Map<number, WireClient[]>> {
    const held = new Map<number, WireClient[]>()
    for (let index = 0; index < count; index++) {
      const user = account()
      const client = await rig.loggedIn(user)
      clients.push(client)
      const worker = await rig.workerOf(user)
      held.set(worker, [...(held.get(worker) ?? []), client])
    }
    return held
  }

  /** Logs in again and again with CLIENTS at a time until `over`. */
  async function load(over: () => boolean): Promise<Attempt[]> {
    const attempts: Attempt[] = []
    await Promise.all(Array.from({ length: CLIENTS }, async () => {
      while (!over()) attempts.push(await attempt())
    }))
    return attempts
  }

  async function allIsWell(): Promise<void> {
    const results = await Promise.all(Array.from({ length: 10 }, () => attempt()))
    assert.deepEqual(results.map(({ outcome }) => outcome), results.map(() => 'served'))
    // The newest has the fewest sessions, so it is the first to be given some.
    const newest = [...rig.box.workers().keys()].at(-1)
    assert.ok(newest !== undefined && (await bridged(4)).has(newest))
  }

  function pick(): { readonly worker: number; readonly pid: number } {
    const first = [...rig.box.workers()].find(([, pid]) => isAlive(pid))
    assert.ok(first, 'no worker is ready')
    return { worker: first[0], pid: first[1] }
  }

  it('by SIGKILL under login load: no connection unanswered, other sessions unaffected, replaced', async () => {
    const sessions = await bridged(8)
    assert.equal(sessions.size, 2)
    const { worker, pid } = pick()
    let over = false
    const running = load(() => over)
    await systemClock.sleep(500)
    process.kill(pid, 'SIGKILL')
    await Promise.all((sessions.get(worker) ?? []).map((client) => client.untilClosed(UNANSWERED_MS)))
    await rig.respawned(pid)
    await systemClock.sleep(300)
    over = true
    const attempts = await running
    assert.deepEqual(attempts.filter(({ answered }) => answered > UNANSWERED_MS), [])
    assert.ok(attempts.some(({ outcome }) => outcome === 'served'))
    // Only what this worker held at that moment may have ended.
    assert.ok(attempts.filter(({ outcome }) => outcome === 'ended').length <= CLIENTS, JSON.stringify(attempts))
    for (const [holder, others] of sessions) {
      if (holder === worker) continue
      for (const client of others) assert.match(await client.command('d NOOP'), /this is one/)
    }
    const exited = await rig.box.line((line) => line['event'] === 'worker_exited' && line['pid'] === pid)
    assert.equal(exited['signal'], 'SIGKILL')
    assert.equal(exited['expected'], false)
    await allIsWell()
  })

  it('after it stood still: connections on their way to it are answered by another or ended', async () => {
    const sessions = await bridged(4)
    const { worker, pid } = pick()
    process.kill(pid, 'SIGSTOP')
    stopped.add(pid)
    // More than the other worker alone would be given.
    const first = await Promise.all(Array.from({ length: CLIENTS }, () => attempt()))
    assert.deepEqual(first.filter(({ answered }) => answered > UNANSWERED_MS), [])
    const during = Promise.all(Array.from({ length: CLIENTS }, () => attempt()))
    process.kill(pid, 'SIGKILL')
    stopped.delete(pid)
    assert.deepEqual((await during).filter(({ answered }) => answered > UNANSWERED_MS), [])
    for (const [holder, others] of sessions) {
      if (holder === worker) continue
      for (const client of others) assert.match(await client.command('d NOOP'), /this is one/)
    }
    await Promise.all((sessions.get(worker) ?? []).map((client) => client.untilClosed(UNANSWERED_MS)))
    await rig.respawned(pid)
    await allIsWell()
  })

  it('takes no change with it: a mapping that is put while it dies is in force in its successor', async () => {
    const user = account()
    const { pid } = pick()
    process.kill(pid, 'SIGKILL')
    const put = await rig.admin.put(user, 'one')
    // Its death counts as its acknowledgement: the change must not wait for it.
    assert.equal(put.status, 200, put.body)
    await rig.respawned(pid)
    const answer = await rig.admin.lookup(user, { workers: 'all' })
    assert.equal(answer.status, 200, answer.body)
    assert.match(answer.body, /"routed_to_default":false/)
    assert.doesNotMatch(answer.body, /"routed_to_default":true/)
    await allIsWell()
  })

  it('ends with the primary: nobody is left behind when that is killed', async () => {
    await using other = await Rig.start({
      destinations: { one: { port: stub.port, tls: 'plain' } },
      tables: { cluster: { bus_down_ttl: '1s' } },
    })
    const client = await other.loggedIn(account())
    const pids = [...other.box.workers().values()]
    assert.equal(pids.length, 2)
    await other.box.stop('SIGKILL')
    await client.untilClosed(15_000)
    for (let tries = 0; pids.some(isAlive); tries++) {
      assert.ok(tries < 200, `still there: ${pids.filter(isAlive).join(' ')}`)
      await systemClock.sleep(50)
    }
    client.destroy()
  })
})

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
