/** [limits] and its kin as a whole instance keeps them: over workers, each at the last place and one beyond. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { describe, it } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { DESCRIPTOR_RESERVE, PREAUTH_CONNECTION } from '../../src/limits.ts'
import { Rig } from '../support/rig.ts'
import { soon } from '../support/soon.ts'
import { StubImap } from '../support/stub-imap.ts'
import { WireClient } from '../support/wire-client.ts'

async function stubServer(refuses: readonly string[] = []): Promise<StubImap & AsyncDisposable> {
  const stub = await StubImap.start({ name: 'one', tls: 'plain', refuses })
  return Object.assign(stub, { [Symbol.asyncDispose]: () => stub.stop() })
}

/** How many workers wrote the lines of an event, once there are as many lines. */
async function workersThatSaid(rig: Rig, event: string, lines: number): Promise<number> {
  const found = await soon(`${lines} lines`, () => {
    const all = rig.box.lines.filter((line) => line['event'] === event)
    return all.length >= lines && all
  })
  return new Set(found.map(({ worker }) => worker)).size
}

describe('max_sessions_per_account', () => {
  it('is counted over all workers once a backend has accepted, told as NO [LIMIT], and over when a session ends', async () => {
    await using stub = await stubServer(['wrong'])
    await using rig = await Rig.start({
      destinations: { one: { port: stub.port, tls: 'plain' } },
      tables: { limits: { max_sessions_per_account: 2, auth_failure_delay: '0ms' } },
    })
    const held = [await rig.loggedIn('ann@example.com'), await rig.loggedIn('Ann@Example.com')]
    assert.equal(await workersThatSaid(rig, 'login', 2), 2, 'the sessions are in different workers')
    const third = await rig.greeted()
    assert.match(await third.command('a LOGIN ann@example.com secret'), /^a NO \[LIMIT\] /m)
    // Who only claims to be an account doesn't count as it, and doesn't learn that it is full.
    assert.match(await third.command('b LOGIN ann@example.com wrong'), /^b NO (?!\[LIMIT\])/m)
    const bob = await rig.loggedIn('bob@example.com')
    held.pop()?.destroy()
    await soon('the place is free', async () => /^c OK/m.test(await third.command('c LOGIN ann@example.com secret')))
    for (const client of [...held, third, bob]) client.destroy()
    const line = await rig.box.line(({ event }) => event === 'login_unavailable')
    assert.deepEqual([line['code'], line['account']], ['ACCOUNT_FULL', 'ann@example.com'])
  })

  it('forgets the sessions of a worker that died', async () => {
    await using stub = await stubServer()
    await using rig = await Rig.start({
      destinations: { one: { port: stub.port, tls: 'plain' } },
      tables: { limits: { max_sessions_per_account: 1 } },
    })
    const first = await rig.loggedIn('ann@example.com')
    const victim = rig.box.workers().get(await rig.workerOf('ann@example.com')) ?? 0
    process.kill(victim, 'SIGKILL')
    await rig.respawned(victim)
    ;(await rig.loggedIn('ann@example.com')).destroy()
    first.destroy()
  })
})

describe('destination.max_connections', () => {
  it('is counted over all workers, told as the temporary failure, and says nothing of its health', async () => {
    await using stub = await stubServer()
    await using rig = await Rig.start({
      destinations: { one: { port: stub.port, tls: 'plain', keys: { max_connections: 2 } } },
      tables: { server: { host_down_threshold: 1, host_down_min_clients: 0 } },
    })
    const held = [await rig.loggedIn('ann@example.com'), await rig.loggedIn('bob@example.com')]
    const third = await rig.greeted()
    for (const tag of ['a', 'b', 'c']) assert.match(await third.command(`${tag} LOGIN carol@example.com secret`), new RegExp(`^${tag} NO \\[UNAVAILABLE\\]`, 'm'))
    assert.equal(stub.connections.length, 2, 'nobody was dialled in vain')
    held.pop()?.destroy()
    await soon('the place is free', async () => /^d OK/m.test(await third.command('d LOGIN carol@example.com secret')))
    for (const client of [...held, third]) client.destroy()
    assert.equal((await rig.box.line(({ event }) => event === 'login_unavailable'))['code'], 'BACKEND_FULL')
    assert.ok(!rig.box.lines.some(({ event }) => event === 'destination_down'))
  })
})

describe('auth_failure_delay', () => {
  it('grows with the failures of an address whichever worker sees them', async () => {
    await using stub = await stubServer(['wrong'])
    await using rig = await Rig.start({
      destinations: { one: { port: stub.port, tls: 'plain' } },
      tables: { limits: { auth_failure_delay: '100ms' } },
    })
    const clients = [await rig.greeted(), await rig.greeted()]
    for (const [index, least] of [100, 200, 400, 800].entries()) {
      const began = systemClock.now()
      const answer = await clients[index % 2]?.command(`a${index} LOGIN ann@example.com wrong`)
      // Node's timers may fire a millisecond early.
      assert.ok(systemClock.now() - began >= least - 2, `the ${index + 1}. answer`)
      assert.match(answer ?? '', /NO /)
    }
    assert.equal(await workersThatSaid(rig, 'login_refused', 4), 2)
    for (const client of clients) client.destroy()
  })
})

