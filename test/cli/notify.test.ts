import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { Notifier, serviceManager } from '../../src/cli/notify.ts'
import { NOTIFY_LOG_MS, NOTIFY_MS } from '../../src/limits.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { soon } from '../support/soon.ts'
import { KeptLog } from '../support/source-log.ts'
import { makeTemporary } from '../support/temporary.ts'

/** A notifier whose messages are kept, and delivered at once unless `deliver` says otherwise. */
function rig({ watchdog, deliver }: { watchdog?: number; deliver?: () => Promise<void> } = {}) {
  const clock = new FakeClock()
  const log = new KeptLog()
  const said: string[] = []
  const state = { alive: true }
  const notifier = new Notifier({
    clock,
    log,
    alive: () => state.alive,
    watchdog,
    deliver: async (assignments) => {
      said.push(assignments.join(' '))
      await deliver?.()
    },
  })
  return { clock, log, said, state, notifier }
}

describe('what the service manager is told', () => {
  it('comes in the order in which it was said, one message after the other', async () => {
    const gates: (() => void)[] = []
    const { clock, said, notifier } = rig({ deliver: () => new Promise<void>((resolve) => gates.push(resolve)) })
    await clock.advanceAsync(1_234.5)
    notifier.ready()
    notifier.reloading()
    notifier.ready()
    notifier.stopping()
    const closed = notifier.close()
    const expected = ['READY=1', 'RELOADING=1 MONOTONIC_USEC=1234500', 'READY=1', 'STOPPING=1']
    for (let count = 1; count <= expected.length; count++) {
      await clock.advanceAsync(1)
      assert.deepEqual(said, expected.slice(0, count))
      gates.shift()?.()
    }
    await closed
  })

  it('is not that it is ready, when it is about to end', async () => {
    const { said, notifier } = rig({ watchdog: 10 })
    notifier.stopping()
    notifier.stopping()
    notifier.reloading()
    notifier.ready()
    await notifier.close()
    assert.deepEqual(said, ['STOPPING=1'])
  })

  it('is a sign of life at half the time that it asked for, from the first READY to the end', async () => {
    const { clock, said, notifier } = rig({ watchdog: 30_000 })
    await clock.advanceAsync(60_000, 1_000)
    assert.deepEqual(said, [])
    notifier.ready()
    notifier.reloading()
    notifier.ready()
    await clock.advanceAsync(14_999)
    assert.equal(said.length, 3)
    await clock.advanceAsync(1)
    assert.deepEqual(said.slice(3), ['WATCHDOG=1'])
    notifier.stopping()
    await clock.advanceAsync(30_000, 1_000)
    assert.deepEqual(said.slice(4), ['STOPPING=1', 'WATCHDOG=1', 'WATCHDOG=1'])
    await notifier.close()
    assert.equal(clock.pending, 0)
  })

  it('is no sign of life while no worker does its work', async () => {
    const { clock, said, state, notifier } = rig({ watchdog: 10_000 })
    notifier.ready()
    state.alive = false
    await clock.advanceAsync(60_000, 1_000)
    assert.deepEqual(said, ['READY=1'])
    state.alive = true
    await clock.advanceAsync(5_000)
    assert.deepEqual(said, ['READY=1', 'WATCHDOG=1'])
  })

  it('is one sign of life at a time, however slow the service manager is', async () => {
    const gates: (() => void)[] = []
    const { clock, said, notifier } = rig({ watchdog: 2_000, deliver: () => new Promise<void>((resolve) => gates.push(resolve)) })
    notifier.ready()
    await clock.advanceAsync(60_000, 1_000)
    assert.deepEqual(said, ['READY=1'])
    gates.shift()?.()
    await clock.advanceAsync(60_000, 1_000)
    assert.deepEqual(said, ['READY=1', 'WATCHDOG=1'])
    gates.shift()?.()
    await notifier.close()
  })

  it('is logged when it did not get there, each kind seldom, and what follows is said all the same', async () => {
    const { clock, log, said, notifier } = rig({ watchdog: 2_000, deliver: () => Promise.reject(new Error('ENOENT')) })
    notifier.ready()
    await clock.advanceAsync(NOTIFY_LOG_MS, 1_000)
    const failed = () => log.lines.map(({ fields }) => fields as { message: string; times: number }).map(({ message, times }) => `${message} ${times}`)
    assert.deepEqual(failed(), ['READY=1 1', 'WATCHDOG=1 1'])
    await clock.advanceAsync(2_000, 1_000)
    assert.deepEqual(failed(), ['READY=1 1', 'WATCHDOG=1 1', `WATCHDOG=1 ${NOTIFY_LOG_MS / 1_000}`])
    notifier.stopping()
    await notifier.close()
    assert.equal(said.at(-1), 'STOPPING=1')
  })

  it('is nothing where nobody asked', async () => {
    const clock = new FakeClock()
    const notifier = new Notifier({ clock, log: new KeptLog(), alive: () => true, ...serviceManager({}, 1, clock) })
    notifier.ready()
    notifier.reloading()
    notifier.stopping()
    await notifier.close()
    assert.equal(clock.pending, 0)
  })
})

