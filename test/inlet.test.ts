import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { connectThrough } from '../src/inlet.ts'
import { BRIDGE_BUFFER, READ_ROOM, SPARE_ROOMS } from '../src/limits.ts'
import { bridge } from '../src/session/bridge.ts'
import type { BridgeResult } from '../src/session/bridge.ts'
import { disown, flow, hasEnded, own } from '../src/wire.ts'
import type { WireOwner } from '../src/wire.ts'
import { eventually } from './support/settled.ts'
import { socketPair } from './support/socket-pair.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** What an owner does with lent bytes: needs them no longer, keeps them, or pauses and needs them until it resumes. */
type Use = 'done' | 'keeps' | 'pauses'

/** Remembers everything: what it was given for good as it was given, what was lent by a copy made at the end of its use. */
class Reader implements WireOwner {
  readonly #pieces: Buffer[] = []
  readonly #uses: readonly Use[]
  readonly #socket: Socket
  lent = 0
  ended = false
  closed = false

  constructor(socket: Socket, uses: readonly Use[] = []) {
    this.#socket = socket
    this.#uses = uses
    own(socket, this)
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#pieces)
  }

  get length(): number {
    return this.#pieces.reduce((sum, { length }) => sum + length, 0)
  }

  onData(chunk: Buffer): void {
    this.#pieces.push(chunk)
  }

  onLent(chunk: Buffer): boolean {
    const use = this.#uses[this.lent++ % this.#uses.length] ?? 'done'
    if (use !== 'pauses') {
      this.#pieces.push(use === 'done' ? Buffer.from(chunk) : chunk)
      return use === 'done'
    }
    this.#socket.pause()
    const at = this.#pieces.push(chunk) - 1
    setImmediate(() => {
      this.#pieces[at] = Buffer.from(chunk)
      this.#socket.resume()
    })
    return true
  }

  onEnd(): void {
    this.ended = true
  }

  onError(error: Error): void {
    assert.fail(error)
  }

  onClose(): void {
    this.closed = true
  }
}

/** Our end, connected and held, and the other side's. */
async function opened(): Promise<{ readonly near: Socket; readonly far: Socket }> {
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const near = connectThrough({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
  const [[far]] = await Promise.all([once(server, 'connection') as Promise<[Socket]>, once(near, 'connect')])
  server.close()
  return { near, far }
}

/** Keeps the first room that is lent to it, paused, until it is told to go on. */
class Holder implements WireOwner {
  readonly #socket: Socket
  holds = false
  last = 0

  constructor(socket: Socket) {
    this.#socket = socket
    own(socket, this)
    flow(socket)
  }

  onData({ length }: Buffer): void {
    this.last = length
  }

  onLent({ length }: Buffer): boolean {
    this.last = length
    if (this.holds) return true
    this.holds = true
    this.#socket.pause()
    return true
  }

  onEnd(): void {}
  onError(): void {}
  onClose(): void {}
}

// The first test of this file: what the others leave to the collector would be counted.
test('rooms are kept for the next transfers, and no more than a few', async () => {
  const pairs = await Promise.all(Array.from({ length: SPARE_ROOMS + 4 }, opened))
  const all = pairs.map(({ near, far }) => ({ near, far, holder: new Holder(near) }))
  try {
    for (const { far } of all) far.write(Buffer.alloc(64 * READ_ROOM))
    await eventually(() => all.every(({ holder }) => holder.holds), 'each has a room of its own')
    for (const { near } of all) near.resume()
    await eventually(() => all.every(({ far, near }) => far.writableLength === 0 && near.readableLength === 0), 'all was sent')
    // What no longer fills a room.
    for (const { far } of all) far.write(Buffer.alloc(7))
    await eventually(() => all.every(({ holder }) => holder.last % READ_ROOM !== 0), 'the transfers are over')
    for (let turns = 0; turns < 20; turns++) {
      await turn()
      collect()
    }
    const rooms = Math.floor(process.memoryUsage().arrayBuffers / READ_ROOM)
    assert.equal(rooms, SPARE_ROOMS + 1, 'the spare ones and that of all')
  } finally {
    for (const { near, far } of all) {
      near.destroy()
      far.destroy()
    }
  }
})

test('whatever owners do with what was lent to them, every connection gets its own bytes in their order, and its end', async () => {
  const uses = fc.array(fc.constantFrom<Use>('done', 'keeps', 'pauses'), { minLength: 1, maxLength: 5 })
  const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 5_000 }), fc.integer({ min: 1, max: 6 * READ_ROOM })), { minLength: 1, maxLength: 6 })
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(uses, sizes), { minLength: 1, maxLength: 4 }), async (connections) => {
      const all = await Promise.all(
        connections.map(async ([how, pieces]) => {
          const { near, far } = await opened()
          return { reader: new Reader(near, how), near, far, sent: pieces.map((size) => randomBytes(size)) }
        }),
      )
      for (const { near } of all) flow(near)
      for (let at = 0; at < 6; at++) {
        for (const { far, sent } of all) far.write(sent[at] ?? Buffer.alloc(0))
        await turn()
      }
      for (const { far } of all) far.end()
      await eventually(() => all.every(({ reader }) => reader.ended), 'all have ended')
      for (const { reader, sent, near, far } of all) {
        assert.ok(reader.bytes.equals(Buffer.concat(sent)), 'the same bytes')
        near.destroy()
        far.destroy()
      }
    }),
    { numRuns: 60 },
  )
})

