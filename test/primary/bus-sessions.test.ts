/** What members of the bus tell each other beside changes: the destinations' states, and their sessions when asked. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GivenState, InstanceSessions, SessionsQuery } from '../../src/bus/payload.ts'
import { encodeBusFrame } from '../../src/bus/frame.ts'
import { BusHub } from '../support/bus-hub.ts'
import { Actor, beats, settle } from '../support/bus-member.ts'
import type { ActorOptions } from '../support/bus-member.ts'
import { FakeClock } from '../support/fake-clock.ts'

const DOWN: GivenState = { destination: 'alpha', state: 'down', at: 7 }
const LIST: InstanceSessions = {
  groups: [{ protocol: 'imap', destination: 'alpha', sessions: 1, bytesIn: 2, bytesOut: 3 }],
  sessions: [{ account: 'al*1', protocol: 'imap', destination: 'alpha', client: '192.0.2.1', since: 1, bytesIn: 2, bytesOut: 3, worker: 1 }],
}

function stage() {
  const clock = new FakeClock()
  const hub = new BusHub(clock)
  let epoch = 1_000
  const joined = async (name: string, options: ActorOptions = {}): Promise<Actor> => {
    const actor = new Actor(hub, clock, name, epoch++, options)
    await actor.join()
    await settle()
    return actor
  }
  return { clock, hub, joined }
}

test('an instance that joins learns what was taken out from those that are there, and they learn from it', async () => {
  const { joined } = stage()
  const [heardByA, heardByB]: GivenState[][] = [[], []]
  await joined('a', { states: () => [DOWN], adopt: (states) => heardByA?.push(...states) })
  const other: GivenState = { destination: 'beta', state: 'up', at: 9 }
  const b = await joined('b', { states: () => [other], adopt: (states) => heardByB?.push(...states) })
  await settle()
  assert.ok(b.told.includes('joined a'))
  assert.deepEqual(heardByB, [DOWN])
  assert.deepEqual(new Set(heardByA), new Set([other]))
})

test('a state is a change like any other: obeyed by all and acknowledged, by a peer that has proven to be there', async () => {
  const { joined } = stage()
  const a = await joined('a')
  const b = await joined('b')
  const change = { kind: 'state', ...DOWN, over: 1_000 } as const
  assert.deepEqual(await a.member.publish(change), [{ instance: 'b', acknowledged: true, count: 0 }])
  assert.deepEqual(b.obeyed, [change])
})

test('what a stranger says of destinations is not taken over', async () => {
  const { hub, joined } = stage()
  const heard: GivenState[] = []
  const a = await joined('a', { adopt: (states) => heard.push(...states) })
  const facts = { digest: 'same', version: '1', workers: 2 }
  const header = { instance: 'stranger', epoch: 5_000 }
  hub.inject('signalbox:test:frames', encodeBusFrame({ ...header, kind: 'hello', sequence: 1, payload: { question: 1, facts, destinations: [], states: [DOWN] } }, 'signalbox:test:frames', undefined))
  hub.inject('signalbox:test:frames', encodeBusFrame({ ...header, kind: 'state', sequence: 2, payload: { ...DOWN, over: 0 } }, 'signalbox:test:frames', undefined))
  await settle()
  assert.deepEqual([heard, a.obeyed], [[], []])
})

test('sessions asked of a peer come as it gives them; one that is silent gives none in time', async () => {
  const { clock, joined } = stage()
  const asked: SessionsQuery[] = []
  const a = await joined('a')
  await joined('b', {
    sessions: async (query) => {
      const { identifier, destination, limit } = query
      asked.push({ identifier, destination, limit })
      return LIST
    },
  })
  await joined('silent', { sessions: () => new Promise(() => {}) })
  const query = { identifier: 'carol', destination: 'alpha', limit: 5 }
  assert.deepEqual(await a.member.askSessions('b', query, 1_000), LIST)
  assert.deepEqual(asked, [query])
  const silent = a.member.askSessions('silent', query, 1_000)
  await beats(clock, 2)
  assert.equal(await silent, undefined)
})
