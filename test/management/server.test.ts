import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { connect } from 'node:tls'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { generate } from 'selfsigned'
import { ADMIN_CONNECTIONS, ADMIN_CONNECTIONS_PER_ADDRESS, ADMIN_DRAIN_MS } from '../../src/limits.ts'
import { routes } from '../../src/management/server.ts'
import { describe as describeRoute } from '../../src/management/route.ts'
import { readAll, TestManagement } from '../support/management.ts'

async function start(t: TestContext, ...admin: Parameters<typeof TestManagement.start>): Promise<TestManagement> {
  const api = await TestManagement.start(...admin)
  t.after(() => api.stop())
  return api
}

/** Lets the event loop turn until `holds`; the test's own time limit is the deadline. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve))
}

function gate(api: TestManagement): () => void {
  let open = () => {}
  api.operations.gate = new Promise((resolve) => {
    open = resolve
  })
  return open
}

describe('the management server', { timeout: 30_000 }, () => {
  test('close answers what is under way, closes what is idle and takes nothing new', async (t) => {
    const api = await start(t)
    const open = gate(api)
    const silent = connectTcp(api.port, '127.0.0.1')
    const idle = await api.connect()
    const closedSilent = once(silent, 'close')
    silent.on('error', () => {})
    const idleEnd = readAll(idle)
    const asked = api.ask('POST', '/cache/invalidate')
    await until(() => api.operations.calls.length === 1 && api.server.connections === 3)
    const closed = api.server.close()
    await Promise.all([closedSilent, idleEnd])
    await assert.rejects(once(connectTcp(api.port, '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' })
    open()
    assert.deepEqual([(await asked).status, (await asked).text], [200, 'ok\n'])
    await closed
    await api.server.close()
    await until(() => api.server.connections === 0)
  })

  test('destroy breaks what is under way', async (t) => {
    const api = await start(t)
    const open = gate(api)
    const asked = api.ask('POST', '/cache/invalidate')
    await until(() => api.operations.calls.length === 1)
    const destroyed = api.server.destroy()
    await assert.rejects(asked, { code: 'ECONNRESET' })
    await destroyed
    await api.server.destroy()
    open()
  })

  test('destroy after close ends a drain that takes too long', async (t) => {
    const api = await start(t)
    gate(api)
    const asked = api.ask('POST', '/cache/invalidate')
    await until(() => api.operations.calls.length === 1)
    const closed = api.server.close()
    await Promise.all([assert.rejects(asked), api.server.destroy(), closed])
  })

  test('what is under way has ADMIN_DRAIN_MS from the close on, and is broken off then', async (t) => {
    const api = await start(t)
    gate(api)
    const asked = api.ask('POST', '/cache/invalidate')
    await until(() => api.operations.calls.length === 1)
    const broken = assert.rejects(asked, { code: 'ECONNRESET' })
    const closed = api.server.close()
    api.clock.advance(ADMIN_DRAIN_MS - 1)
    for (let turns = 0; turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve))
    assert.equal(api.server.connections, 1)
    api.clock.advance(1)
    await Promise.all([broken, closed])
  })

  test('several requests go over one connection', async (t) => {
    const api = await start(t)
    for (let i = 0; i < 5; i++) assert.equal((await api.ask('GET', '/stats')).status, 200)
    assert.equal(api.server.connections, 1)
  })

  test(`one address has at most ${ADMIN_CONNECTIONS_PER_ADDRESS} connections, and gets them back`, async (t) => {
    const api = await start(t)
    const held = Array.from({ length: ADMIN_CONNECTIONS_PER_ADDRESS }, () => connectTcp(api.port, '127.0.0.1'))
    for (const socket of held) socket.on('error', () => {})
    await until(() => api.server.connections === ADMIN_CONNECTIONS_PER_ADDRESS)
    const late = connectTcp(api.port, '127.0.0.1')
    late.on('error', () => {})
    late.resume()
    await once(late, 'close')
    held[0]?.destroy()
    await until(() => api.server.connections === ADMIN_CONNECTIONS_PER_ADDRESS - 1)
    assert.equal((await api.ask('GET', '/healthz')).status, 200)
    for (const socket of held) socket.destroy()
  })

  test(`all addresses together have at most ${ADMIN_CONNECTIONS} connections`, async (t) => {
    const api = await start(t)
    const open = (index: number) => {
      const localAddress = `127.0.1.${1 + Math.floor(index / ADMIN_CONNECTIONS_PER_ADDRESS)}`
      const socket = connectTcp({ port: api.port, host: '127.0.0.1', localAddress })
      socket.on('error', () => {})
      return socket
    }
    const held = Array.from({ length: ADMIN_CONNECTIONS }, (_, index) => open(index))
    await until(() => api.server.connections === ADMIN_CONNECTIONS)
    const late = open(ADMIN_CONNECTIONS)
    late.resume()
    await once(late, 'close')
    assert.equal(api.server.connections, ADMIN_CONNECTIONS)
    for (const socket of held) socket.destroy()
  })

  test('an old TLS version is refused', async (t) => {
    const api = await start(t)
    const socket = connect({
      host: '127.0.0.1', port: api.port, rejectUnauthorized: false,
      minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0',
    })
    await assert.rejects(once(socket, 'secureConnect'), /protocol version|unsupported protocol/)
  })

  test('plain HTTP gets no answer', async (t) => {
    const api = await start(t)
    const socket = connectTcp(api.port, '127.0.0.1')
    socket.on('error', () => {})
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
    await once(socket, 'close')
    assert.doesNotMatch(text, /HTTP/)
  })

  test('another certificate is used from the next connection on; one that does not fit its key is refused', async (t) => {
    const api = await start(t)
    const other = await generate([{ name: 'commonName', value: 'other.example' }], { keyType: 'ec' })
    const third = await generate([{ name: 'commonName', value: 'third.example' }], { keyType: 'ec' })
    assert.throws(() => api.server.secure({ cert: other.cert, key: third.private }), { code: 'CONFIG_INVALID' })
    api.server.secure({ cert: other.cert, key: other.private })
    const socket = connect({ host: '127.0.0.1', port: api.port, rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    assert.equal(socket.getPeerCertificate().subject.CN, 'other.example')
    socket.destroy()
  })

  test('an address in use is LISTEN_FAILED and names it', async (t) => {
    const api = await start(t)
    const text = `127.0.0.1:${api.port}`
    await assert.rejects(TestManagement.start({ bind: { host: '127.0.0.1', port: api.port, family: 4, text } }), {
      code: 'LISTEN_FAILED',
      message: `the management API cannot listen on ${text}`,
    })
  })

  test('it listens on IPv6, where addresses count by their /64', async (t) => {
    const api = await TestManagement.start({ bind: { host: '::1', port: 0, family: 6, text: '[::1]:0' } }).catch((error: unknown) => {
      t.skip(`no IPv6 here: ${error}`)
      return undefined
    })
    if (api === undefined) return
    t.after(() => api.stop())
    assert.equal(api.server.address.host, '::1')
  })

  test('every route describes itself for a document of the whole API', () => {
    for (const route of routes) {
      const { summary, params, querystring, response } = describeRoute(route)
      const places = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
      assert.deepEqual(params['required'], places, 'what stands in the path is described as such, and can never be left out')
      assert.match(summary, /^[A-Z].*\.$/)
      assert.equal(querystring['type'], 'object')
      assert.ok(response['200'] !== undefined)
      assert.equal(response['401'] === undefined, route.open === true)
      for (const schema of Object.values(response)) assert.equal(typeof schema['description'], 'string')
      if (route.method !== 'GET') assert.ok(route.change !== undefined, `${route.path} has a name in the audit`)
    }
  })
})