describe('file descriptors', () => {
  for (const distribution of ['primary', 'kernel']) {
    it(`with 200 of them everybody is served or told that it is too busy, and nobody is dropped: distribution ${distribution}`, async () => {
      await using stub = await stubServer()
      await using rig = await Rig.start({
        destinations: { one: { port: stub.port, tls: 'plain' } },
        listener: { max_connections: 5_000 },
        tables: { server: { distribution }, capabilities: { imap: { allow_plain_auth_without_tls: true } } },
        descriptors: 200,
      })
      const warning = await rig.box.line(({ event }) => event === 'config_warning')
      assert.match(String(warning['warning']), /10000 connections .* 2 workers .*the limit is 200, which suffices for 44 per worker: raise it/)
      const clients: WireClient[] = []
      const busy: string[] = []
      for (let count = 0; count < 150; count++) {
        const client = await WireClient.connect({ port: rig.imap })
        const greeting = await client.until(/^\* (OK|BYE) .*\r\n/)
        if (greeting.startsWith('* OK')) clients.push(client)
        else busy.push(greeting)
      }
      assert.ok(clients.length >= 60, `${clients.length} were served`)
      assert.ok(busy.length >= 40 && busy.every((line) => line.startsWith('* BYE [UNAVAILABLE]')), `${busy.length} were told`)
      // Each of them may have its backend.
      for (const [index, client] of clients.entries()) assert.match(await client.command(`a LOGIN user${index}@example.com secret`), /^a OK/m)
      for (const pid of rig.box.workers().values()) assert.ok(readdirSync(`/proc/${pid}/fd`).length <= 200 - 64)
      for (const client of clients) client.destroy()
      const again = await soon('there is room again', async () => {
        const client = await WireClient.connect({ port: rig.imap })
        return (await client.until(/^\* (OK|BYE) .*\r\n/)).startsWith('* OK') && client
      })
      assert.match(await again.command('a LOGIN ann@example.com secret'), /^a OK/m)
      again.destroy()
      const refused = rig.box.lines.filter(({ event }) => event === 'connection_refused')
      assert.ok(refused.length > 0 && refused.length < busy.length, `${refused.length} lines`)
      assert.equal(refused[0]?.['reason'], 'descriptors')
      assert.ok(!rig.box.lines.some(({ event }) => event === 'accept_failed'))
      await soon('each of them is counted', async () => {
        const { body } = await rig.admin.request('GET', '/metrics')
        const counted = /^signalbox_connections_refused_total\{[^}]*reason="descriptors"[^}]*\} (\d+)$/m.exec(body)?.[1]
        return Number(counted) >= busy.length
      })
    })
  }
})

it('an instance that has descriptors for nobody says so when it is ready', async () => {
  await using rig = await Rig.start({
    destinations: { one: { port: 1, tls: 'plain' } },
    tables: { server: { threads: 1 } },
    descriptors: DESCRIPTOR_RESERVE,
  })
  const error = rig.box.lines.find(({ event }) => event === 'descriptors_exhausted')
  assert.deepEqual([error?.['level'], error?.['limit'], error?.['reserve']], ['error', DESCRIPTOR_RESERVE, DESCRIPTOR_RESERVE])
  const { warning } = await rig.box.line(({ event }) => event === 'config_warning')
  assert.match(String(warning), /the limit is 64, which suffices for only 0 per worker/)
  const client = await WireClient.connect({ port: rig.imap })
  assert.match(await client.until(/^\* (OK|BYE) .*\r\n/), /^\* BYE \[UNAVAILABLE\]/)
  client.destroy()
})

describe('max_preauth_memory', () => {
  it('ends the oldest connections without a login in the words of the protocol, and none that has logged in', async () => {
    await using stub = await stubServer()
    await using rig = await Rig.start({
      destinations: { one: { port: stub.port, tls: 'plain' } },
      tables: { server: { threads: 1 }, limits: { max_preauth_memory: '1mb' } },
    })
    const room = 1_048_576 / PREAUTH_CONNECTION
    const live = await rig.loggedIn('ann@example.com')
    const waiting: WireClient[] = []
    for (let count = 0; count < room; count++) waiting.push(await rig.greeted())
    for (const client of waiting) assert.match(await client.command('a NOOP'), /^a OK/m)
    const last = await rig.greeted()
    const [oldest, ...others] = waiting
    assert.match((await oldest?.until(/^\* BYE .*\r\n/)) ?? '', /^\* BYE \[UNAVAILABLE\]/)
    await oldest?.untilClosed()
    for (const client of [...others, last]) assert.match(await client.command('b NOOP'), /^b OK/m)
    assert.match(await live.command('c NOOP'), /c /)
    const line = await rig.box.line(({ event }) => event === 'connection_refused')
    assert.deepEqual([line['reason'], line['times']], ['preauth-memory', 1])
    for (const client of [live, ...waiting, last]) client.destroy()
  })
})
