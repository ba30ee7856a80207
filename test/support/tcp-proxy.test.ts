import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { soon } from './soon.ts'
import { TcpProxy } from './tcp-proxy.ts'

let echo: Server
let port: number

before(async () => {
  echo = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve))
  port = (echo.address() as AddressInfo).port
})
after(() => new Promise((resolve) => echo.close(resolve)))

class Peer {
  readonly socket: Socket
  received = ''
  ended = false
  closed = false

  constructor(to: number) {
    this.socket = connect({ host: '127.0.0.1', port: to, allowHalfOpen: true })
    this.socket.on('data', (bytes) => (this.received += bytes.toString()))
    this.socket.on('end', () => (this.ended = true))
    this.socket.on('close', () => (this.closed = true))
    this.socket.on('error', () => {})
  }

  has(text: string): Promise<unknown> {
    return soon(`"${text}" to come back`, () => this.received === text)
  }
}

test('bytes go both ways, and each side ends for itself', async () => {
  await using proxy = await TcpProxy.open({ port })
  const peer = new Peer(proxy.port)
  peer.socket.write('hello')
  await peer.has('hello')
  assert.equal(proxy.connections, 1)
  peer.socket.end(' world')
  await peer.has('hello world')
  await soon('the end', () => peer.ended)
})

test('a cut ends all connections, and new ones are relayed', async () => {
  await using proxy = await TcpProxy.open({ port })
  const peer = new Peer(proxy.port)
  peer.socket.write('a')
  await peer.has('a')
  proxy.cut()
  await soon('the end', () => peer.closed)
  assert.equal(proxy.connections, 0)
  const next = new Peer(proxy.port)
  next.socket.write('b')
  await next.has('b')
  assert.equal(proxy.accepted, 2)
  proxy.cut('end')
  await soon('a polite end', () => next.ended)
  next.socket.destroy()
})

test('refusing closes what there is and what comes, until it accepts again', async () => {
  await using proxy = await TcpProxy.open({ port })
  proxy.refuse()
  const refused = new Peer(proxy.port)
  await soon('the end', () => refused.closed)
  proxy.accept()
  const peer = new Peer(proxy.port)
  peer.socket.write('a')
  await peer.has('a')
  peer.socket.destroy()
})

test('paused, nothing moves and nothing ends; resumed, everything comes in order', async () => {
  await using proxy = await TcpProxy.open({ port })
  const peer = new Peer(proxy.port)
  peer.socket.write('1')
  await peer.has('1')
  proxy.pause()
  peer.socket.write('2')
  const late = new Peer(proxy.port)
  await once(late.socket, 'connect')
  late.socket.write('x')
  // Another proxy to the same server has moved its bytes there and back by now: these were held.
  await using other = await TcpProxy.open({ port })
  const witness = new Peer(other.port)
  witness.socket.write('w')
  await witness.has('w')
  assert.deepEqual([peer.received, late.received, peer.closed], ['1', '', false])
  peer.socket.write('3')
  proxy.resume()
  await peer.has('123')
  await late.has('x')
  for (const one of [peer, late, witness]) one.socket.destroy()
})

test('a delay keeps the order', async () => {
  await using proxy = await TcpProxy.open({ port })
  proxy.delay(20)
  const peer = new Peer(proxy.port)
  for (const letter of 'abc') {
    peer.socket.write(letter)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await peer.has('abc')
  peer.socket.destroy()
})

test('a megabyte passes unharmed while the reader is slow', async () => {
  await using proxy = await TcpProxy.open({ port })
  const sent = Buffer.alloc(1_000_000, 'abcdefg')
  const socket = connect({ host: '127.0.0.1', port: proxy.port })
  socket.end(sent)
  const chunks: Buffer[] = []
  for await (const chunk of socket) {
    chunks.push(chunk as Buffer)
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.ok(Buffer.concat(chunks).equals(sent))
})
