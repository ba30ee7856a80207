import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'node:test'
import { HttpAsker } from '../../bench/load/http-asker.ts'

async function serve(answer: (socket: Socket, request: string) => void): Promise<{ readonly port: number } & AsyncDisposable> {
  const server = createServer((socket) => socket.on('data', (bytes) => answer(socket, bytes.toString()))).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return { port, [Symbol.asyncDispose]: async () => void server.close() }
}

function answerOf(length: number): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n${'x'.repeat(length)}`
}

test('each account is asked for over one connection, and an answer that comes in pieces has its length', async () => {
  await using server = await serve((socket, request) => {
    const login = /^Authorization: Basic (.*)$/m.exec(request)?.[1] ?? ''
    const [user] = Buffer.from(login.trim(), 'base64').toString().split(':')
    const answer = answerOf(user === 'alice@example.com' ? 100 : 20_000)
    socket.write(answer.slice(0, 30))
    setImmediate(() => {
      socket.write(answer.slice(30, 90))
      setImmediate(() => socket.write(answer.slice(90)))
    })
  })
  await using asker = await HttpAsker.connect(server.port)
  assert.equal(await asker.ask('alice@example.com'), 100)
  assert.equal(await asker.ask('bob@example.com'), 20_000)
  assert.equal(await asker.ask('alice@example.com'), 100)
})

test('a refusal is an error, and so is the end of the connection, now and afterwards', async () => {
  await using refusing = await serve((socket) => void socket.write('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n'))
  await using refused = await HttpAsker.connect(refusing.port)
  await assert.rejects(refused.ask('alice@example.com'), /answered 503/)
  await using ending = await serve((socket) => void socket.end())
  await using ended = await HttpAsker.connect(ending.port)
  await assert.rejects(ended.ask('alice@example.com'), /connection was closed/)
  await assert.rejects(ended.ask('alice@example.com'), /connection was closed/)
})
