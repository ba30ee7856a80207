/**
 * An account is moved while an instance that serves it is cut off from the bus, and from nothing else: nobody may be told that it
 * is moved while sessions go on at the old server, however long that lasts; and when the instance is back, they end.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FleetAnswer } from '../../src/management/operations.ts'
import { FleetRig, until } from '../support/fleet-rig.ts'
import { skipWithout } from '../support/programs.ts'
import { StubImap } from '../support/stub-imap.ts'

const ACCOUNT = 'carol@example.com'
const STAYS = 'dave@example.com'

test('a peer that is cut off from the bus alone', { skip: skipWithout('redis-server'), timeout: 180_000 }, async () => {
  const old = await StubImap.start({ name: 'old', tls: 'plain' })
  const fresh = await StubImap.start({ name: 'new', tls: 'plain' })
  try {
    const destinations = { old: old.port, new: fresh.port }
    const cluster = { heartbeat: '1s', bus_down_ttl: '1s', ack_timeout: '5s' }
    await using rig = await FleetRig.start(['a', 'b'], { separateBus: true, destinations, cluster, mapping: { settle: '0s' } })
    const [a, b] = rig.pair
    for (const account of [ACCOUNT, STAYS]) assert.equal((await a.admin.put(account, 'old')).status, 200)
    const [moving, staying] = [await b.greeted(), await b.greeted()]
    assert.match(await moving.command(`a LOGIN ${ACCOUNT} secret`), /^a OK .*welcome to old/m)
    assert.match(await staying.command(`a LOGIN ${STAYS} secret`), /^a OK .*welcome to old/m)
    const cutover = () => a.admin.request('POST', '/accounts/cutover', { identifier: ACCOUNT, destination: 'new', hold: '5' })
    const asked = async (path: string): Promise<Record<string, unknown>> => (await a.admin.request('GET', path)).json as Record<string, unknown>

    b.bus.refuse()
    b.bus.cut()
    await until('b is lost, for longer than it may serve what it has cached', async () => {
      const { instances } = (await a.admin.request('GET', '/fleet')).json as FleetAnswer
      const peer = instances.find(({ instance }) => instance === 'b')
      return peer?.state === 'lost' && peer.last_heard_s > 6
    })
    const failed = await cutover()
    assert.deepEqual([failed.status, (failed.json as { step: string }).step], [502, 'hold'], failed.body)
    assert.deepEqual((failed.json as { unconfirmed: unknown }).unconfirmed, ['b'])
    const kicked = await a.admin.request('POST', '/connections/kick', { identifier: ACCOUNT })
    assert.deepEqual([kicked.status, (kicked.json as { unconfirmed: unknown }).unconfirmed], [200, ['b']])
    assert.deepEqual((await asked('/sessions'))['unanswered'], ['b'])
    assert.deepEqual((await asked('/sessions/summary'))['unanswered'], ['b'])
    assert.match(await moving.command('b NOOP'), /^b OK/m)

    // Whoever forgets one that lives is told that it is moved; the one that lives puts it right when it is back.
    assert.equal((await a.admin.request('DELETE', '/fleet/b')).status, 200)
    const moved = await cutover()
    assert.equal(moved.status, 200, moved.body)
    assert.match(await moving.command('c NOOP'), /^c OK/m)
    const from = b.box.lines.length
    b.bus.accept()
    await rig.together()
    await moving.untilClosed(30_000)
    await b.box.line(({ event, ended }) => event === 'sessions_reviewed' && ended === 1, 30_000, from)
    await b.box.line(({ event, reason }) => event === 'session_closed' && reason === 'moved', 30_000, from)
    assert.match(await staying.command('b NOOP'), /^b OK/m)
    assert.deepEqual((await asked('/sessions'))['unanswered'], [])
    const again = await cutover()
    assert.deepEqual([again.status, (again.json as { result: string }).result], [200, 'unchanged'], again.body)
  } finally {
    await old.stop()
    await fresh.stop()
  }
})
