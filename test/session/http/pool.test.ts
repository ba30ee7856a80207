/** Connections to backends that are kept: who may use one, when it is used no more, and what is done again. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { HTTP_BACKEND_IDLE_MS, HTTP_BACKENDS_IDLE } from '../../../src/limits.ts'
import { testDestination, testLeg } from '../../support/config.ts'
import { eventually } from '../../support/settled.ts'
import type { SocketPair } from '../../support/socket-pair.ts'
import { GET, httpUnit, OK, type HttpUnit } from './rig.ts'

async function ask(unit: HttpUnit, backend?: SocketPair, request = GET): Promise<{ client: Awaited<ReturnType<HttpUnit['connect']>>; backend: SocketPair }> {
  const client = await unit.connect()
  const before = backend?.far.received.length ?? 0
  const over = unit.requests.length
  client.far.send(request)
  const used = backend ?? (await unit.backend())
  await eventually(() => used.far.received.length > before, 'the request arrives')
  used.far.send(OK)
  await eventually(() => client.far.received.endsWith('ok') && unit.requests.length > over, 'the answer')
  return { client, backend: used }
}

const proxied = (): Parameters<typeof httpUnit>[0] => {
  const one = testDestination({ name: 'one', legs: { http: testLeg({ protocol: 'http', forwarding: 'proxy' }) } })
  return { services: { destinationNamed: () => one } }
}

describe('a kept connection', () => {
  it('is used by the next client, and watched while it is idle', async () => {
    await using unit = httpUnit()
    const { backend } = await ask(unit)
    assert.equal(backend.near.timeout, HTTP_BACKEND_IDLE_MS)
    await ask(unit, backend)
    assert.equal(unit.dials.length, 1)
  })

  it('carries one client alone where the backend is told whose it is, and ends with that client', async () => {
    await using unit = httpUnit(proxied())
    const first = await ask(unit)
    const second = await ask(unit)
    assert.equal(unit.dials.length, 2)
    assert.notEqual(first.backend, second.backend)
    first.client.far.send(GET)
    await eventually(() => first.backend.far.received.split('GET ').length === 3, 'its own client asks again')
    first.backend.far.send(OK)
    await eventually(() => unit.requests.length === 3, 'the answer')
    assert.equal(unit.dials.length, 2)
    second.client.far.socket.end()
    await eventually(() => second.backend.far.gone, 'its connection ends')
    assert.equal(first.backend.far.gone, false)
  })

  it('on which a backend speaks unasked is closed, and nobody hears what it said', async () => {
    await using unit = httpUnit()
    const { backend } = await ask(unit)
    backend.far.send('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned')
    await eventually(() => backend.far.gone, 'it is closed')
    const { client } = await ask(unit)
    assert.equal(unit.dials.length, 2)
    assert.equal(client.far.received.includes('poisoned'), false)
  })

  for (const [title, answer, kept] of [
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n', true],
    ['a coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', true],
    ['neither', 'HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n', true],
    ['neither, but its word', 'HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n', false],
    ['neither, in HTTP/1.0', 'HTTP/1.0 200 OK\r\n\r\n', false],
    ['neither, and what looks like the next answer', `HTTP/1.1 200 OK\r\n\r\n${OK}`, false],
    ['neither, and a body', 'HTTP/1.1 200 OK\r\n\r\npoisoned', false],
  ] as const) {
    it(`is ${kept ? '' : 'not '}kept behind an answer to HEAD with ${title}`, async () => {
      await using unit = httpUnit()
      const client = await unit.connect()
      client.far.send(GET.replace('GET', 'HEAD'))
      const backend = await unit.backend()
      backend.far.send(answer)
      await eventually(() => unit.requests.length === 1 && client.far.received.endsWith('\r\n\r\n'), 'the answer')
      assert.match(client.far.received, /^HTTP\/1\.1 200 OK\r\n/)
      if (!kept) await eventually(() => backend.far.gone, 'it is closed')
      const second = await ask(unit, kept ? backend : undefined)
      assert.match(second.client.far.received, /\r\n\r\nok$/)
      assert.equal(unit.dials.length, kept ? 1 : 2)
    })
  }

  for (const [title, answer] of [
    ['surplus bytes', `${OK}HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned`],
    ['half of another answer', `${OK}HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\npoison`],
    ['garbage', `${OK}poisoned`],
    ['a body behind 204', 'HTTP/1.1 204 No\r\nContent-Length: 8\r\n\r\npoisoned'],
    ['a body behind 304', 'HTTP/1.1 304 No\r\nContent-Length: 8\r\n\r\npoisoned'],
  ] as const) {
    it(`is not kept behind ${title}`, async () => {
      await using unit = httpUnit()
      const client = await unit.connect()
      client.far.send(GET)
      const backend = await unit.backend()
      backend.far.send(answer)
      await eventually(() => backend.far.gone, 'it is closed')
      assert.equal(client.far.received.includes('poison'), false)
      await ask(unit)
      assert.equal(unit.dials.length, 2)
    })
  }

  for (const [title, head] of [
    ['a length beside a coding', 'Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n'],
    ['two lengths', 'Content-Length: 2\r\nContent-Length: 3\r\n\r\nok'],
    ['a length that is none', 'Content-Length: 2x\r\n\r\nok'],
    ['a folded line', 'X-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok'],
    ['a bare line feed', 'X-A: b\nContent-Length: 2\r\n\r\nok'],
    ['a space before a colon', 'Content-Length : 2\r\n\r\nok'],
  ] as const) {
    it(`is not kept, and 502 told, for an answer with ${title}`, async () => {
      await using unit = httpUnit()
      const client = await unit.connect()
      client.far.send(GET)
      const backend = await unit.backend()
      backend.far.send(`HTTP/1.1 200 OK\r\n${head}`)
      await eventually(() => backend.far.gone, 'it is closed')
      await eventually(() => client.far.received.startsWith('HTTP/1.1 502 '), '502')
    })
  }

  it('that meets its end under a request that changes nothing is replaced, with all that are idle', async () => {
    await using unit = httpUnit()
    const clients = await Promise.all([unit.connect(), unit.connect()])
    for (const client of clients) client.far.send(GET)
    const backends = [await unit.backend(), await unit.backend()]
    for (const backend of backends) backend.far.send(OK)
    await eventually(() => unit.requests.length === 2, 'two connections are idle')
    const asked = await unit.connect()
    asked.far.send(GET)
    await eventually(() => backends.some(({ far }) => far.received.split('GET ').length === 3), 'one of them is used')
    const used = backends.find(({ far }) => far.received.split('GET ').length === 3)
    used?.far.socket.end()
    const fresh = await unit.backend()
    await eventually(() => backends.every(({ far }) => far.gone), 'the other idle one is closed too')
    fresh.far.send(OK)
    await eventually(() => asked.far.received.endsWith('ok'), 'the answer')
  })

  it('that meets its end under a request that may change something is 502, once', async () => {
    for (const request of ['POST /one HTTP/1.1\r\nHost: p\r\nContent-Length: 0\r\n\r\n', 'GET /one HTTP/1.1\r\nHost: p\r\nContent-Length: 1\r\n\r\nx', 'DELETE /one HTTP/1.1\r\nHost: p\r\n\r\n']) {
      await using unit = httpUnit()
      const { backend } = await ask(unit)
      const client = await unit.connect()
      client.far.send(request)
      await eventually(() => backend.far.received.split('HTTP/1.1').length === 3, 'the request arrives')
      backend.far.socket.end()
      await eventually(() => client.far.received.startsWith('HTTP/1.1 502 '), '502')
      assert.equal(unit.dials.length, 1)
      assert.equal(unit.told.includes('outcome BACKEND_CLOSED'), false, 'says nothing about the destination')
    }
  })

  it('whose answer is garbage is not tried again', async () => {
    await using unit = httpUnit()
    const { backend } = await ask(unit)
    const client = await unit.connect()
    client.far.send(GET)
    await eventually(() => backend.far.received.split('GET ').length === 3, 'the request arrives')
    backend.far.send('garbage\r\n\r\n')
    await eventually(() => client.far.received.startsWith('HTTP/1.1 502 '), '502')
    assert.equal(unit.dials.length, 1)
  })

  it('has a place of its destination while it lives, and none is dialled without one', async () => {
    let most = 1
    await using unit = httpUnit({ full: () => unit.places.length >= most })
    const { backend } = await ask(unit)
    assert.deepEqual(unit.places, ['destination one'])
    const busy = await unit.connect()
    busy.far.send(GET.replace('GET', 'DELETE'))
    await eventually(() => backend.far.received.includes('DELETE '), 'the request arrives')
    const other = await unit.connect()
    other.far.send(GET)
    await eventually(() => other.far.received.startsWith('HTTP/1.1 503 '), '503')
    assert.ok(unit.told.includes('unavailable BACKEND_FULL'))
    backend.far.socket.end()
    await eventually(() => unit.places.length === 0, 'the place is given back')
    most = 2
    await ask(unit)
    assert.equal(unit.dials.length, 2)
  })

  it('is one of so many idle ones and no more', async () => {
    await using unit = httpUnit()
    const clients = await Promise.all(Array.from({ length: HTTP_BACKENDS_IDLE + 1 }, () => unit.connect()))
    for (const client of clients) client.far.send(GET)
    const backends: SocketPair[] = []
    for (const _ of clients) backends.push(await unit.backend())
    for (const backend of backends) backend.far.send(OK)
    await eventually(() => unit.requests.length === clients.length, 'all are answered')
    const gone = (): number => backends.filter(({ far }) => far.gone).length
    await eventually(() => gone() >= 1, 'one is too many')
    for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve))
    assert.equal(gone(), 1)
  })
})
