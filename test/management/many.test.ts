import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { workOff } from '../../src/management/many.ts'

/** Work whose ends a test decides. */
function desk() {
  const open = new Map<number, () => void>()
  const begun: number[] = []
  return {
    open,
    begun,
    work: (item: number): Promise<number> => {
      begun.push(item)
      return new Promise((resolve) => open.set(item, () => resolve(item)))
    },
    async finish(item: number): Promise<void> {
      open.get(item)?.()
      open.delete(item)
      await turn()
    },
  }
}

async function* numbers(to: number, asked: number[] = []): AsyncGenerator<number> {
  for (let i = 1; i <= to; i++) {
    asked.push(i)
    yield i
  }
}

test('all is worked off, so much at a time, and told in the order of completion', async () => {
  const { work, begun, finish } = desk()
  const asked: number[] = []
  const told: number[] = []
  const all = (async () => {
    for await (const done of workOff({ items: numbers(5, asked), work, most: 2, enough: () => false })) told.push(...done)
  })()
  await turn()
  assert.deepEqual([begun, asked], [[1, 2], [1, 2]])
  await finish(2)
  assert.deepEqual([begun, told], [[1, 2, 3], [2]])
  for (const item of [1, 3, 5, 4, 5]) await finish(item)
  await all
  assert.deepEqual(told.toSorted((a, b) => a - b), [1, 2, 3, 4, 5])
  assert.equal(told[0], 2)
})

test('nothing is begun while finished work waits to be taken', async () => {
  const { work, begun, finish } = desk()
  const results = workOff({ items: numbers(9), work, most: 2, enough: () => false })
  const first = results.next()
  await turn()
  await finish(1)
  assert.deepEqual((await first).value, [1])
  await finish(2)
  await turn()
  assert.deepEqual(begun, [1, 2])
})

test('whoever stops taking waits for the work under way, and no more is begun', async () => {
  const { work, begun, finish } = desk()
  const results = workOff({ items: numbers(9), work, most: 3, enough: () => false })
  const first = results.next()
  await turn()
  await finish(1)
  await first
  let over = false
  const end = results.return().then(() => (over = true))
  await turn()
  assert.equal(over, false)
  await finish(2)
  await finish(3)
  await end
  assert.deepEqual(begun, [1, 2, 3])
})

test('enough is enough: what is under way is told, and an item that is still to come is not waited for', async () => {
  const { work, finish } = desk()
  let enough = false
  async function* stuck(): AsyncGenerator<number> {
    yield 1
    await new Promise(() => {})
  }
  const told: number[] = []
  const all = (async () => {
    for await (const done of workOff({ items: stuck(), work, most: 2, enough: () => enough })) told.push(...done)
  })()
  await turn()
  enough = true
  await finish(1)
  await all
  assert.deepEqual(told, [1])
})

test('a list that fails is told after the work under way', async () => {
  const { work, finish } = desk()
  async function* broken(): AsyncGenerator<number> {
    yield 1
    throw new Error('it breaks off')
  }
  const told: number[] = []
  const all = (async () => {
    for await (const done of workOff({ items: broken(), work, most: 2, enough: () => false })) told.push(...done)
  })()
  const rejected = assert.rejects(all, /breaks off/)
  await turn()
  await finish(1)
  await rejected
  assert.deepEqual(told, [1])
})

test('it may be enough at any time: told so, it waits for the work under way and for nothing else', async () => {
  const { work, begun, finish } = desk()
  const stop = new AbortController()
  async function* stuck(): AsyncGenerator<number> {
    yield 1
    await new Promise(() => {})
  }
  const told: number[] = []
  const all = (async () => {
    for await (const done of workOff({ items: stuck(), work, most: 2, enough: () => stop.signal.aborted, stop: stop.signal })) told.push(...done)
  })()
  await turn()
  await finish(1)
  assert.deepEqual(told, [1])
  stop.abort()
  await all
  assert.deepEqual(begun, [1])
})
