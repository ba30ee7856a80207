/**
 * Redis paused, killed, restarted, flushed and failed over while clients log in, and the watch's connection killed: accounts that have
 * moved never land on the server that they left, and the log tells the story in a handful of lines.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { FleetClients } from '../support/fleet-clients.ts'
import { FleetRig, PREFIX, until } from '../support/fleet-rig.ts'
import { skipWithout } from '../support/programs.ts'
import { startRedisGroup } from '../support/redis.ts'
import { StubImap } from '../support/stub-imap.ts'

const skip = skipWithout('redis-server')
const MOVED = 6
/** Lines that one event of the network may cost in one instance: two workers, the bus, the watch, and what follows. */
const HANDFUL = 14
const QUIET_EVENTS: readonly unknown[] = ['login', 'login_unavailable', 'session_closed', 'audit']

describe('a fleet without its Redis', { skip }, () => {
  let elsewhere: StubImap
  let old: StubImap
  let fresh: StubImap
  let destinations: Record<string, number>
  const users = Array.from({ length: MOVED }, (_, index) => `moved${index}@example.com`)

  before(async () => {
    elsewhere = await StubImap.start({ name: 'elsewhere', tls: 'plain' })
    old = await StubImap.start({ name: 'old', tls: 'plain' })
    fresh = await StubImap.start({ name: 'new', tls: 'plain' })
    destinations = { elsewhere: elsewhere.port, old: old.port, new: fresh.port }
  })
  after(async () => {
    await Promise.all([elsewhere.stop(), old.stop(), fresh.stop()])
  })
  afterEach(() => {
    old.connections.length = 0
  })

  const mapping = { settle: '0s', lookup_timeout: '500ms' }

  /** Everybody is on the old server, seen there by every worker, and moves. */
  async function moveAll(rig: FleetRig): Promise<void> {
    const [a, b] = rig.pair
    for (const user of users) {
      assert.equal((await a.admin.put(user, 'old')).status, 200)
      for (const member of [a, b]) await until(`${user} is on the old server`, async () => (await member.destinations(user)).every((name) => name === 'old'))
      const put = await a.admin.put(user, 'new')
      assert.equal(put.status, 200, put.body)
      assert.equal(put.headers['signalbox-unconfirmed'], undefined, put.body)
      // In every cache, for the time in which nobody can be asked.
      for (const member of [a, b]) await until(`${user} is on the new server`, async () => ((await member.routes(user)) ?? []).every(({ source }) => source === 'cache'))
    }
  }

  async function recovered(rig: FleetRig): Promise<void> {
    for (const member of rig.members) {
      await until(`${member.name} is on the bus and watches`, async () => (await member.stat('bus')) === 'up' && (await member.stat('watch')) === 'on')
    }
    await rig.together()
  }

  /** The story since these lines, without the logins themselves. */
  function story(rig: FleetRig, from: readonly number[], t: TestContext, what: string): void {
    for (const [index, { name, box }] of rig.members.entries()) {
      const told = box.lines.slice(from[index]).map(({ event }) => event).filter((event) => !QUIET_EVENTS.includes(event))
      t.diagnostic(`${what}, ${name}: ${told.join(' ')}`)
      assert.ok(told.length <= HANDFUL, `${name} told ${what} in ${told.length} lines: ${told.join(' ')}`)
    }
  }

  test('paused, killed, restarted and flushed during logins', async (t) => {
    const redisOptions = { args: ['--appendonly', 'yes', '--appendfsync', 'always'] }
    await using rig = await FleetRig.start(['a', 'b'], { destinations, mapping, redisOptions, cluster: { heartbeat: '1s' } })
    const { redis } = rig
    assert.ok(redis)
    await moveAll(rig)
    const clients = new FleetClients(rig.members, users)
    const lines = (): number[] => rig.members.map(({ box }) => box.lines.length)
    try {
      await clients.more('new', 20)

      let from = lines()
      redis.freeze()
      for (const member of rig.members) await member.box.line(({ event }) => event === 'bus_lost', 20_000, from[rig.members.indexOf(member)])
      await clients.more('new', 20)
      redis.thaw()
      await recovered(rig)
      await clients.more('new', 20)
      story(rig, from, t, 'a pause')

      from = lines()
      await redis.stop()
      for (const member of rig.members) await member.box.line(({ event }) => event === 'bus_lost', 20_000, from[rig.members.indexOf(member)])
      await clients.more('new', 20)
      const [a] = rig.pair
      assert.equal((await a.admin.put('nobody@example.com', 'new')).status, 503)
      await redis.start()
      await recovered(rig)
      await clients.more('new', 20)
      story(rig, from, t, 'a death and a restart')
      assert.equal(clients.landed.refused, 0)

      from = lines()
      await rig.hand.flushall()
      await clients.more('elsewhere', 20)
      for (const user of users) await rig.set(user, 'new')
      await clients.more('new', 20)
      story(rig, from, t, 'a flush')
    } finally {
      await clients.stop()
    }
    t.diagnostic(JSON.stringify(clients.landed))
    assert.deepEqual([clients.landed.old, clients.landed.dropped], [0, 0])
    assert.equal(old.logins, 0)
    for (const user of users) for (const member of rig.members) assert.deepEqual(await member.destinations(user), ['new', 'new'])
  })

  test('failed over by Sentinel: what was replicated holds, and nobody goes back', async (t) => {
    await using group = await startRedisGroup()
    await using rig = await FleetRig.start(['a', 'b'], { destinations, mapping, url: group.url, redis: { wait_replicas: 1 } })
    await moveAll(rig)
    const clients = new FleetClients(rig.members, users)
    try {
      await clients.more('new', 20)
      const from = rig.members.map(({ box }) => box.lines.length)
      await group.primary.stop()
      await clients.more('new', 20)
      const hand = group.replica.client()
      await until('the replica is primary', async () => /role:master/.test(await hand.info('replication')))
      assert.equal(await hand.get(PREFIX + (users[0] ?? '')), 'new')
      await recovered(rig)
      await clients.more('new', 20)
      story(rig, from, t, 'a failover')
    } finally {
      await clients.stop()
    }
    t.diagnostic(JSON.stringify(clients.landed))
    assert.deepEqual([clients.landed.old, clients.landed.dropped], [0, 0])
    for (const user of users) for (const member of rig.members) assert.deepEqual(await member.destinations(user), ['new', 'new'])
  })

  test("the watch's connection killed by CLIENT KILL is noticed and made anew, and nothing stale stays", async () => {
    await using rig = await FleetRig.start(['a', 'b'], { destinations, mapping: { ...mapping, positive_ttl: '1h' } })
    const { redis } = rig
    assert.ok(redis)
    for (let round = 0; round < 5; round++) {
      const user = `killed${round}@example.com`
      await rig.set(user, 'old')
      for (const member of rig.members) {
        await until(`${user} is cached`, async () => ((await member.routes(user)) ?? []).every(({ source, destination }) => source === 'cache' && destination === 'old'))
      }
      const from = rig.members.map(({ box }) => box.lines.length)
      const ids: readonly string[] = await redis.clientsNamed('signalbox-watch-')
      assert.equal(ids.length, 2)
      // In one go: the change comes when nobody listens.
      const pipeline = rig.hand.pipeline()
      for (const id of ids) pipeline.client('KILL', 'ID', Number(id))
      pipeline.set(PREFIX + user, 'new')
      await pipeline.exec()
      for (const [index, member] of rig.members.entries()) {
        await member.box.line(({ event }) => event === 'watch_lost', 15_000, from[index])
        await until(`${user} has moved`, async () => (await member.destinations(user)).every((name) => name === 'new'))
        await member.box.line(({ event }) => event === 'watch_up', 15_000, from[index])
        assert.deepEqual(await member.destinations(user), ['new', 'new'])
      }
      await recovered(rig)
    }
  })
})
