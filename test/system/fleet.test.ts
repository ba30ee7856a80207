/**
 * Two instances over one Redis, as processes: an account that moves is moved everywhere at once, by the bus alone and by
 * the watch alone; what one is told the others obey; who doesn't belong to the fleet is told so.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { FleetRig, PREFIX, until } from '../support/fleet-rig.ts'
import type { FleetMember } from '../support/fleet-rig.ts'
import { skipWithout } from '../support/programs.ts'
import { StubImap } from '../support/stub-imap.ts'
import type { WireClient } from '../support/wire-client.ts'

const skip = skipWithout('redis-server')
const MOVES = 1_000
const LOGINS = 40
/** Requests at the same time, so that an instance is asked as fast as it answers. */
const LANES = 8

const accounts = (count: number, name: string): string[] => Array.from({ length: count }, (_, index) => `${name}${index}@example.com`)

/** Does it for each, some at the same time. */
async function each<T>(items: readonly T[], action: (item: T) => Promise<void>, lanes = LANES): Promise<void> {
  let next = 0
  const lane = async (): Promise<void> => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await action(item)
  }
  await Promise.all(Array.from({ length: lanes }, lane))
}

/** Every worker of every instance has the account's route in its cache. */
async function warm(rig: FleetRig, identifiers: readonly string[], destination: string): Promise<void> {
  await each(identifiers, async (identifier) => {
    for (const member of rig.members) {
      await until(`${identifier} is cached in every worker of ${member.name}`, async () => {
        const routes = (await member.routes(identifier)) ?? []
        return routes.length === 2 && routes.every((route) => route.source === 'cache' && route.destination === destination)
      })
    }
  })
}

async function map(rig: FleetRig, identifiers: readonly string[], destination: string): Promise<void> {
  await rig.hand.mset(identifiers.flatMap((identifier) => [PREFIX + identifier, destination]))
}

/** The tagged answer to a login, and the client. */
async function login(member: FleetMember, user: string): Promise<{ client: WireClient; answer: string }> {
  const client = await member.greeted()
  return { client, answer: await client.command(`a LOGIN ${user} secret`) }
}

describe('a fleet of two', { skip }, () => {
  let old: StubImap
  let fresh: StubImap
  let destinations: Record<string, number>

  before(async () => {
    old = await StubImap.start({ name: 'old', tls: 'plain' })
    fresh = await StubImap.start({ name: 'new', tls: 'plain' })
    destinations = { old: old.port, new: fresh.port }
  })
  after(async () => {
    await Promise.all([old.stop(), fresh.stop()])
  })

  test(`by the bus alone: ${MOVES} accounts moved through one are moved in every worker of the other when the answer is there`, async (t) => {
    await using rig = await FleetRig.start(['a', 'b'], { destinations, redis: { watch: false }, mapping: { settle: '0s' } })
    const [a, b] = rig.pair
    assert.equal(await b.stat('watch'), 'off')
    const users = accounts(MOVES, 'mass')
    await map(rig, users, 'old')
    await warm(rig, users, 'old')
    let right = 0
    await each(users, async (user) => {
      const put = await a.admin.put(user, 'new')
      assert.equal(put.status, 200, put.body)
      assert.equal(put.headers['signalbox-unconfirmed'], undefined)
      assert.deepEqual(await b.destinations(user), ['new', 'new'])
      right++
    })
    t.diagnostic(`${right} of ${MOVES}`)
    assert.equal(right, MOVES)

    const people = accounts(LOGINS, 'login')
    await map(rig, people, 'old')
    await warm(rig, people, 'old')
    await each(people, async (user) => {
      const put = await a.admin.put(user, 'new')
      assert.equal(put.status, 200, put.body)
      // Handed out in turn, the two reach both workers.
      const sessions = await Promise.all([login(b, user), login(b, user)])
      for (const { client, answer } of sessions) {
        assert.match(answer, /^a OK .*welcome to new/m)
        client.destroy()
      }
    })
    assert.ok(old.connections.every((connection) => !people.some((user) => connection.received.includes(`${user} `))))
  })

  test(`by the watch alone: ${MOVES} accounts moved by hand at Redis are moved in every worker of both`, async (t) => {
    // Nothing but the watch may help: no bus, no life that ends.
    await using rig = await FleetRig.start(['a', 'b'], { destinations, cluster: { bus_down_ttl: '1h' }, mapping: { settle: '0s', positive_ttl: '1h' } })
    const [a, b] = rig.pair
    for (const member of rig.members) member.bus.refuse()
    for (const member of rig.members) await until(`${member.name} is off the bus`, async () => (await member.stat('bus')) === 'down')
    const users = accounts(MOVES, 'hand')
    await map(rig, users, 'old')
    await warm(rig, users, 'old')
    const latencies: number[] = []
    await each(users, async (user) => {
      await rig.set(user, 'new')
      const began = systemClock.now()
      await until(`${user} is moved`, async () => {
        const routes = await Promise.all([a.destinations(user), b.destinations(user)])
        return routes.flat().every((destination) => destination === 'new') && routes.flat().length === 4
      })
      latencies.push(systemClock.now() - began)
      // Once seen, seen for good.
      assert.deepEqual(await b.destinations(user), ['new', 'new'])
    })
    latencies.sort((one, other) => one - other)
    const at = (share: number): string => (latencies[Math.floor(share * (latencies.length - 1))] ?? NaN).toFixed(1)
    t.diagnostic(`${latencies.length} of ${MOVES}; until all four workers had answered with it: median ${at(0.5)} ms, 99 % ${at(0.99)} ms, at most ${at(1)} ms`)
    assert.equal(latencies.length, MOVES)
    assert.equal(await a.stat('bus'), 'down')
  })
})
