/**
 * Who belongs to a fleet and who doesn't: kicks and delays told to one instance are obeyed by all, a newcomer learns what is in
 * force, a second of one name is turned away, a destination that one lacks is not mapped to, whoever has another secret is
 * not obeyed, and a file can be shared.
 */
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { FleetAnswer } from '../../src/management/operations.ts'
import { FleetRig, until } from '../support/fleet-rig.ts'
import type { FleetMember } from '../support/fleet-rig.ts'
import { skipWithout } from '../support/programs.ts'
import { StubImap } from '../support/stub-imap.ts'
import type { WireClient } from '../support/wire-client.ts'

const skip = skipWithout('redis-server')
const SHARED_MOVES = 40

describe('instances of a fleet', { skip }, () => {
  let old: StubImap
  let fresh: StubImap
  let destinations: Record<string, number>
  let rig: FleetRig
  let a: FleetMember
  let b: FleetMember

  before(async () => {
    old = await StubImap.start({ name: 'old', tls: 'plain' })
    fresh = await StubImap.start({ name: 'new', tls: 'plain' })
    destinations = { old: old.port, new: fresh.port }
    rig = await FleetRig.start(['a', 'b'], { destinations, cluster: { secret: 'a secret that all of them have' } })
    ;[a, b] = rig.pair
  })
  after(async () => {
    await (rig as FleetRig | undefined)?.stop()
    await Promise.all([old.stop(), fresh.stop()])
  })

  async function loggedIn(member: FleetMember, user: string): Promise<WireClient> {
    const client = await member.greeted()
    assert.match(await client.command(`a LOGIN ${user} secret`), /^a OK /m)
    return client
  }

  /** Its log tells once, and its answers show, that it hears frames with these names which it can't believe. */
  async function toldOf(member: FleetMember, names: readonly string[], reason: RegExp, from = 0): Promise<void> {
    await until(`${member.name} hears ${names.join()}`, async () => JSON.stringify((await fleetOf(member)).strangers?.names.toSorted()) === JSON.stringify(names))
    const { strangers } = await fleetOf(member)
    assert.match(strangers?.reason ?? '', reason)
    assert.ok(strangers !== null && strangers.frames > 0 && strangers.since <= strangers.last)
    assert.ok(Number(await member.stat('bus_invalid_frames')) >= strangers.frames)
    const [line, ...more] = member.events('bus_strangers', from)
    assert.match(String(line?.['reason']), reason)
    assert.ok(Array.isArray(line?.['names']) && names.includes(String(line['names'][0])))
    assert.deepEqual(more, [])
  }

  async function fleetOf(member: FleetMember): Promise<FleetAnswer> {
    const { status, json, body } = await member.admin.request('GET', '/fleet')
    assert.equal(status, 200, body)
    return json as FleetAnswer
  }

  test('a kick told to one ends the sessions of all, and only those of the account', async () => {
    const sessions = await Promise.all([a, a, b, b, b].map((member) => loggedIn(member, 'kicked@example.com')))
    const other = await loggedIn(b, 'other@example.com')
    const { status, json, body } = await a.admin.kick('kicked@example.com')
    assert.equal(status, 200, body)
    assert.equal((json as { kicked: number }).kicked, 5)
    await Promise.all(sessions.map((session) => session.untilClosed()))
    assert.match(await other.command('b NOOP'), /this is old/)
    other.destroy()
  })

  test('a delay told to one holds logins of all back, until the account is where it should be', async () => {
    const delay = await a.admin.delay('held@example.com', 3)
    assert.equal(delay.status, 200, delay.body)
    const client = await b.greeted()
    client.send('a LOGIN held@example.com secret\r\n')
    const put = await a.admin.put('held@example.com', 'new')
    assert.equal(put.status, 200, put.body)
    await client.until(/^a OK .*welcome to new\r\n/m)
    client.destroy()
    assert.ok(old.connections.every(({ received }) => !received.includes('held@')))
  })

  test('an instance that joins holds back what the others hold back', async () => {
    const user = 'joining@example.com'
    const delay = await a.admin.delay(user, 120)
    assert.equal(delay.status, 200, delay.body)
    const c = await rig.add('c')
    const dials = old.connections.length + fresh.connections.length
    const client = await c.greeted()
    client.send(`a LOGIN ${user} secret\r\n`)
    // A session counts as the account's once it waits for its route; told to b, so that c obeys as a peer.
    await until('the kick finds the login that waits', async () => {
      assert.ok(!client.closed)
      return ((await b.admin.kick(user)).json as { kicked: number }).kicked === 1
    })
    await client.untilClosed()
    assert.doesNotMatch(client.received, /^a OK/m)
    assert.equal(old.connections.length + fresh.connections.length, dials)
    await rig.together()
    // On a machine that is busy enough it may have been missed before.
    const lost = a.events('peer_lost').length
    await rig.remove(c)
    // It has said bye: nobody misses it.
    await until('a and b are alone again', async () => JSON.stringify([await a.stat('peers'), await b.stat('peers')]) === '[["b"],["a"]]')
    assert.equal(a.events('peer_lost').length, lost)
    const put = await a.admin.put('after@example.com', 'new')
    assert.deepEqual((put.json as { peers: unknown }).peers, [{ instance: 'b', acknowledged: true }])
  })

  test('a second instance of one name is turned away, and the first goes on', async () => {
    const box = await rig.launch('b')
    try {
      const { code } = await box.exited
      assert.equal(code, 1)
      const line = box.lines.find(({ event }) => event === 'failed')
      assert.match(line?.text ?? '', /another live instance is named \\"b\\"/)
      assert.ok(!box.lines.some(({ event }) => event === 'ready'))
    } finally {
      await box.stop('SIGKILL')
    }
    const put = await a.admin.put('twin@example.com', 'new')
    assert.equal(put.headers['signalbox-unconfirmed'], undefined, put.body)
    assert.deepEqual(await b.destinations('twin@example.com'), ['new', 'new'])
  })

  test('an account is not mapped to a destination that a peer lacks', async () => {
    const poor = await rig.add('poor', { destinations: { old: old.port } })
    await rig.together()
    await until('a knows what the newcomer lacks', async () => a.events('peer_differs').some(({ peer }) => peer === 'poor'))
    const put = await a.admin.put('lacking@example.com', 'new')
    assert.equal(put.status, 409, put.body)
    assert.match(put.body, /poor/)
    assert.equal(await rig.hand.get('route:lacking@example.com'), null)
    await rig.remove(poor)
    await until('the poor one has left', async () => !(await a.stat('peers') as string[]).includes('poor'))
    assert.equal((await a.admin.put('lacking@example.com', 'new')).status, 200)
  })

  test('whoever has another secret is not obeyed, and both sides say so', async () => {
    const session = await loggedIn(a, 'secret@example.com')
    const from = { a: a.box.lines.length, b: b.box.lines.length }
    const stranger = await rig.add('stranger', { cluster: { secret: 'a secret that nobody else has' } })
    const kick = await stranger.admin.kick('secret@example.com')
    assert.equal((kick.json as { kicked: number }).kicked, 0, kick.body)
    assert.match(await session.command('b NOOP'), /this is old/)
    session.destroy()
    await toldOf(a, ['stranger'], /wrong HMAC/, from.a)
    await toldOf(b, ['stranger'], /wrong HMAC/, from.b)
    await toldOf(stranger, ['a', 'b'], /wrong HMAC/)
    assert.deepEqual(await stranger.stat('peers'), [])
    assert.ok(!((await a.stat('peers')) as string[]).includes('stranger'))
    // Nothing of that hinders those who belong together.
    const put = await a.admin.put('secret@example.com', 'new')
    assert.equal(put.headers['signalbox-unconfirmed'], undefined, put.body)
    assert.deepEqual(await b.destinations('secret@example.com'), ['new', 'new'])
    await rig.remove(stranger)
    assert.equal(a.events('bus_strangers', from.a).length, 1)
    assert.deepEqual(a.events('bus_doubt', from.a), [])
  })

  test('a secret that one instance has and the other lacks shows on both sides, by name', async () => {
    await using one = await FleetRig.start(['signs'], { destinations, cluster: { secret: 'a secret that one of them has' } })
    const [signs] = one.members
    assert.ok(signs !== undefined)
    assert.deepEqual((await fleetOf(signs)).strangers, null)
    const plain = await one.add('plain', { cluster: { secret: undefined } })
    await toldOf(signs, ['plain'], /a bus frame is not authenticated/)
    await toldOf(plain, ['signs'], /a bus frame is authenticated, this instance has no secret/)
    for (const member of one.members) assert.deepEqual([await member.stat('bus'), await member.stat('peers')], ['up', []])
  })

  test('a file that all share: what is written through one is read by the others before it is confirmed', async () => {
    const users = Array.from({ length: SHARED_MOVES }, (_, index) => `file${index}@example.com`)
    await using shared = await FleetRig.start(['a', 'b'], { destinations, file: users.map((user) => `${user}\told\n`).join(''), mapping: { settle: '0s' } })
    const [one, two] = shared.pair
    for (const user of users) {
      await until(`${user} is cached`, async () => ((await two.routes(user)) ?? []).filter(({ source }) => source === 'cache').length === 2)
    }
    for (const [index, user] of users.entries()) {
      const [writer, reader] = index % 2 === 0 ? [one, two] : [two, one]
      const put = await writer.admin.put(user, 'new')
      assert.equal(put.status, 200, put.body)
      assert.equal(put.headers['signalbox-unconfirmed'], undefined, put.body)
      assert.deepEqual(await reader.destinations(user), ['new', 'new'])
    }
    // By hand: the instance that is told to reload has the others do so too, even when it knew.
    const [user = ''] = users
    const path = join(shared.directory, 'mappings')
    for (const [teller, to] of [[one, 'old'], [two, 'new'], [one, 'old']] as const) {
      const text = await readFile(path, 'utf8')
      await writeFile(path, text.replace(new RegExp(`^${user}\t\\w+$`, 'm'), `${user}\t${to}`))
      const { status, body } = await teller.admin.request('POST', '/mappings/reload')
      assert.equal(status, 200, body)
      for (const member of [one, two]) assert.deepEqual(await member.destinations(user), [to, to], `${member.name} after ${to}`)
    }
    // Two that write at the same time: everything that was answered is there.
    const statuses: number[] = []
    const names = Array.from({ length: SHARED_MOVES * 2 }, (_, index) => `both${index}@example.com`)
    await Promise.all(names.map(async (name, index) => statuses.push((await (index % 2 === 0 ? one : two).admin.put(name, 'new')).status)))
    assert.deepEqual(new Set(statuses), new Set([200]))
    const lines = new Set((await readFile(path, 'utf8')).split('\n'))
    assert.deepEqual(names.filter((name) => !lines.has(`${name}\tnew`)), [])
    for (const member of [one, two]) for (const name of names) assert.deepEqual(await member.destinations(name), ['new', 'new'])
  })
})
