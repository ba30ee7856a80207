/**
 * An account moves while one of its sessions is under way. Whatever the stage, the session must not end up on the old
 * server, and what it tells its client must be a temporary failure, not a wrong password.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { Rig, routesOf } from '../support/rig.ts'
import { StubImap } from '../support/stub-imap.ts'
import type { WireClient } from '../support/wire-client.ts'

describe('an account that moves while it logs in', () => {
  let older: StubImap
  let newer: StubImap
  let rig: Rig
  let accounts = 0
  const clients: WireClient[] = []

  before(async () => {
    older = await StubImap.start({ name: 'old', tls: 'plain' })
    newer = await StubImap.start({ name: 'new', tls: 'plain' })
    rig = await Rig.start({
      destinations: { old: { port: older.port, tls: 'plain' }, new: { port: newer.port, tls: 'plain' } },
      tables: { limits: { auth_failure_delay: '10ms' }, server: { backend_timeout: '20s' } },
    })
  })
  after(async () => {
    await (rig as Rig | undefined)?.stop()
    await Promise.all([older.stop(), newer.stop()])
  })
  afterEach(() => {
    for (const phase of ['greeting', 'login'] as const) older.set(phase, 'answer')
    older.release()
    for (const client of clients.splice(0)) client.destroy()
  })

  /** An account of its own for each test, mapped to the old server, warm in every worker. */
  async function warmAccount(): Promise<string> {
    const user = `user${++accounts}@example.com`
    const put = await rig.admin.put(user, 'old')
    assert.equal(put.status, 200, put.body)
    // A route looked up while the change is settling is used but not cached.
    for (let tries = 0; tries < 200; tries++) {
      if ((await routesOf(rig, user)).every(({ cached }) => cached === true)) return user
      await systemClock.sleep(50)
    }
    assert.fail('the route was never cached in every worker')
  }

  /** Sends the login and leaves it under way. */
  async function startLogin(user: string): Promise<WireClient> {
    const client = await rig.greeted()
    clients.push(client)
    client.send(`a LOGIN ${user} secret\r\n`)
    return client
  }

  async function move(user: string): Promise<void> {
    const put = await rig.admin.put(user, 'new')
    assert.equal(put.status, 200, put.body)
    assert.deepEqual((await routesOf(rig, user)).map(({ destination }) => destination), ['new', 'new'])
  }

  async function newLoginsReachTheNewServer(user: string): Promise<void> {
    const client = await startLogin(user)
    await client.until(/^a OK .*welcome to new\r\n/m)
  }

  for (const [stage, phase] of [['dial', 'greeting'], ['replay', 'login']] as const) {
    it(`gets the temporary failure when it was caught in ${stage}, and no kick was needed`, async () => {
      const user = await warmAccount()
      older.set(phase, 'stall')
      const client = await startLogin(user)
      await older.until((stub) => stub.stalling === 1)
      await move(user)
      older.set(phase, 'answer')
      older.release()
      const answer = await client.until(/^a \w+ .*\r\n/m)
      assert.match(answer, /^a (NO \[UNAVAILABLE\]|OK .*welcome to new)/)
      // The same connection may try again, and lands where the account is now.
      if (answer.startsWith('a NO')) {
        client.send(`b LOGIN ${user} secret\r\n`)
        await client.until(/^b OK .*welcome to new\r\n/m)
      }
      assert.doesNotMatch(await client.command('c NOOP'), /this is old/)
      await older.until((stub) => stub.connections.every((connection) => connection.closed))
    })

    it(`is ended by a kick that catches it in ${stage}`, async () => {
      const user = await warmAccount()
      older.set(phase, 'stall')
      const client = await startLogin(user)
      await older.until((stub) => stub.stalling === 1)
      await move(user)
      const kick = await rig.admin.request('POST', '/connections/kick', { identifier: user }, false)
      assert.equal(kick.body, 'kicked 1\n')
      await client.untilClosed()
      assert.doesNotMatch(client.received, /^a OK/m)
      await older.until((stub) => stub.connections.every((connection) => connection.closed))
      older.set(phase, 'answer')
      await newLoginsReachTheNewServer(user)
    })
  }

  it('goes straight to the new server when it was held back in resolve', async () => {
    const user = await warmAccount()
    const dials = older.connections.length
    const delay = await rig.admin.delay(user, 2)
    assert.equal(delay.status, 200, delay.body)
    const client = await startLogin(user)
    await move(user)
    await client.until(/^a OK .*welcome to new\r\n/m)
    assert.equal(older.connections.length, dials)
  })

  it('is ended by a kick that catches it in resolve', async () => {
    const user = await warmAccount()
    const dials = older.connections.length
    await rig.admin.delay(user, 30)
    const client = await startLogin(user)
    for (let kicked = ''; kicked !== 'kicked 1\n'; await systemClock.sleep(20)) {
      assert.ok(!client.closed)
      kicked = (await rig.admin.request('POST', '/connections/kick', { identifier: user }, false)).body
    }
    await client.untilClosed()
    assert.doesNotMatch(client.received, /^a OK/m)
    assert.equal(older.connections.length, dials)
  })

  it('keeps sessions that are bridged until they are kicked, and ends all of them then', async () => {
    const user = await warmAccount()
    const sessions = await Promise.all(Array.from({ length: 8 }, () => rig.loggedIn(user)))
    clients.push(...sessions)
    await move(user)
    for (const session of sessions) assert.match(await session.command('b NOOP'), /this is old/)
    const other = await rig.loggedIn(`other.${user}`)
    clients.push(other)
    const kick = await rig.admin.request('POST', '/connections/kick', { identifier: user.toUpperCase() }, false)
    assert.equal(kick.body, 'kicked 8\n')
    await Promise.all(sessions.map((session) => session.untilClosed()))
    assert.match(await other.command('b NOOP'), /this is old/)
    await newLoginsReachTheNewServer(user)
  })

  it('never reaches the old server with a login that began after the move was confirmed', async () => {
    const user = await warmAccount()
    for (let round = 0; round < 6; round++) {
      const target = round % 2 === 0 ? newer : older
      const put = await rig.admin.put(user, target.name)
      assert.equal(put.status, 200, put.body)
      const sessions = await Promise.all(Array.from({ length: 6 }, () => startLogin(user)))
      await Promise.all(sessions.map((session) => session.until(new RegExp(`^a OK .*welcome to ${target.name}\\r\\n`, 'm'))))
    }
  })
})