describe('a service manager that reads nothing', () => {
  it('is given up at its time and not before', async () => {
    await using directory = await makeTemporary('notify')
    // Says that it is there, and then waits for ever, as the real one does for a manager that hangs.
    const program = join(directory.path, 'systemd-notify')
    await writeFile(program, `#!/bin/sh\necho $$ > ${directory.path}/pid\nexec sleep 600\n`, { mode: 0o700 })
    const clock = new FakeClock()
    const { deliver } = serviceManager({ NOTIFY_SOCKET: '@nobody', PATH: `${directory.path}:/usr/bin:/bin` }, 1, clock)
    const outcomes: string[] = []
    const delivered = deliver?.(['READY=1']).catch((error: unknown) => void outcomes.push(String(error)))
    const pid = await soon('it runs', async () => Number(await readFile(join(directory.path, 'pid'), 'utf8').catch(() => '')) || undefined)
    clock.advance(NOTIFY_MS - 1)
    await new Promise((resolve) => setImmediate(resolve))
    process.kill(pid, 0)
    assert.deepEqual(outcomes, [])
    clock.advance(1)
    await delivered
    assert.match(outcomes[0] ?? '', /systemd-notify/)
    assert.throws(() => process.kill(pid, 0))
  })
})

describe('what the environment says of the service manager', () => {
  const found = (env: NodeJS.ProcessEnv) => {
    const { deliver, watchdog } = serviceManager(env, 17, new FakeClock())
    return { told: deliver !== undefined, watchdog }
  }

  it('is taken out of it, so that no child finds it', () => {
    const env: NodeJS.ProcessEnv = { NOTIFY_SOCKET: '/run/x', WATCHDOG_USEC: '1000', WATCHDOG_PID: '17', PATH: '/bin' }
    assert.deepEqual(found(env), { told: true, watchdog: 1 })
    assert.deepEqual(env, { PATH: '/bin' })
  })

  it('counts a watchdog only where it is meant for us and says how often', () => {
    const base = { NOTIFY_SOCKET: '@x' }
    assert.deepEqual(found({ ...base, WATCHDOG_USEC: '30000000' }), { told: true, watchdog: 30_000 })
    assert.deepEqual(found({ ...base, WATCHDOG_USEC: '30000000', WATCHDOG_PID: '18' }), { told: true, watchdog: undefined })
    for (const WATCHDOG_USEC of ['0', '-1', '1e9', '', ' 5', '99999999999999999']) {
      assert.deepEqual(found({ ...base, WATCHDOG_USEC }), { told: true, watchdog: undefined }, WATCHDOG_USEC)
    }
    assert.deepEqual(found({ NOTIFY_SOCKET: '', WATCHDOG_USEC: '1000' }), { told: false, watchdog: undefined })
  })
})
