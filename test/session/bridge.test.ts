import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { systemClock } from '../../src/clock.ts'
import { BRIDGE_BUFFER, KEEPALIVE_IDLE_MS, KEEPALIVE_INTERVAL_MS, KEEPALIVE_PROBES } from '../../src/limits.ts'
import { bridge } from '../../src/session/bridge.ts'
import type { Bridge, BridgeResult } from '../../src/session/bridge.ts'
import { eventually } from '../support/settled.ts'
import { socketPair } from '../support/socket-pair.ts'
import type { SocketPair } from '../support/socket-pair.ts'

interface Bridged {
  readonly client: SocketPair
  readonly backend: SocketPair
  readonly bridge: Bridge
  readonly results: BridgeResult[]
  readonly over: () => Promise<BridgeResult>
}

async function bridged(idle = 600_000): Promise<Bridged> {
  const [client, backend] = await Promise.all([socketPair(), socketPair()])
  const results: BridgeResult[] = []
  const over = async (): Promise<BridgeResult> => {
    await eventually(() => results.length > 0, 'the bridge ends')
    for (let turns = 0; turns < 3; turns++) await turn()
    assert.equal(results.length, 1, 'its end is told once')
    assert.ok(client.near.destroyed && backend.near.destroyed)
    return results[0] as BridgeResult
  }
  return {
    client,
    backend,
    results,
    over,
    bridge: bridge({ client: client.near, backend: backend.near, idle, done: (result) => results.push(result) }),
  }
}

test('bytes pass both ways as they are, and are counted', async () => {
  const { client, backend, over } = await bridged()
  const there = randomBytes(3_000_000)
  const back = randomBytes(1_000_000)
  client.far.socket.end(there)
  backend.far.socket.end(back)
  await eventually(() => client.far.ended && backend.far.ended, 'both ends')
  assert.ok(backend.far.bytes.equals(there) && client.far.bytes.equals(back))
  const { bytesIn, bytesOut } = await over()
  assert.deepEqual([bytesIn, bytesOut], [there.length, back.length])
})

test('what lay in a socket’s buffer at the hand-over passes and is counted too', async () => {
  const [client, backend] = await Promise.all([socketPair(), socketPair()])
  backend.far.send('early words')
  await new Promise<void>((resolve) => {
    backend.near.once('readable', resolve)
  })
  backend.near.removeAllListeners('readable')
  const results: BridgeResult[] = []
  bridge({ client: client.near, backend: backend.near, idle: 600_000, done: (result) => results.push(result) })
  await eventually(() => client.far.received === 'early words', 'the early words')
  client.far.socket.end()
  backend.far.socket.end()
  await eventually(() => results.length === 1, 'the end')
  assert.equal(results[0]?.bytesOut, 'early words'.length)
})

test('the end of either half is passed on and the other half goes on', async () => {
  for (const first of ['client', 'backend'] as const) {
    const both = await bridged()
    const { [first]: ender, [first === 'client' ? 'backend' : 'client']: other } = both
    ender.far.socket.end('last words')
    await eventually(() => other.far.ended, 'the half-close')
    assert.equal(other.far.received, 'last words')
    other.far.send('still here')
    await eventually(() => ender.far.received === 'still here', 'the other half')
    assert.equal(both.results.length, 0)
    other.far.socket.end()
    assert.equal((await both.over()).reason, first)
  }
})

test('a side that closes in good order does not cut off what is still on its way to the other', async () => {
  for (const [sender, reader] of [['client', 'backend'], ['backend', 'client']] as const) {
    const both = await bridged()
    const from = both[sender]
    const to = both[reader]
    to.far.socket.pause()
    // The reader says its own last word first, then reads nothing for a while.
    to.far.socket.end()
    await eventually(() => from.far.ended, 'the reader’s end')
    const content = randomBytes(8_000_000)
    from.far.socket.end(content)
    // The bridge has taken all it will take; the reader begins only now.
    await eventually(() => to.near.writableLength > 0, 'the bridge waits for the reader')
    for (let turns = 0; turns < 50; turns++) await turn()
    to.far.socket.resume()
    await eventually(() => to.far.ended, 'the end')
    assert.equal(hash(to.far.bytes), hash(content), `${sender} to ${reader}`)
    assert.equal((await both.over()).reason, reader)
  }
})