test('a transfer is lent, a dialogue is given', async () => {
  const { near, far } = await opened()
  const reader = new Reader(near)
  flow(near)
  far.write('* OK\r\n')
  await eventually(() => reader.length === 6, 'the greeting')
  assert.equal(reader.lent, 0)
  far.write(randomBytes(8 * READ_ROOM))
  await eventually(() => reader.length === 6 + 8 * READ_ROOM, 'all of it')
  const { lent } = reader
  assert.ok(lent > 0, 'whole rooms were lent')
  // One read that doesn't fill the room ends it.
  for (const word of ['+ idling\r\n', '* 1 EXISTS\r\n']) {
    const { length } = reader
    far.write(word)
    await eventually(() => reader.length === length + word.length, word)
  }
  assert.ok(reader.lent <= lent + 1)
  near.destroy()
  far.destroy()
})

test('held, nothing is heard: what comes meanwhile is the next owner’s, with the end behind it', async () => {
  const { near, far } = await opened()
  const first = new Reader(near)
  flow(near)
  far.write('one')
  await eventually(() => first.length === 3, 'the first hears it')
  disown(near)
  far.write('two, ')
  await eventually(() => near.bytesRead === 8, 'it has come')
  far.end('three')
  await eventually(() => near.readableEnded, 'all of it has come')
  const second = new Reader(near)
  await turn()
  assert.deepEqual([second.length, second.ended], [0, false], 'not before it flows')
  flow(near)
  assert.equal(second.length, 0, 'nor from within that call')
  await eventually(() => second.ended, 'the end')
  assert.deepEqual([first.bytes.toString(), second.bytes.toString()], ['one', 'two, three'])
  near.destroy()
  far.destroy()
})

test('an end is told once: to whoever hears it, or to the next owner by hasEnded', async () => {
  const { near, far } = await opened()
  const told: string[] = []
  const owner = (name: string): WireOwner => ({ onData() {}, onError() {}, onClose() {}, onEnd: () => told.push(name) })
  own(near, owner('first'))
  disown(near)
  far.end()
  await eventually(() => near.readableEnded, 'the end')
  assert.equal(hasEnded(near), false, 'nobody has heard it')
  own(near, owner('second'))
  flow(near)
  await eventually(() => told.length > 0, 'it is told')
  disown(near)
  assert.equal(hasEnded(near), true, 'that was all')
  own(near, owner('third'))
  flow(near)
  for (let turns = 0; turns < 3; turns++) await turn()
  assert.deepEqual(told, ['second'])
  near.destroy()
  far.destroy()
})

test('a socket that its owner has paused flows again for the next', async () => {
  const { near, far } = await opened()
  const first = new Reader(near)
  flow(near)
  near.pause()
  disown(near)
  const second = new Reader(near)
  flow(near)
  far.write('hello')
  await eventually(() => second.length === 5, 'it is read')
  assert.equal(first.length, 0)
  near.destroy()
  far.destroy()
})

