/** A client's connection from its first request to its last: how long it may take, how many it may ask, how it ends. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { HTTP_KEEPALIVE_MARGIN_MS, HTTP_PIPELINED } from '../../../src/limits.ts'
import { eventually } from '../../support/settled.ts'
import type { SocketPair } from '../../support/socket-pair.ts'
import { GET, httpUnit, OK, type HttpUnit } from './rig.ts'

const answers = (said: string): number => said.match(/HTTP\/1\.1 200/g)?.length ?? 0

/** One request and its answer, on a backend connection that stays. */
async function served(unit: HttpUnit): Promise<{ client: Awaited<ReturnType<HttpUnit['connect']>>; backend: SocketPair }> {
  const client = await unit.connect()
  client.far.send(GET)
  const backend = await unit.backend()
  backend.far.send(OK)
  await eventually(() => client.far.received.endsWith('ok'), 'the answer')
  await eventually(() => unit.requests.length === 1, 'the request is over')
  return { client, backend }
}

describe('a connection', () => {
  it('without a byte is closed after preauth_timeout without a word; half a head is told 408', async () => {
    for (const [said, answer] of [['', ''], ['GET /one HTTP/1.1\r\nHost', 'HTTP/1.1 408 ']] as const) {
      await using unit = httpUnit({ listener: { preauthTimeout: 7_000 } })
      const client = await unit.connect()
      client.far.send(said)
      await eventually(() => client.near.bytesRead === said.length && unit.clock.pending > 0, 'what is said arrives')
      unit.clock.advance(6_999)
      assert.equal(client.far.gone, false)
      unit.clock.advance(1)
      await eventually(() => client.far.gone, 'it is closed')
      assert.ok(client.far.received.startsWith(answer) && (answer !== '' || client.far.received === ''))
      await client.over
      assert.deepEqual(unit.told, ['closed CLIENT_TIMEOUT'])
    }
  })

  it('may expect what is none of ours: the backend judges it', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.send(GET.replace('\r\n\r\n', '\r\nExpect: foo\r\n\r\n'))
    const backend = await unit.backend()
    await eventually(() => backend.far.received.includes('Expect: foo\r\n'), 'the backend is asked')
    backend.far.send('HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n')
    await eventually(() => client.far.received.startsWith('HTTP/1.1 417 No\r\n'), 'its answer')
    await eventually(() => unit.requests[0]?.status === 417, 'it is counted')
  })

  it('is kept a little longer than the client is told: a request at the edge is served', async () => {
    await using unit = httpUnit({ http: { keepaliveTimeout: 10_000 } })
    const { client, backend } = await served(unit)
    assert.match(client.far.received, /Keep-Alive: timeout=10\r\n/)
    unit.clock.advance(10_000 + HTTP_KEEPALIVE_MARGIN_MS - 1)
    client.far.send(GET)
    await eventually(() => backend.far.received.split('GET ').length === 3, 'the second request arrives')
    backend.far.send(OK)
    await eventually(() => answers(client.far.received) === 2, 'the second answer')
    unit.clock.advance(10_000 + HTTP_KEEPALIVE_MARGIN_MS)
    await eventually(() => client.far.gone, 'it is closed')
    await client.over
    assert.deepEqual(unit.told.at(-1), 'closed idle')
  })

  it('on which the next head has begun in time waits for the rest of it, but not for ever', async () => {
    for (const rest of [true, false]) {
      await using unit = httpUnit({ http: { keepaliveTimeout: 10_000 }, listener: { preauthTimeout: 7_000 } })
      const { client, backend } = await served(unit)
      const before = client.near.bytesRead
      client.far.send(GET.slice(0, 10))
      await eventually(() => client.near.bytesRead > before, 'half a head arrives')
      unit.clock.advance(10_000 + HTTP_KEEPALIVE_MARGIN_MS)
      unit.clock.advance(6_999)
      assert.equal(client.far.gone, false)
      if (rest) {
        client.far.send(GET.slice(10))
        await eventually(() => backend.far.received.split('GET ').length === 3, 'the second request arrives')
      } else {
        unit.clock.advance(1)
        await eventually(() => client.far.gone, 'it is closed')
        assert.match(client.far.received, /HTTP\/1\.1 408 /)
      }
    }
  })

  it('ends behind max_keepalive_requests, and says so', async () => {
    await using unit = httpUnit({ http: { maxKeepaliveRequests: 2 } })
    const { client, backend } = await served(unit)
    assert.match(client.far.received, /Connection: keep-alive/i)
    client.far.send(GET)
    await eventually(() => backend.far.received.split('GET ').length === 3, 'the second request arrives')
    backend.far.send(OK)
    await eventually(() => client.far.gone, 'it is closed')
    assert.equal(answers(client.far.received), 2)
    assert.match(client.far.received, /Connection: close/)
  })

  it('answers in the order of the requests, one at a time, and takes so many in advance and no more', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.send(GET.repeat(HTTP_PIPELINED + 10))
    const backends: SocketPair[] = []
    const seen = ({ far }: SocketPair): number => far.received.split('GET ').length - 1
    const asked = (): number => backends.reduce((sum, backend) => sum + seen(backend), 0)
    for (let number = 1; number <= HTTP_PIPELINED + 1; number++) {
      const before = backends.map(seen)
      await eventually(() => unit.dials.length > backends.length || asked() === number, `request ${number}`)
      if (unit.dials.length > backends.length) backends.push(await unit.backend())
      await eventually(() => asked() === number, `request ${number} arrives`)
      await eventually(() => answers(client.far.received) === number - 1, 'the answers before it')
      backends.find((backend, at) => seen(backend) > (before[at] ?? 0))?.far.send(OK)
    }
    await eventually(() => client.far.gone, 'it is closed')
    assert.equal(answers(client.far.received), HTTP_PIPELINED + 1)
    assert.equal(asked(), HTTP_PIPELINED + 1)
  })

  it('that is retired ends with its next answer, and loses no request', async () => {
    await using unit = httpUnit()
    const { client, backend } = await served(unit)
    unit.service.retire()
    assert.equal(client.far.gone, false, 'a request may be on its way')
    client.far.send(GET)
    await eventually(() => backend.far.received.split('GET ').length === 3, 'the second request arrives')
    backend.far.send(OK)
    await eventually(() => client.far.gone, 'it is closed')
    assert.match(client.far.received, /Connection: close\r\n/)
    assert.equal(answers(client.far.received), 2)
  })

  it('that is drained ends at once when it has no request, and with its answer when it has', async () => {
    await using unit = httpUnit()
    const { client: idle, backend } = await served(unit)
    const busy = await unit.connect()
    busy.far.send(GET)
    await eventually(() => backend.far.received.split('GET ').length === 3, 'the request arrives')
    unit.service.drain()
    await eventually(() => idle.far.gone, 'the idle one is closed')
    backend.far.send(OK)
    await eventually(() => busy.far.gone, 'the other one is closed')
    assert.equal(answers(busy.far.received), 1)
    await Promise.all([idle.over, busy.over])
    assert.equal(unit.open(), 0)
  })

  it('whose request is malformed hears 400 once and no more, whatever follows', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.send(`GET /one HTTP/1.1\r\nHost: proxy\r\nHost: other\r\n\r\n${GET.repeat(3)}`)
    await eventually(() => client.far.gone, 'it is closed')
    assert.equal(client.far.received.match(/HTTP\/1\.1 /g)?.length, 1)
    assert.match(client.far.received, /^HTTP\/1\.1 400 /)
    assert.equal(unit.dials.length, 0)
  })

  it('that waits for a go-ahead it never got ends behind its answer', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.send('POST /one HTTP/1.1\r\nHost: proxy\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n')
    const backend = await unit.backend()
    await eventually(() => backend.far.received.includes('Expect: 100-continue'), 'the backend is asked')
    assert.equal(client.far.received, '')
    backend.far.send('HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno')
    await eventually(() => client.far.received.endsWith('no'), 'the answer')
    assert.match(client.far.received, /Connection: close\r\n/)
  })
})