test('the last bytes reach a reader that begins only after their sender has gone for good', async () => {
  const both = await bridged()
  both.backend.far.socket.pause()
  both.backend.far.socket.end()
  await eventually(() => both.client.far.ended, 'the backend’s end')
  // As much as fits on the way, and a little that stays with the bridge.
  let sent = 0
  while (both.backend.near.writableLength === 0) {
    both.client.far.socket.write(Buffer.alloc(16_384, sent % 251))
    sent += 16_384
    await turn()
  }
  both.client.far.socket.end()
  for (let turns = 0; turns < 200; turns++) await turn()
  both.backend.far.socket.resume()
  await eventually(() => both.backend.far.ended, 'the end')
  assert.equal(both.backend.far.bytes.length, sent)
  await both.over()
})

test('a reset on either side closes the other at once', async () => {
  for (const first of ['client', 'backend'] as const) {
    const both = await bridged()
    both[first].far.socket.resetAndDestroy()
    await eventually(() => both[first === 'client' ? 'backend' : 'client'].far.gone, 'the other side')
    assert.equal((await both.over()).reason, `${first}-error`)
  }
})

test('ending it closes both sides at once, twice is once', async () => {
  const both = await bridged()
  both.bridge.end()
  both.bridge.end()
  assert.equal((await both.over()).reason, 'ended')
  await eventually(() => both.client.far.gone && both.backend.far.gone, 'both see it')
})

test('a slow reader holds less than four times the mark at which a socket stops taking in', async () => {
  for (const [sender, reader] of [['client', 'backend'], ['backend', 'client']] as const) {
    const both = await bridged()
    const from = both[sender]
    const to = both[reader]
    assert.deepEqual([from.near.readableHighWaterMark, to.near.writableHighWaterMark], [BRIDGE_BUFFER, BRIDGE_BUFFER])
    to.far.socket.pause()
    let stopped = false
    const content = Buffer.alloc(60_000)
    const pump = (): void => {
      while (from.far.socket.write(content)) if (stopped) return
      if (!stopped) from.far.socket.once('drain', pump)
    }
    pump()
    await eventually(() => to.near.writableNeedDrain && from.near.isPaused(), 'back-pressure')
    let most = 0
    for (let turns = 0; turns < 500; turns++) {
      await turn()
      most = Math.max(most, to.near.writableLength + from.near.readableLength)
    }
    stopped = true
    assert.ok(most >= BRIDGE_BUFFER && most < 4 * BRIDGE_BUFFER, `${most} bytes were held`)
    both.bridge.end()
    await both.over()
    from.far.socket.destroy()
    to.far.socket.destroy()
  }
})

test('a bridge without a byte in either direction ends as idle; bytes in one direction keep it', async () => {
  const idle = await bridged(50)
  assert.equal((await idle.over()).reason, 'idle')

  const busy = await bridged(600)
  let longest = 0
  for (let last = systemClock.now(), bytes = 0; bytes < 12; bytes++) {
    await systemClock.sleep(100)
    busy.backend.far.send('x')
    longest = Math.max(longest, systemClock.now() - last)
    last = systemClock.now()
  }
  // On a machine that stood still itself for that long it may have ended.
  if (longest < 300) assert.equal(busy.results.length, 0)
  assert.equal((await busy.over()).reason, 'idle')
})

test('a reader that never takes the rest does not keep the bridge beyond the idle time', async () => {
  const both = await bridged(300)
  both.backend.far.socket.pause()
  both.backend.far.socket.end()
  await eventually(() => both.client.far.ended, 'the backend’s end')
  both.client.far.socket.end(Buffer.alloc(16_000_000))
  await both.over()
  both.backend.far.socket.destroy()
})

function hash(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

test('a bridge that has lasted gets TCP keepalive on both sockets that are still open', async () => {
  const { client, backend, bridge, over } = await bridged()
  const set: unknown[][] = []
  for (const { near } of [client, backend]) {
    near.setKeepAlive = (...options) => {
      set.push(options)
      return near
    }
  }
  bridge.keepAlive()
  const options = [true, KEEPALIVE_IDLE_MS, KEEPALIVE_INTERVAL_MS, KEEPALIVE_PROBES]
  assert.deepEqual(set, [options, options])
  bridge.end()
  bridge.keepAlive()
  assert.equal(set.length, 2)
  assert.equal((await over()).reason, 'ended')
})