/** Few bytes come at a time and stay; between them another connection is read, as much as Node's pool holds or more. */
async function waitingTakesLittle(slow: { readonly near: Socket; readonly far: Socket }): Promise<void> {
  const quick = await opened()
  let read = 0
  own(quick.near, { onData: ({ length }) => (read += length), onEnd() {}, onError() {}, onClose() {} })
  flow(quick.near)
  collect()
  const before = process.memoryUsage().arrayBuffers
  for (let piece = 0; piece < 200; piece++) {
    const until = slow.near.bytesRead + 8
    slow.far.write('250 OK\r\n')
    await eventually(() => slow.near.bytesRead === until, 'it has come')
    for (let more = 0; more < 3; more++) {
      const until = read + 24_000
      quick.far.write(Buffer.alloc(24_000))
      await eventually(() => read === until, 'the other is read')
    }
  }
  for (let turns = 0; turns < 20; turns++) {
    await turn()
    collect()
  }
  const grown = process.memoryUsage().arrayBuffers - before
  assert.ok(grown < 2_000_000, `${grown} bytes for 1,600`)
  quick.near.destroy()
  quick.far.destroy()
}

test('few bytes that are held take little memory, whatever else is read meanwhile', async () => {
  const { near, far } = await opened()
  await waitingTakesLittle({ near, far })
  near.destroy()
  far.destroy()
})

test('few bytes that wait for a slow client take little memory, whatever else is read meanwhile', async () => {
  const [client, { near, far }] = await Promise.all([socketPair(), opened()])
  const standing = bridge({ client: client.near, backend: near, idle: 600_000, done: () => {} })
  client.far.socket.pause()
  for (let sent = 0; sent < 10_000 && client.near.writableLength === 0; sent++) {
    far.write(Buffer.alloc(4_096))
    await turn()
  }
  assert.ok(client.near.writableLength > 0, 'the system takes no more')
  await waitingTakesLittle({ near, far })
  standing.end()
  far.destroy()
})

/** Each word is a read of its own, and then the end. */
async function sendApart(near: Socket, far: Socket, words: readonly string[]): Promise<void> {
  for (const word of words) {
    const before = near.bytesRead
    far.write(word)
    await eventually(() => near.bytesRead === before + word.length, word)
  }
  far.end()
  await eventually(() => near.readableEnded, 'the end')
}

test('who hears a piece may hold the next: each is heard once, by one owner', async () => {
  const { near, far } = await opened()
  const pieces: string[] = []
  const owner = {
    onData: (chunk: Buffer) => {
      pieces.push(chunk.toString())
      disown(near)
    },
    onEnd: () => pieces.push('end'),
    onError: () => {},
    onClose: () => {},
  }
  await sendApart(near, far, ['one', 'two', 'three'])
  for (const heard of ['one', 'one two', 'one two three', 'one two three end']) {
    own(near, owner)
    flow(near)
    await eventually(() => pieces.join(' ') === heard, heard)
    for (let turns = 0; turns < 3; turns++) await turn()
    assert.equal(pieces.join(' '), heard)
  }
  near.destroy()
  far.destroy()
})

test('a held socket takes in a mark’s worth and a room, no more, and goes on where it stopped', async () => {
  const { near, far } = await opened()
  const bytes = randomBytes(40 * READ_ROOM)
  far.end(bytes)
  await eventually(() => near.isPaused(), 'it takes in no more')
  for (let turns = 0; turns < 50; turns++) await turn()
  assert.ok(near.bytesRead <= BRIDGE_BUFFER + READ_ROOM, `${near.bytesRead} bytes`)
  const reader = new Reader(near)
  flow(near)
  await eventually(() => reader.ended, 'the end')
  assert.ok(reader.bytes.equals(bytes))
  near.destroy()
  far.destroy()
})

test('what was held may be too much for its owner: it stays paused until the owner resumes it', async () => {
  const { near, far } = await opened()
  const bytes = randomBytes(40 * READ_ROOM)
  far.end(bytes)
  await eventually(() => near.isPaused(), 'it takes in no more')
  const pieces: Buffer[] = []
  let ended = false
  own(near, {
    onData: (chunk) => {
      pieces.push(Buffer.from(chunk))
      if (pieces.length === 1) near.pause()
    },
    onEnd: () => (ended = true),
    onError: () => {},
    onClose: () => {},
  })
  flow(near)
  await eventually(() => pieces.length > 0, 'it hears the first of it')
  const read = near.bytesRead
  for (let turns = 0; turns < 50; turns++) await turn()
  assert.deepEqual([near.isPaused(), near.bytesRead], [true, read])
  near.resume()
  await eventually(() => ended, 'the end')
  assert.ok(Buffer.concat(pieces).equals(bytes))
  near.destroy()
  far.destroy()
})

