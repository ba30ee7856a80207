/** The jobs of the load generator, against servers that misbehave. */
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'node:test'
import { Work } from '../../bench/load/work.ts'
import { eventually } from '../support/settled.ts'

test('a held session that ends by itself has failed: whoever divides by their number must hear of it', async () => {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    socket.write('* OK ready\r\n')
    socket.on('data', (line: Buffer) => socket.write(`${line.toString('latin1').split(' ')[0]} OK done\r\n`))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const target = { port, tls: false, resume: false, users: 10 }
  const work = new Work(0)
  const held = await work.run({ type: 'hold', target, concurrency: 2, sessions: 6 })
  assert.deepEqual([held.done, held.failed], [6, {}])
  for (const socket of [...sockets].slice(0, 2)) socket.end()
  await eventually(() => sockets.size === 4, 'two have ended')
  const released = await work.run({ type: 'release' })
  assert.deepEqual([released.done, released.failed], [4, { 'ended while it was held': 2 }])
  assert.deepEqual((await work.run({ type: 'release' })).failed, {}, 'it is told once')
  await eventually(() => sockets.size === 0, 'the others were closed')
  server.close()
})
