import assert from 'node:assert/strict'
import { test } from 'node:test'
import { closedWithin, closeInOrder } from '../../src/primary/closing.ts'
import { FakeClock } from '../support/fake-clock.ts'

/** Parts that close when they are told to. */
function parts(): { readonly calls: string[]; part(name: string): { close(): Promise<void> }; end(name: string, error?: Error): void } {
  const calls: string[] = []
  const ends = new Map<string, PromiseWithResolvers<void>>()
  return {
    calls,
    part: (name) => ({
      close: () => {
        calls.push(name)
        const end = Promise.withResolvers<void>()
        ends.set(name, end)
        return end.promise
      },
    }),
    end: (name, error) => (error === undefined ? ends.get(name)?.resolve() : ends.get(name)?.reject(error)),
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('groups are closed one after the other, their members together, and no timer is left', async () => {
  const clock = new FakeClock()
  const { calls, part, end } = parts()
  const closing = closeInOrder([{ a: part('a') }, { b: part('b'), none: undefined, c: part('c') }])
  const closed = closedWithin(closing, 5_000, clock)
  assert.deepEqual(calls, ['a'])
  end('a')
  await settled()
  assert.deepEqual(calls, ['a', 'b', 'c'])
  end('c')
  await settled()
  assert.deepEqual([...closing.open], ['b'])
  end('b')
  assert.deepEqual(await closed, [])
  assert.equal(clock.pending, 0)
})

test('what takes longer than the bound is named, and not waited for', async () => {
  const clock = new FakeClock()
  const { calls, part, end } = parts()
  let names: readonly string[] | undefined
  const closed = closedWithin(closeInOrder([{ a: part('a') }, { b: part('b'), c: part('c') }]), 5_000, clock).then((open) => (names = open))
  end('a')
  await settled()
  end('b')
  clock.advance(4_999)
  await settled()
  assert.equal(names, undefined)
  clock.advance(1)
  assert.deepEqual(await closed, ['c'])
  assert.deepEqual(calls, ['a', 'b', 'c'])
})

test('a failure is told, and what comes too late disturbs nobody', async () => {
  const clock = new FakeClock()
  const first = parts()
  const closed = closedWithin(closeInOrder([{ a: first.part('a') }]), 5_000, clock)
  first.end('a', new Error('oops'))
  await assert.rejects(closed, /oops/)
  assert.equal(clock.pending, 0)
  const second = parts()
  const late = closedWithin(closeInOrder([{ a: second.part('a') }]), 5_000, clock)
  clock.advance(5_000)
  assert.deepEqual(await late, ['a'])
  second.end('a', new Error('oops'))
  await settled()
})