test('an owner that destroys the socket hears no more of what was held', async () => {
  const { near, far } = await opened()
  await sendApart(near, far, ['one', 'two'])
  const heard: string[] = []
  own(near, {
    onData: (chunk) => {
      heard.push(chunk.toString())
      near.destroy()
    },
    onEnd: () => heard.push('end'),
    onError: () => {},
    onClose: () => heard.push('close'),
  })
  flow(near)
  await eventually(() => heard.includes('close'), 'it is closed')
  assert.deepEqual(heard, ['one', 'close'])
  far.destroy()
})

test('that a held socket breaks is heard at once', async () => {
  const { near, far } = await opened()
  let broken = false
  own(near, { onData() {}, onEnd() {}, onClose() {}, onError: () => (broken = true) })
  far.resetAndDestroy()
  await eventually(() => broken, 'it is told')
})

test('both sides have said their last words before the bridge: it passes them on, and both ends', async () => {
  for (const words of ['* BYE\r\n', '']) {
    const [client, { near, far }] = await Promise.all([socketPair(), opened()])
    const nobody: WireOwner = { onData() {}, onEnd() {}, onError() {}, onClose() {} }
    own(client.near, nobody)
    client.near.resume()
    client.far.socket.end()
    await eventually(() => client.near.readableEnded, 'the client has ended')
    disown(client.near)
    own(near, nobody)
    disown(near)
    if (words !== '') far.write(words)
    far.end()
    await eventually(() => near.readableEnded, 'the backend has ended')
    const results: BridgeResult[] = []
    bridge({ client: client.near, backend: near, idle: 600_000, done: (result) => results.push(result) })
    far.resume()
    await eventually(() => client.far.ended && results.length > 0, `${JSON.stringify(words)}: both ends are told`)
    assert.equal(client.far.received, words)
    assert.equal(results[0]?.bytesOut, words.length)
    far.destroy()
  }
})

test('a bridge carries 40 MB to a client that stops and goes, as they are', async () => {
  const [client, { near, far }] = await Promise.all([socketPair(), opened()])
  const bytes = randomBytes(40_000_000)
  const results: BridgeResult[] = []
  bridge({ client: client.near, backend: near, idle: 600_000, done: (result) => results.push(result) })
  far.end(bytes)
  for (let stops = 0; stops < 20 && !client.far.ended; stops++) {
    client.far.socket.pause()
    for (let turns = 0; turns < 5; turns++) await turn()
    client.far.socket.resume()
    for (let turns = 0; turns < 20; turns++) await turn()
  }
  await eventually(() => client.far.ended, 'the end')
  assert.ok(client.far.bytes.equals(bytes))
  client.far.socket.end()
  await eventually(() => results.length === 1, 'the bridge ends')
  assert.equal(results[0]?.bytesOut, bytes.length)
  far.destroy()
})

test('a slow reader holds at most one room, and what was below its mark before', async () => {
  const [client, { near, far }] = await Promise.all([socketPair(), opened()])
  const results: BridgeResult[] = []
  const standing = bridge({ client: client.near, backend: near, idle: 600_000, done: (result) => results.push(result) })
  client.far.socket.pause()
  far.on('error', () => {})
  far.write(Buffer.alloc(64 * READ_ROOM))
  await eventually(() => client.near.writableNeedDrain && near.isPaused(), 'back-pressure')
  let most = 0
  for (let turns = 0; turns < 500; turns++) {
    await turn()
    most = Math.max(most, client.near.writableLength + near.readableLength)
  }
  assert.ok(most > BRIDGE_BUFFER && most <= READ_ROOM + BRIDGE_BUFFER, `${most} bytes were held`)
  standing.end()
  await eventually(() => results.length === 1, 'the bridge ends')
  client.far.socket.destroy()
  far.destroy()
})
