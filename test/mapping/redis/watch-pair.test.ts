/** What may come in without an end: the library would gather it all. What the pair makes of a real server is in watch.test.ts. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Socket } from 'node:net'
import { test } from 'node:test'
import { Redis } from 'ioredis'
import { REDIS_PUSH } from '../../../src/limits.ts'
import { WatchPair } from '../../../src/mapping/redis/watch-pair.ts'
import { FakeClock } from '../../support/fake-clock.ts'

test('REDIS_PUSH bytes may come between two messages, and one more ends the connection', async () => {
  const clients: Redis[] = []
  const connect = (): Redis => {
    const client = new Redis({ lazyConnect: true, retryStrategy: null })
    clients.push(client)
    return client
  }
  const pair = new WatchPair({ connect, prefix: '', clock: new FakeClock(), heartbeat: 1_000, invalidated: () => {}, lost: () => {} })
  const [subscriber] = clients
  assert.ok(subscriber !== undefined)
  const stream = new Socket()
  const failed = once(stream, 'error')
  subscriber.stream = stream
  subscriber.emit('connect')
  const piece = Buffer.alloc(1_048_576)
  for (let left = REDIS_PUSH; left > 0; left -= piece.length) stream.emit('data', piece.subarray(0, left))
  assert.equal(stream.destroyed, false)
  stream.emit('data', Buffer.alloc(1))
  assert.equal(stream.destroyed, true)
  assert.match(String(await failed), new RegExp(`a message exceeds ${REDIS_PUSH} bytes`))
  pair.close()
})
