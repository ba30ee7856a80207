import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { PREAUTH_CONNECTION } from '../../src/limits.ts'
import { PreauthMemory } from '../../src/session/preauth-memory.ts'
import { eventually } from '../support/settled.ts'
import { sessionRig } from './rig.ts'

/** A memory for so many connections that hold nothing, and the names of those that had to go. */
function room(connections: number, extra = 0) {
  const memory = new PreauthMemory(connections * PREAUTH_CONNECTION + extra)
  const gone: string[] = []
  return { memory, gone, enter: (name: string) => memory.enter({ crowdOut: () => void gone.push(name) }) }
}

test('as many as there is room for stay; one more, and the oldest goes', () => {
  const { gone, enter } = room(3)
  for (const name of ['a', 'b', 'c']) enter(name)
  assert.deepEqual(gone, [])
  enter('d')
  assert.deepEqual(gone, ['a'])
  enter('e')
  assert.deepEqual(gone, ['a', 'b'])
})

test('what the dialogues hold counts to the byte, and what they have let go does not', () => {
  const { gone, enter, memory } = room(2, 100)
  enter('a')
  const b = enter('b')
  b.holds(100)
  assert.deepEqual(gone, [])
  b.holds(50)
  b.holds(100)
  assert.equal(memory.sum, 2 * PREAUTH_CONNECTION + 100)
  b.holds(101)
  assert.deepEqual(gone, ['a'])
})

test('who has logged in, or went, makes room, however often it is said', () => {
  const { gone, enter, memory } = room(2)
  const a = enter('a')
  enter('b')
  a.leave()
  a.leave()
  a.holds(1_000_000)
  enter('c')
  assert.deepEqual([gone, memory.sum], [[], 2 * PREAUTH_CONNECTION])
})

test('a single connection that holds more than all may goes itself', () => {
  const { gone, enter, memory } = room(1)
  enter('a').holds(1)
  assert.deepEqual([gone, memory.sum], [['a'], 0])
})

test('whatever comes in whatever order, the sum is that of those who stayed, and only the oldest went', () => {
  const step = fc.record({ do: fc.constantFrom('enter' as const, 'holds' as const, 'leave' as const), who: fc.nat(30), bytes: fc.nat(100_000) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 1, max: 6 }), (steps, connections) => {
      const max = connections * PREAUTH_CONNECTION
      const memory = new PreauthMemory(max)
      const here = new Map<number, number>()
      const occupants: ReturnType<PreauthMemory['enter']>[] = []
      for (const { do: what, who, bytes } of steps) {
        if (what === 'enter') {
          const id = occupants.length
          here.set(id, PREAUTH_CONNECTION)
          occupants.push(
            memory.enter({
              crowdOut: () => {
                assert.equal([...here.keys()][0], id, 'the oldest goes')
                here.delete(id)
              },
            }),
          )
        } else if (what === 'holds' && here.has(who)) {
          here.set(who, PREAUTH_CONNECTION + bytes)
          occupants[who]?.holds(bytes)
        } else if (what === 'leave') {
          here.delete(who)
          occupants[who]?.leave()
        }
        const sum = [...here.values()].reduce((total, held) => total + held, 0)
        assert.equal(memory.sum, sum)
        assert.ok(sum <= max)
      }
    }),
  )
})

test('a session that has to go says so, in whatever stage before its login it is, and one that is bridged stays', async () => {
  for (const stage of ['greeted', 'dial', 'replay', 'bridge'] as const) {
    const memory = new PreauthMemory(PREAUTH_CONNECTION)
    const rig = await sessionRig({ services: { preauth: memory } })
    await eventually(() => rig.client.received === 'HELLO\n', 'the greeting')
    if (stage === 'dial') await rig.toDial('a')
    if (stage === 'replay') await rig.toReplay('a')
    if (stage === 'bridge') await rig.toBridge('a')
    memory.enter({ crowdOut: () => {} })
    if (stage === 'bridge') {
      assert.equal(memory.sum, PREAUTH_CONNECTION)
      await rig.kick('a')
      assert.equal((await rig.ends()).reason, 'kicked')
      continue
    }
    const { reason, error } = await rig.ends()
    assert.deepEqual([stage, reason, error?.code], [stage, 'error', 'CLIENT_CROWDED_OUT'])
    assert.equal(rig.client.received, 'HELLO\nBUSY\n')
  }
})

test('what a client sends and nobody has read yet counts', async () => {
  const memory = new PreauthMemory(PREAUTH_CONNECTION + 100)
  const rig = await sessionRig({ services: { preauth: memory } })
  rig.client.send('x'.repeat(100))
  await eventually(() => memory.sum === PREAUTH_CONNECTION + 100, 'it is counted')
  rig.client.send('x')
  const { error } = await rig.ends()
  assert.equal(error?.code, 'CLIENT_CROWDED_OUT')
  assert.equal(memory.sum, 0)
})

test('a connection in the middle of its TLS handshake goes without a word', async () => {
  const memory = new PreauthMemory(PREAUTH_CONNECTION)
  let begun = false
  const rig = await sessionRig({
    listener: { tls: 'implicit' },
    tls: {
      accept: (socket, cancel) =>
        new Promise((_, reject) => {
          begun = true
          cancel.addEventListener('abort', () => {
            socket.destroy()
            reject(cancel.reason)
          })
        }),
    },
    services: { preauth: memory },
  })
  await eventually(() => begun, 'the handshake')
  memory.enter({ crowdOut: () => {} })
  const { error } = await rig.ends()
  assert.deepEqual([error?.code, rig.client.received], ['CLIENT_CROWDED_OUT', ''])
})
