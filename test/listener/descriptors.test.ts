import assert from 'node:assert/strict'
import { open } from 'node:fs/promises'
import { test } from 'node:test'
import { DESCRIPTOR_RESERVE, WORKER_DESCRIPTORS } from '../../src/limits.ts'
import {
  descriptorLimit,
  Descriptors,
  descriptorsWanted,
  exhausted,
  openDescriptors,
  parseLimit,
  workerCapacity,
} from '../../src/listener/descriptors.ts'

test('the soft limit is read from what the kernel says of a process', () => {
  const text = (soft: string): string =>
    `Limit                     Soft Limit           Hard Limit           Units     \nMax open files            ${soft.padEnd(20)} 524288               files     \n`
  assert.equal(parseLimit(text('1024')), 1_024)
  assert.equal(parseLimit(text('unlimited')), Number.POSITIVE_INFINITY)
  assert.equal(parseLimit(''), Number.POSITIVE_INFINITY)
  assert.ok(descriptorLimit() > 10)
})

test('what this process has open is counted, one by one', async () => {
  const before = openDescriptors()
  const file = await open(new URL(import.meta.url))
  assert.equal(openDescriptors(), before + 1)
  await file.close()
  assert.equal(openDescriptors(), before)
})

test('a worker has room for connections of two descriptors each, besides its own and the reserve', () => {
  const own = DESCRIPTOR_RESERVE + WORKER_DESCRIPTORS
  assert.equal(workerCapacity(own + 20), 10)
  assert.equal(workerCapacity(own + 21), 10)
  assert.equal(workerCapacity(own + 22), 11)
  assert.equal(workerCapacity(10), 1, 'a limit that leaves nothing still serves somebody')
  assert.equal(workerCapacity(Number.POSITIVE_INFINITY), Number.POSITIVE_INFINITY)
  for (const connections of [1, 2, 3, 100, 8_192]) {
    for (const workers of [1, 2, 5]) assert.ok(workerCapacity(descriptorsWanted(connections, workers)) * workers >= connections)
  }
})

test('the reserve begins where so many are left, connections counted at once and all else when it is measured', () => {
  let open = 10
  const descriptors = new Descriptors({ limit: DESCRIPTOR_RESERVE + 12, open: () => open })
  descriptors.measure()
  assert.equal(descriptors.short, false)
  descriptors.took()
  assert.equal(descriptors.short, false)
  descriptors.took()
  assert.equal(descriptors.short, true)
  // Both connections are among those that are open.
  open = 12
  descriptors.measure()
  assert.equal(descriptors.short, true)
  descriptors.gave()
  assert.equal(descriptors.short, false)
  open = 13
  descriptors.measure()
  assert.equal(descriptors.short, true)
})

test('with the reserve alone, or less, there is nothing for a connection', () => {
  assert.equal(exhausted(DESCRIPTOR_RESERVE + 30, 29), false)
  assert.equal(exhausted(DESCRIPTOR_RESERVE + 30, 30), true)
  assert.equal(exhausted(DESCRIPTOR_RESERVE, 0), true)
  assert.equal(exhausted(Number.POSITIVE_INFINITY, 100_000), false)
})

test('without a limit nobody counts', () => {
  const descriptors = new Descriptors({
    limit: Number.POSITIVE_INFINITY,
    open: () => {
      throw new Error('asked')
    },
  })
  descriptors.measure()
  assert.equal(descriptors.short, false)
})
