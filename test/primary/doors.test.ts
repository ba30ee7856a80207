import assert from 'node:assert/strict'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import type { NumberedListener } from '../../src/listener/numbered.ts'
import { Doors } from '../../src/primary/doors.ts'
import { testListener } from '../support/config.ts'
import { freePorts } from '../support/ports.ts'
import { eventually } from '../support/settled.ts'
import { Peer } from '../support/socket-pair.ts'

function house(context: TestContext) {
  const accepted: { readonly number: number; readonly socket: Socket }[] = []
  const doors = new Doors({ accept: (socket, { number }) => accepted.push({ number, socket }), failed: () => {} })
  const clients: Peer[] = []
  context.after(() => {
    doors.close()
    for (const { socket } of [...clients, ...accepted]) socket.destroy()
  })
  return {
    doors,
    accepted,
    numbers: () => accepted.map(({ number }) => number),
    dial(port: number): Peer {
      const client = new Peer(connect({ port, host: '127.0.0.1' }))
      clients.push(client)
      return client
    },
  }
}

function listener(number: number, name: string, ...ports: readonly number[]): NumberedListener {
  const bind = ports.map((port) => ({ host: '127.0.0.1', port, family: 4 as const, text: `127.0.0.1:${port}` }))
  return { number, listener: testListener({ name, bind }) }
}

test('a socket whose address stays goes over to its new listener; others are opened and closed', async (context) => {
  const { doors, dial, numbers, accepted } = house(context)
  const [kept = 0, gone = 0, added = 0] = await freePorts(3)
  ;(await doors.prepare([listener(0, 'a', kept), listener(1, 'b', gone)])).commit()
  dial(kept)
  dial(gone)
  await eventually(() => accepted.length === 2, 'both are accepted')
  const change = await doors.prepare([listener(2, 'other', kept, added)])
  // Nothing has changed yet.
  dial(kept)
  await eventually(() => accepted.length === 3, 'it is accepted')
  assert.deepEqual(numbers().toSorted((one, other) => one - other), [0, 0, 1])
  change.commit()
  dial(kept)
  dial(added)
  await eventually(() => accepted.length === 5, 'they are accepted')
  assert.deepEqual(numbers().slice(3), [2, 2])
  const refused = dial(gone)
  await eventually(() => refused.closed, 'nobody listens there')
  assert.deepEqual(new Set(doors.addresses.map(({ port }) => port)), new Set([kept, added]))
  // Who was accepted before isn't concerned.
  assert.ok(accepted.every(({ socket }) => !socket.destroyed))
})

test('who comes to a new socket before the change is decided waits, and is accepted or closed with it', async (context) => {
  const { doors, dial, numbers, accepted } = house(context)
  const [first = 0, second = 0] = await freePorts(2)
  ;(await doors.prepare([listener(0, 'a', first)])).commit()
  const change = await doors.prepare([listener(0, 'a', first), listener(1, 'b', second)])
  const early = dial(second)
  // A connection of a client that is accepted after it has gone through the same event loop.
  dial(first)
  await eventually(() => accepted.length === 1, 'the other is accepted')
  change.commit()
  await eventually(() => accepted.length === 2, 'it is accepted')
  assert.deepEqual(numbers(), [0, 1])
  assert.equal(early.gone, false)
  const [third = 0] = await freePorts(1)
  const given = await doors.prepare([listener(0, 'a', first), listener(1, 'b', second), listener(2, 'c', third)])
  const late = dial(third)
  dial(first)
  await eventually(() => accepted.length === 3, 'the other is accepted')
  given.abort()
  await eventually(() => late.closed, 'it is closed')
  assert.equal(accepted.length, 3)
  const refused = dial(third)
  await eventually(() => refused.closed, 'nobody listens there')
})

test('an address that cannot be bound: each is named, nothing that was bound for the change stays, the rest goes on', async (context) => {
  const { doors, dial, numbers, accepted } = house(context)
  const others = [createServer(), createServer()]
  const taken = await Promise.all(
    others.map(async (other) => {
      await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
      return (other.address() as AddressInfo).port
    }),
  )
  const [open = 0, free = 0] = await freePorts(2)
  ;(await doors.prepare([listener(0, 'a', open)])).commit()
  await assert.rejects(doors.prepare([listener(1, 'b', free, ...taken)]), (error) => {
    assert.ok(error instanceof Error && 'code' in error && error.cause instanceof AggregateError)
    assert.equal(error.code, 'LISTEN_FAILED')
    const messages = error.cause.errors.map((one: unknown) => (one instanceof Error ? one.message : ''))
    assert.deepEqual(messages.map((message) => /^listener "b" cannot listen on 127\.0\.0\.1:(\d+): /.exec(message)?.[1]), taken.map(String))
    return true
  })
  const refused = dial(free)
  await eventually(() => refused.closed, 'nobody listens there')
  dial(open)
  await eventually(() => accepted.length === 1, 'it is accepted')
  assert.deepEqual(numbers(), [0])
  await assert.rejects(doors.prepare([listener(1, 'b', taken[0] ?? 0)]), { code: 'LISTEN_FAILED', message: /"b" cannot listen/ })
  for (const other of others) other.close()
})

test('two spellings of an address are one socket, and ports that the kernel chooses are each their own', async (context) => {
  const { doors, accepted, dial } = house(context)
  const [port = 0] = await freePorts(1)
  const spelled = (host: string): NumberedListener => ({
    number: 5,
    listener: testListener({ name: 'six', bind: [{ host, port, family: 6, text: `[${host}]:${port}` }] }),
  })
  ;(await doors.prepare([spelled('::1'), listener(1, 'a', 0), listener(2, 'b', 0)])).commit()
  const ports = doors.addresses.map((address) => address.port)
  assert.equal(new Set(ports).size, 3)
  ;(await doors.prepare([spelled('0:0:0:0:0:0:0:1'), listener(1, 'a', 0), listener(2, 'b', 0)])).commit()
  assert.deepEqual(doors.addresses.map((address) => address.port), ports)
  for (const { port: one } of doors.addresses.slice(1)) dial(one)
  await eventually(() => accepted.length === 2, 'both are accepted')
})

test('a change that is decided after the end opens nothing', async (context) => {
  const { doors, dial } = house(context)
  const [port = 0] = await freePorts(1)
  const change = await doors.prepare([listener(0, 'a', port)])
  doors.close()
  change.commit()
  const refused = dial(port)
  await eventually(() => refused.closed, 'nobody listens there')
})
