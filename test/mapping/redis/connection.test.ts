/** A connection to a server that accepts and then says nothing. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'node:test'
import { parseRedisUrl } from '../../../src/config/redis-url.ts'
import { REDIS_HANDSHAKE_MS } from '../../../src/limits.ts'
import { RedisConnection } from '../../../src/mapping/redis/connection.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { soon } from '../../support/soon.ts'

test('one that never answers the handshake is given up at its time and not before, and tried again', async (t) => {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket.on('error', () => {}))
    socket.resume()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const clock = new FakeClock()
  const connection = new RedisConnection({ target: parseRedisUrl(`redis://:secret@127.0.0.1:${port}`), clock, name: 'test' })
  t.after(() => {
    connection.close()
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await soon('the handshake has begun', () => clock.pending === 1 && sockets.length === 1)
  clock.advance(REDIS_HANDSHAKE_MS - 1)
  // What was to happen would have happened by now: the next turn of the loop sees a socket that is destroyed.
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(sockets[0]?.destroyed, false)
  assert.equal(clock.pending, 1)
  clock.advance(1)
  await soon('it is given up', () => sockets[0]?.destroyed === true)
  assert.equal(connection.lastError, `no answer within ${REDIS_HANDSHAKE_MS} ms of connecting`)
  assert.doesNotMatch(connection.lastError, /secret/)
  await soon('it is tried again', () => sockets.length === 2)
})
