/** Server-sent events (WHATWG HTML §9.2): streams on which nothing happens for a long time, by a clock that is moved. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { eventually } from '../../support/settled.ts'
import type { SocketPair } from '../../support/socket-pair.ts'
import { httpUnit, MINE, type HttpUnit, type HttpUnitOptions } from './rig.ts'

const MINUTE = 60_000
const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n'
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`

interface Stream {
  readonly unit: HttpUnit
  readonly client: Awaited<ReturnType<HttpUnit['connect']>>
  readonly backend: SocketPair
}

/** A stream on which one event has come. */
async function streaming(unit: HttpUnit, request = 'GET /one/events HTTP/1.1\r\nHost: proxy\r\n'): Promise<Stream> {
  const client = await unit.connect()
  client.far.send(`${request}Accept: text/event-stream\r\n\r\n`)
  const backend = await unit.backend()
  backend.far.send(HEAD + chunk('data: 0\n\n'))
  await eventually(() => client.far.received.includes('data: 0'), 'the first event')
  return { unit, client, backend }
}

async function event({ client, backend }: Stream, text: string): Promise<void> {
  backend.far.send(chunk(text))
  await eventually(() => client.far.received.endsWith(chunk(text)), `"${text}" arrives`)
}

const patient = (bridgeIdle: number): HttpUnitOptions => ({ http: { relayIdle: MINUTE }, server: { bridgeIdle } })

describe('server-sent events', () => {
  it('an hour of silence within bridge_idle ends nothing: the next event arrives', async () => {
    await using unit = httpUnit(patient(120 * MINUTE))
    const stream = await streaming(unit)
    await unit.clock.advanceAsync(60 * MINUTE, MINUTE)
    await event(stream, 'data: after an hour\n\n')
    assert.deepEqual([stream.client.far.gone, stream.backend.far.gone, unit.requests, unit.open()], [false, false, [], 1])
  })

  it('a comment now and then keeps a stream; without one it is broken off after bridge_idle, not ended politely', async () => {
    await using unit = httpUnit(patient(30 * MINUTE))
    const stream = await streaming(unit)
    for (let minutes = 0; minutes < 75; minutes += 25) {
      await unit.clock.advanceAsync(25 * MINUTE, MINUTE)
      await event(stream, `: ${minutes}\n\n`)
    }
    await unit.clock.advanceAsync(30 * MINUTE - 1, MINUTE)
    assert.equal(stream.client.far.gone, false)
    await unit.clock.advanceAsync(2)
    await eventually(() => stream.client.far.gone && stream.backend.far.gone, 'both sides are closed')
    assert.doesNotMatch(stream.client.far.received, /\r\n0\r\n\r\n$/)
    await eventually(() => unit.requests.length === 1, 'the request is over')
    assert.deepEqual([unit.requests[0]?.status, unit.requests[0]?.code], [200, 'BACKEND_TIMEOUT'])
  })

  it('a client that leaves in the silence leaves nothing behind', async () => {
    await using unit = httpUnit(patient(120 * MINUTE))
    const timers = unit.clock.pending
    const { client, backend } = await streaming(unit)
    await unit.clock.advanceAsync(40 * MINUTE, MINUTE)
    client.far.socket.destroy()
    await eventually(() => backend.far.gone, 'the backend connection is closed')
    await client.over
    assert.deepEqual([unit.requests[0]?.code, unit.open(), unit.clock.pending], ['CLIENT_CLOSED', 0, timers])
  })

  it('a kick of its account ends it', async () => {
    await using unit = httpUnit(patient(120 * MINUTE))
    const client = await unit.connect()
    client.far.send(`GET /mine HTTP/1.1\r\nHost: proxy\r\n${MINE}\r\n`)
    await eventually(() => unit.box.source.open.length > 0, 'the source is asked')
    await unit.box.source.answer('ann', 'one')
    const backend = await unit.backend()
    backend.far.send(HEAD + chunk('data: 0\n\n'))
    await eventually(() => client.far.received.includes('data: 0'), 'the first event')
    await unit.clock.advanceAsync(50 * MINUTE, MINUTE)
    assert.equal(await unit.kick('ann'), 1)
    await eventually(() => client.far.gone && backend.far.gone, 'both sides are closed')
  })
})
