/** WebSockets: nothing is agreed before the backend has, what stands is a session of its account, and what was refused stays refused. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { eventually } from '../../support/settled.ts'
import type { SocketPair } from '../../support/socket-pair.ts'
import { GET, httpUnit, MINE, type HttpUnit, type HttpUnitOptions } from './rig.ts'

const UPGRADE = `GET /mine HTTP/1.1\r\nHost: proxy\r\n${MINE}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n`
const AGREED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n'

async function asked(options: HttpUnitOptions = {}, behind = ''): Promise<{ unit: HttpUnit; client: Awaited<ReturnType<HttpUnit['connect']>>; backend: SocketPair }> {
  const unit = httpUnit(options)
  const client = await unit.connect()
  client.far.send(UPGRADE + behind)
  await eventually(() => unit.box.source.open.length > 0, 'the source is asked')
  await unit.box.source.answer('ann', 'one')
  const backend = await unit.backend()
  await eventually(() => backend.far.received.endsWith('\r\n\r\n'), 'the backend is asked')
  return { unit, client, backend }
}

describe('a WebSocket', () => {
  it('is bridged once the backend agrees, with what both have said early, and is reported as a session', async () => {
    const { unit, client, backend } = await asked({}, 'early')
    await using _ = unit
    assert.equal(client.far.received, '', 'nothing is agreed before')
    assert.equal(backend.far.received.includes('early'), false, 'nothing is passed on before')
    backend.far.send(`${AGREED}first`)
    await eventually(() => client.far.received.endsWith('first'), 'the client is told')
    assert.match(client.far.received, /^HTTP\/1\.1 101 .*\r\nSec-WebSocket-Accept: y\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst$/s)
    await eventually(() => backend.far.received.endsWith('early'), 'what was said early arrives')
    assert.ok(unit.told.includes('accepted ann'))
    client.far.send('more')
    await eventually(() => backend.far.received.endsWith('more'), 'it is open')
    backend.far.socket.end()
    await eventually(() => client.far.ended, 'an end is passed on')
    client.far.socket.end()
    await client.over
    await eventually(() => unit.told.includes('closed backend'), 'its end is reported')
    await eventually(() => unit.open() === 0, 'nothing is left')
  })

  it('may be silent for bridge_idle, not only relay_idle, and ends with a kick', async () => {
    const { unit, client, backend } = await asked({ http: { relayIdle: 1_000 } })
    await using _ = unit
    backend.far.send(AGREED)
    await eventually(() => client.far.received.endsWith('\r\n\r\n'), 'the client is told')
    await unit.clock.advanceAsync(100_000)
    assert.equal(client.far.gone, false)
    assert.equal(await unit.kick('ann'), 1)
    await eventually(() => client.far.gone && backend.far.gone, 'both are closed')
    await client.over
    await eventually(() => unit.told.includes('closed kicked'), 'its end is reported')
  })

  it('that the backend refuses is an answer like any other, and what was said behind it is no request', async () => {
    const { unit, client, backend } = await asked({}, GET)
    await using _ = unit
    backend.far.send('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno')
    await eventually(() => client.far.gone, 'the connection ends behind it')
    assert.match(client.far.received, /^HTTP\/1\.1 403 .*Connection: close\r\n\r\nno$/s)
    assert.equal(unit.dials.length, 1)
    assert.equal(backend.far.received.match(/GET /g)?.length, 1)
  })

  it('that the backend agrees to as something else, or as nothing, is 502', async () => {
    for (const answer of [AGREED.replace('websocket', 'h2c'), AGREED.replace('websocket', 'websocket, h2c'), 'HTTP/1.1 101 Switching Protocols\r\n\r\n']) {
      const { unit, client, backend } = await asked()
      await using _ = unit
      backend.far.send(answer)
      await eventually(() => client.far.gone && backend.far.gone, 'both are closed')
      assert.match(client.far.received, /^HTTP\/1\.1 502 /)
    }
  })

  it('for which its account has no place is 503, and the backend is let go', async () => {
    const { unit, client, backend } = await asked({ full: (place) => place === 'account ann' })
    await using _ = unit
    backend.far.send(AGREED)
    await eventually(() => client.far.received.startsWith('HTTP/1.1 503 '), '503')
    await eventually(() => backend.far.gone, 'the backend is let go')
    assert.ok(unit.told.includes('unavailable ACCOUNT_FULL'))
  })

  it('gives the place of its account back at its end', async () => {
    const { unit, client, backend } = await asked({ full: () => false })
    await using _ = unit
    backend.far.send(AGREED)
    await eventually(() => client.far.received.endsWith('\r\n\r\n'), 'the client is told')
    assert.deepEqual(unit.places, ['destination one', 'account ann'])
    client.far.socket.end()
    backend.far.socket.end()
    await client.over
    await eventually(() => unit.places.length === 0, 'both places are free')
  })

  it('that is refused because the account was moved meanwhile is told so', async () => {
    const { unit, client, backend } = await asked()
    await using _ = unit
    unit.box.invalidate('ann')
    backend.far.send(AGREED)
    await eventually(() => client.far.received.startsWith('HTTP/1.1 503 '), '503')
    await eventually(() => backend.far.gone, 'the backend is let go')
  })

  it('of a backend that never answers is 504', async () => {
    const { unit, client, backend } = await asked({ http: { relayIdle: 1_000 } })
    await using _ = unit
    unit.clock.advance(1_000)
    await eventually(() => client.far.received.startsWith('HTTP/1.1 504 '), '504')
    await eventually(() => backend.far.gone, 'the backend is let go')
  })
})
