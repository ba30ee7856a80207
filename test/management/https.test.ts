import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import type { Server } from 'node:net'
import { connect, TLSSocket } from 'node:tls'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { ADMIN_HANDSHAKE_MS, ADMIN_HEAD_MS, ADMIN_KEEPALIVE_MS, ADMIN_SILENCE_MS } from '../../src/limits.ts'
import { createHttps } from '../../src/management/https.ts'
import type { Patience } from '../../src/management/https.ts'
import { Sockets } from '../../src/management/sockets.ts'
import { readAll, testCertificate } from '../support/management.ts'

const LONG = 3_600_000
const patient: Patience = { handshake: LONG, head: LONG, keepAlive: LONG, silence: LONG }

/** A server that answers `ok`, but never to `/never`; in each test only one of its times can run out. */
async function serve(t: TestContext, impatient: Partial<Patience>): Promise<number> {
  const sockets = new Sockets()
  const server = createHttps(
    await testCertificate(),
    sockets,
    (request, response) => {
      request.resume()
      if (request.url === '/never') return
      if (request.method === 'POST') request.on('end', () => response.end('ok'))
      else response.end('ok')
    },
    { ...patient, ...impatient },
  )
  return listening(t, server, sockets)
}

/** Its port. It ends with the test. */
async function listening(t: TestContext, server: Server, sockets: Sockets): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    sockets.destroy()
    server.close()
  })
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return address.port
}

async function tell(port: number, bytes: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  socket.write(bytes)
  return readAll(socket)
}

describe('the patience of the management server', { timeout: 20_000 }, () => {
  test('a client that never begins its handshake is dropped', async (t) => {
    const socket = connectTcp(await serve(t, { handshake: 20 }), '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    await once(socket, 'close')
  })

  test('a client that never sends a request, or half a head, is told 408 and dropped', async (t) => {
    const port = await serve(t, { head: 200 })
    for (const bytes of ['', 'GET / HTTP/1.1\r\nHo']) assert.match(await tell(port, bytes), /^HTTP\/1\.1 408 [^]*\r\nConnection: close\r\n/)
  })

  test('a connection without a further request is closed', async (t) => {
    const port = await serve(t, { keepAlive: 200 })
    assert.match(await tell(port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /^HTTP\/1\.1 200 /)
  })

  test('a connection on which nothing moves is dropped even while an answer is awaited', async (t) => {
    const port = await serve(t, { silence: 200 })
    assert.equal(await tell(port, 'GET /never HTTP/1.1\r\nHost: x\r\n\r\n'), '')
  })

  test('unless it is told otherwise, Node is given the times of src/limits.ts', async (t) => {
    const sockets = new Sockets()
    const server = createHttps(await testCertificate(), sockets, () => assert.fail('nobody asks'))
    assert.deepEqual([server.headersTimeout, server.keepAliveTimeout, server.timeout], [ADMIN_HEAD_MS, ADMIN_KEEPALIVE_MS, ADMIN_SILENCE_MS])
    const { mock } = t.mock.method(TLSSocket.prototype, 'setTimeout')
    const port = await listening(t, server, sockets)
    const socket = connectTcp(port, '127.0.0.1')
    socket.on('error', () => {})
    await Promise.all([once(server, 'connection'), once(socket, 'connect')])
    // What waits for the handshake is a time-out of the encrypted socket, which nobody else has set one on yet.
    assert.deepEqual(mock.calls.map((call) => call.arguments[0]), [ADMIN_HANDSHAKE_MS])
  })
})
