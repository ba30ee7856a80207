import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { disown, own, unwire } from '../src/wire.ts'
import type { WireOwner } from '../src/wire.ts'
import { eventually } from './support/settled.ts'
import { socketPair } from './support/socket-pair.ts'

class Listener implements WireOwner {
  heard = ''
  onData(chunk: Buffer): void {
    this.heard += chunk.toString()
  }
  onEnd(): void {
    this.heard += '<end>'
  }
  onError(error: Error): void {
    this.heard += `<${error.message}>`
  }
  onClose(): void {
    this.heard += '<close>'
  }
  onTimeout(): void {
    this.heard += '<timeout>'
  }
}

test('a socket is heard by one owner after the other, and each byte by one of them', async () => {
  const { near, far } = await socketPair()
  const [first, second] = [new Listener(), new Listener()]
  own(near, first)
  near.resume()
  far.send('one ')
  await eventually(() => first.heard === 'one ', 'the first hears it')
  disown(near)
  far.send('two ')
  for (let turns = 0; turns < 5; turns++) await turn()
  own(near, second)
  near.resume()
  await eventually(() => second.heard === 'two ', 'the second hears what came meanwhile')
  far.socket.end('three')
  await eventually(() => second.heard === 'two three<end>', 'and the end')
  near.destroy(new Error('torn'))
  await eventually(() => second.heard.endsWith('<torn><close>'), 'and what became of it')
  assert.equal(first.heard, 'one ')
})

test('the error of a socket that nobody owns ends nothing', async () => {
  const { near } = await socketPair()
  own(near, new Listener())
  disown(near)
  const closed = new Promise((resolve) => near.once('close', resolve))
  near.destroy(new Error('unheard'))
  await closed
})

test('owners may change as often as they like: there are never more listeners; taken off, there are none', async () => {
  const { near } = await socketPair()
  const counted = (): number => near.eventNames().reduce((sum, name) => sum + near.listenerCount(name), 0)
  const bare = counted()
  own(near, new Listener())
  const wired = counted()
  for (let times = 0; times < 5; times++) {
    disown(near)
    own(near, new Listener())
  }
  assert.equal(counted(), wired)
  unwire(near)
  assert.equal(counted(), bare)
  const again = new Listener()
  own(near, again)
  near.destroy()
  await eventually(() => again.heard === '<close>', 'it can be wired again')
})
