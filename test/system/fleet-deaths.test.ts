/**
 * What dies in a fleet while people log in: a worker, a whole instance, the Redis of the bus alone, that of the mappings alone, a
 * worker while nobody can be asked. Accounts that have moved never land on the old server; answers name who has not
 * confirmed for as long as it may matter.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { FleetAnswer } from '../../src/management/operations.ts'
import { FleetClients } from '../support/fleet-clients.ts'
import { FleetRig, until } from '../support/fleet-rig.ts'
import type { FleetMember } from '../support/fleet-rig.ts'
import { skipWithout } from '../support/programs.ts'
import { StubImap } from '../support/stub-imap.ts'

const skip = skipWithout('redis-server')
const KILLS = 2
const HANDFUL = 12
/** Long enough that a busy machine is no silence. */
const HEARTBEAT = '2s'
const QUIET_EVENTS: readonly unknown[] = ['login', 'login_unavailable', 'session_closed', 'audit']

describe('deaths in a fleet', { skip }, () => {
  let elsewhere: StubImap
  let old: StubImap
  let fresh: StubImap
  let destinations: Record<string, number>
  const users = Array.from({ length: 6 }, (_, index) => `moved${index}@example.com`)

  before(async () => {
    elsewhere = await StubImap.start({ name: 'elsewhere', tls: 'plain' })
    old = await StubImap.start({ name: 'old', tls: 'plain' })
    fresh = await StubImap.start({ name: 'new', tls: 'plain' })
    destinations = { elsewhere: elsewhere.port, old: old.port, new: fresh.port }
  })
  after(async () => {
    await Promise.all([elsewhere.stop(), old.stop(), fresh.stop()])
  })

  const mapping = { settle: '0s', lookup_timeout: '500ms', positive_ttl: '1h' }

  /** Every worker has it in its cache. */
  async function cached(rig: FleetRig, user: string, destination: string): Promise<void> {
    for (const member of rig.members) {
      await until(`${user} is cached on ${destination} in ${member.name}`, async () => {
        const routes = (await member.routes(user)) ?? []
        return routes.length === 2 && routes.every((route) => route.source === 'cache' && route.destination === destination)
      })
    }
  }

  async function moveAll(rig: FleetRig): Promise<void> {
    const [a] = rig.pair
    for (const user of users) {
      assert.equal((await a.admin.put(user, 'old')).status, 200)
      await cached(rig, user, 'old')
      const put = await a.admin.put(user, 'new')
      assert.deepEqual([put.status, put.headers['signalbox-unconfirmed']], [200, undefined], put.body)
      await cached(rig, user, 'new')
    }
  }

  async function stateOf(member: FleetMember, peer: string): Promise<string | undefined> {
    const fleet = (await member.admin.request('GET', '/fleet')).json as FleetAnswer
    return fleet.instances.find(({ instance }) => instance === peer)?.state
  }

  async function killWorker(member: FleetMember): Promise<void> {
    const before = [...member.box.workers().values()]
    const [victim = 0] = before
    process.kill(victim, 'SIGKILL')
    await until('another has taken its place', () => {
      const now = [...member.box.workers().values()]
      return now.length === before.length && !now.includes(victim)
    })
  }

  const told = (member: FleetMember, from: number): unknown[] => member.box.lines.slice(from).map(({ event }) => event).filter((event) => !QUIET_EVENTS.includes(event))

  test('workers killed one after the other: every change is in force when it is answered, nobody goes back', async (t) => {
    await using rig = await FleetRig.start(['a', 'b'], { destinations, mapping, redis: { watch: false }, cluster: { heartbeat: HEARTBEAT } })
    const [a, b] = rig.pair
    await moveAll(rig)
    const logins = old.logins
    const from = rig.members.map(({ box }) => box.lines.length)
    const clients = new FleetClients(rig.members, users)
    try {
      await clients.more('new', 20)
      for (let kill = 0; kill < KILLS; kill++) {
        const [killed, other] = kill % 2 === 0 ? [a, b] : [b, a]
        const user = `meanwhile${kill}@example.com`
        assert.equal((await other.admin.put(user, 'old')).status, 200)
        await cached(rig, user, 'old')
        const killing = killWorker(killed)
        const put = await other.admin.put(user, 'new')
        assert.deepEqual([put.status, put.headers['signalbox-unconfirmed']], [200, undefined], put.body)
        for (const member of rig.members) assert.ok((await member.destinations(user)).every((name) => name === 'new'))
        await killing
        assert.deepEqual([await a.destinations(user), await b.destinations(user)], [['new', 'new'], ['new', 'new']])
        await clients.more('new', 20)
      }
    } finally {
      await clients.stop()
    }
    t.diagnostic(JSON.stringify(clients.landed))
    assert.deepEqual([clients.landed.old, clients.landed.elsewhere, clients.landed.refused, old.logins - logins], [0, 0, 0, 0])
    // At most what the worker had in its hands: one login of each client.
    assert.ok(clients.landed.dropped <= KILLS * 2, `${clients.landed.dropped} logins ended without an answer`)
    for (const [index, member] of rig.members.entries()) {
      const events = told(member, from[index] ?? 0)
      t.diagnostic(`${member.name}: ${events.join(' ')}`)
      assert.equal(events.filter((event) => event === 'worker_exited').length, KILLS / 2)
      assert.ok(events.length <= HANDFUL, events.join(' '))
    }
  })

  test('a worker that stands still is told what it has missed when it goes on; until then nobody is told that it has obeyed', async (t) => {
    await using rig = await FleetRig.start(['a', 'b'], { destinations, mapping, redis: { watch: false }, cluster: { ack_timeout: '300ms' } })
    const [a, b] = rig.pair
    await moveAll(rig)
    for (const [standing, writer] of [[a, a], [b, a]] as const) {
      const [pid = 0] = [...standing.box.workers().values()]
      for (const user of users) {
        assert.equal((await writer.admin.put(user, 'old')).status, 200)
        await cached(rig, user, 'old')
      }
      const from = standing.box.lines.length
      process.kill(pid, 'SIGSTOP')
      try {
        const answers = await Promise.all(users.map((user) => writer.admin.put(user, 'new')))
        for (const { status, headers, body } of answers) {
          if (standing === writer) assert.equal(status, 504, body)
          else assert.deepEqual([status, headers['signalbox-unconfirmed']], [200, 'b'], body)
        }
        // A peer's own time is over a moment after ours.
        await standing.box.line(({ event }) => event === 'unconfirmed', 8_000, from)
      } finally {
        process.kill(pid, 'SIGCONT')
      }
      for (const user of users) await until(`${user} is on the new server`, async () => (await standing.destinations(user)).join() === 'new,new')
      await until('changes are confirmed again', async () => {
        const put = await writer.admin.put('afterwards@example.com', 'new')
        return put.status === 200 && put.headers['signalbox-unconfirmed'] === undefined
      })
      const events = told(standing, from)
      t.diagnostic(`${standing.name} stood still, ${writer.name} wrote: ${events.join(' ')}`)
      assert.ok(events.length <= HANDFUL, events.join(' '))
    }
  })

  test('an instance is killed: named at once, when it is lost, until it can serve nothing any more; and not any longer', async (t) => {
    await using rig = await FleetRig.start(['a', 'b'], { destinations, mapping, cluster: { heartbeat: HEARTBEAT, ack_timeout: '1s', bus_down_ttl: '5s' } })
    const [a, b] = rig.pair
    await moveAll(rig)
    const from = a.box.lines.length
    const clients = new FleetClients([a], users)
    try {
      await clients.more('new', 10)
      await b.box.stop('SIGKILL')
      const named = async (): Promise<unknown> => {
        const put = await a.admin.put('named@example.com', 'new')
        assert.equal(put.status, 200, put.body)
        const { unconfirmed, bus } = put.json as { unconfirmed: readonly string[]; bus: string }
        assert.equal(put.headers['signalbox-unconfirmed'], unconfirmed.length === 0 ? undefined : unconfirmed.join(', '))
        assert.equal(bus, 'up')
        return unconfirmed
      }
      assert.deepEqual(await named(), ['b'], 'before anybody knows that it is gone')
      await a.box.line(({ event, peer }) => event === 'peer_lost' && peer === 'b', 15_000, from)
      assert.equal(await stateOf(a, 'b'), 'lost')
      assert.deepEqual(await named(), ['b'], 'it may live, and serve what it has')
      await until('it need not be named any more', async () => JSON.stringify(await named()) === '[]')
      assert.equal(await stateOf(a, 'b'), 'lost', 'but it is not forgotten')

      await b.restart('SIGKILL')
      await rig.together()
      assert.deepEqual(await named(), [])
      assert.equal(await stateOf(a, 'b'), 'live')
      for (const user of users) assert.deepEqual(await b.destinations(user), ['new', 'new'])
      await clients.more('new', 10)
    } finally {
      await clients.stop()
    }
    t.diagnostic(JSON.stringify(clients.landed))
    assert.deepEqual({ ...clients.landed, new: 0 }, { old: 0, new: 0, elsewhere: 0, refused: 0, dropped: 0 })
    const events = told(a, from)
    t.diagnostic(events.join(' '))
    assert.ok(events.length <= HANDFUL)
    assert.deepEqual(events.filter((event) => event === 'peer_joined' || event === 'peer_lost'), ['peer_lost', 'peer_joined'])
  })

  test('the bus on a Redis of its own: each may be away without the other', async (t) => {
    await using rig = await FleetRig.start(['a', 'b'], { destinations, mapping, separateBus: true, redis: { watch: false }, cluster: { bus_down_ttl: '1s' } })
    const [a, b] = rig.pair
    assert.ok(rig.redis && rig.busRedis && rig.redis !== rig.busRedis)
    await moveAll(rig)
    const clients = new FleetClients(rig.members, users)
    try {
      await clients.more('new', 20)
      let from = rig.members.map(({ box }) => box.lines.length)
      await rig.busRedis.stop()
      for (const [index, { box }] of rig.members.entries()) await box.line(({ event }) => event === 'bus_lost', 15_000, from[index])
      const put = await a.admin.put('alone@example.com', 'new')
      assert.deepEqual([put.status, (put.json as { bus: string }).bus], [200, 'down'], put.body)
      assert.match(String(put.headers['signalbox-unconfirmed']), /bus: down/)
      // Without bus and watch, bus_down_ttl is what bounds it.
      for (const [index, where] of (['old', 'new'] as const).entries()) {
        assert.equal((await a.admin.put('bounded@example.com', where)).status, 200)
        await until(`b sends it to ${where} (${index})`, async () => (await b.destinations('bounded@example.com')).every((name) => name === where))
      }
      await clients.more('new', 20)
      assert.equal(clients.landed.refused, 0)
      await rig.busRedis.start()
      await rig.together()
      for (const [index, member] of rig.members.entries()) {
        const events = told(member, from[index] ?? 0)
        t.diagnostic(`without a bus, ${member.name}: ${events.join(' ')}`)
        assert.ok(events.length <= HANDFUL, events.join(' '))
        assert.ok(!events.some((event) => /^(source|mapping)_/.test(String(event))), events.join(' '))
      }

      for (const user of users) await cached(rig, user, 'new')
      from = rig.members.map(({ box }) => box.lines.length)
      rig.redis.freeze()
      assert.equal((await a.admin.put('nowhere@example.com', 'new')).status, 503)
      assert.deepEqual([await a.stat('bus'), await b.stat('bus'), await a.stat('peers')], ['up', 'up', ['b']])
      await clients.more('new', 20)
      rig.redis.thaw()
      await until('it can be written to again', async () => (await a.admin.put('again@example.com', 'new')).status === 200)
      await clients.more('new', 20)
      for (const [index, member] of rig.members.entries()) {
        const events = told(member, from[index] ?? 0)
        t.diagnostic(`without its mappings, ${member.name}: ${events.join(' ')}`)
        assert.ok(events.length <= HANDFUL, events.join(' '))
        assert.ok(!events.some((event) => /^(bus|peer)_/.test(String(event))), events.join(' '))
      }
    } finally {
      await clients.stop()
    }
    t.diagnostic(JSON.stringify(clients.landed))
    assert.deepEqual([clients.landed.old, clients.landed.elsewhere, clients.landed.dropped], [0, 0, 0])
  })

  test('a worker that is born while nobody can be asked sends nobody anywhere by guess', async (t) => {
    await using rig = await FleetRig.start(['a', 'b'], { destinations, mapping, redisOptions: { args: ['--appendonly', 'yes', '--appendfsync', 'always'] } })
    const { redis } = rig
    const [a] = rig.pair
    assert.ok(redis)
    await moveAll(rig)
    const clients = new FleetClients(rig.members, users)
    try {
      await clients.more('new', 20)
      const from = rig.members.map(({ box }) => box.lines.length)
      await redis.stop()
      for (const [index, { box }] of rig.members.entries()) await box.line(({ event }) => event === 'bus_lost', 15_000, from[index])
      await killWorker(a)
      // The one that has survived knows its accounts, the new one refuses them for the moment.
      await clients.more('refused', 2)
      await clients.more('new', 20)
      await redis.start()
      await rig.together()
      await until('every worker knows its accounts', async () => (await Promise.all(users.map((user) => a.destinations(user)))).flat().filter((name) => name === 'new').length === 2 * users.length)
    } finally {
      await clients.stop()
    }
    t.diagnostic(JSON.stringify(clients.landed))
    assert.deepEqual([clients.landed.old, clients.landed.elsewhere], [0, 0])
  })
})
