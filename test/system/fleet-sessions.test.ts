import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { FleetRig } from '../support/fleet-rig.ts'
import type { FleetMember } from '../support/fleet-rig.ts'
import { skipWithout } from '../support/programs.ts'
import { StubImap } from '../support/stub-imap.ts'
import type { WireClient } from '../support/wire-client.ts'

const PATIENCE_MS = 30_000

/** Fields of an answer that must be an object. */
function fields(json: unknown): Readonly<Record<string, unknown>> {
  assert.ok(typeof json === 'object' && json !== null)
  return { ...json }
}

async function until(what: () => Promise<boolean>): Promise<void> {
  for (const deadline = systemClock.now() + PATIENCE_MS; !(await what()); await systemClock.sleep(50)) {
    assert.ok(systemClock.now() < deadline, `in time: ${what}`)
  }
}

describe('the live sessions of a fleet', { skip: skipWithout('redis-server') }, () => {
  let older: StubImap
  let newer: StubImap
  let fleet: FleetRig
  let clients: WireClient[] = []

  before(async () => {
    older = await StubImap.start({ name: 'old', tls: 'plain' })
    newer = await StubImap.start({ name: 'new', tls: 'plain' })
    fleet = await FleetRig.start(['a', 'b'], { destinations: { old: older.port, new: newer.port }, server: { threads: 2 } })
    await fleet.together()
  })
  after(async () => {
    for (const client of clients) client.destroy()
    await (fleet as FleetRig | undefined)?.stop()
    await Promise.all([older.stop(), newer.stop()])
  })

  const login = async (member: FleetMember, user: string): Promise<string> => {
    const client = await member.greeted()
    clients.push(client)
    client.send(`x LOGIN ${user} secret\r\n`)
    return client.until(/^x (OK|NO) .*\r\n/m)
  }
  const ask = async (member: FleetMember, method: string, path: string, query: Readonly<Record<string, string>> = {}) => {
    const { status, json, body } = await member.admin.request(method, path, query)
    assert.equal(status, 200, body)
    return fields(json)
  }
  const stateOf = async (member: FleetMember, name: string): Promise<unknown> => {
    const { destinations } = await ask(member, 'GET', '/destinations')
    assert.ok(Array.isArray(destinations))
    return destinations.find(({ destination }) => destination === name)?.state
  }

  test('are listed by account and counted by instance, from whichever instance is asked', async () => {
    const [a, b] = fleet.pair
    for (const [member, user] of [[a, 'carol@example.com'], [b, 'carol@example.com'], [b, 'dave@example.com']] as const) await login(member, user)
    const { sessions, total, unanswered } = await ask(a, 'GET', '/sessions', { identifier: 'Carol@example.com' })
    assert.ok(Array.isArray(sessions))
    assert.deepEqual([sessions.length, total, unanswered], [2, 2, []])
    const facts = sessions.map(({ instance, account, protocol, destination, client }) => [instance, account, protocol, destination, client].join(' '))
    const expected = [a.name, b.name].map((name) => `${name} carol@example.com imap old 127.0.0.1`)
    assert.deepEqual(new Set(facts), new Set(expected))
    assert.ok(Math.abs(Date.parse(sessions[0].since) - Date.now()) < 60_000)
    const summary = await ask(b, 'GET', '/sessions/summary')
    assert.ok(Array.isArray(summary['counts']))
    assert.deepEqual(new Set(summary['counts'].map(({ instance, sessions: count }) => `${instance} ${count}`)), new Set([`${a.name} 1`, `${b.name} 2`]))
    const listed = await ask(b, 'GET', '/sessions', { limit: '2' })
    assert.deepEqual([Array.isArray(listed['sessions']) && listed['sessions'].length, listed['total']], [2, 3])
  })

  test('a destination that is taken out takes nobody anywhere, is out for workers and instances that come later, and lets its sessions be', async () => {
    const [a, b] = fleet.pair
    const done = await ask(a, 'PUT', '/destinations/state', { destination: 'old', state: 'down' })
    assert.deepEqual([done['workers'], done['unconfirmed'], done['sessions']], [2, [], 0])
    assert.deepEqual([await stateOf(a, 'old'), await stateOf(b, 'old')], ['down', 'down'])
    for (const member of [a, b]) assert.match(await login(member, 'erin@example.com'), /^x NO \[UNAVAILABLE\]/m)
    assert.equal((await ask(a, 'GET', '/sessions/summary'))['total'], 3)
    // A worker that takes the place of another.
    const [first] = b.box.workers().values()
    assert.ok(first !== undefined)
    process.kill(first, 'SIGKILL')
    await until(async () => b.box.workers().size === 2 && ![...b.box.workers().values()].includes(first))
    for (let times = 0; times < 4; times++) assert.match(await login(b, `erin${times}@example.com`), /^x NO \[UNAVAILABLE\]/m)
    // An instance that starts anew.
    await b.restart('SIGTERM')
    await until(async () => (await stateOf(b, 'old')) === 'down')
    assert.match(await login(b, 'erin@example.com'), /^x NO \[UNAVAILABLE\]/m)
    await ask(b, 'PUT', '/destinations/state', { destination: 'old', state: 'up' })
    assert.deepEqual([await stateOf(a, 'old'), await stateOf(b, 'old')], ['up', 'up'])
    for (const member of [a, b]) assert.match(await login(member, 'erin@example.com'), /^x OK/m)
  })

  test('a drain ends the sessions of its destination on every instance, within its time', async () => {
    const [a, b] = fleet.pair
    await fleet.set('frank@example.com', 'new')
    await login(a, 'frank@example.com')
    const before = await ask(a, 'GET', '/sessions', { destination: 'old' })
    const drained = await ask(b, 'DELETE', '/sessions', { destination: 'old', over: '1s' })
    assert.equal(drained['sessions'], before['total'])
    assert.ok(Number(before['total']) >= 2)
    await until(async () => (await ask(a, 'GET', '/sessions', { destination: 'old' }))['total'] === 0)
    await until(async () => (await ask(b, 'GET', '/sessions', { destination: 'new' }))['total'] === 1)
    const drainedLines = () => [...a.events('session_closed'), ...b.events('session_closed')].filter(({ reason }) => reason === 'drained')
    await until(async () => drainedLines().length >= Number(before['total']))
    assert.equal(drainedLines().length, before['total'])
    clients = []
  })
})
