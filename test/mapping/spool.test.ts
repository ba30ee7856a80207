import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { test } from 'node:test'
import { MAPPING_BATCH } from '../../src/limits.ts'
import { mistakesOf } from '../../src/mapping/mistakes.ts'
import type { Mapping } from '../../src/mapping/source.ts'
import { spool } from '../../src/mapping/spool.ts'
import { hasCode } from '../conformance/mapping-source.ts'

function* numbered(count: number): Generator<Mapping> {
  for (let i = 0; i < count; i++) yield { identifier: `user\u2028${i}`, destination: `d\u2029${i % 3}` }
}

async function all(mappings: Iterable<Mapping>): Promise<{ read: Mapping[]; largest: number }> {
  await using spooled = await spool(mappings)
  const read: Mapping[] = []
  let largest = 0
  for await (const batch of spooled.batches()) {
    largest = Math.max(largest, batch.length)
    read.push(...batch)
  }
  return { read, largest }
}

function left(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('signalbox-import-'))
}

for (const count of [0, 1, MAPPING_BATCH - 1, MAPPING_BATCH, MAPPING_BATCH + 1, 3 * MAPPING_BATCH + 7]) {
  test(`${count} mappings come out as they went in, no more than a batch at a time`, async () => {
    const before = left()
    const { read, largest } = await all(numbered(count))
    assert.deepEqual(read, [...numbered(count)])
    assert.equal(largest, Math.min(count, MAPPING_BATCH))
    assert.deepEqual(left(), before)
  })
}

test('of one identifier twice in a batch the later one stays', async () => {
  const { read } = await all([{ identifier: 'a', destination: 'x' }, { identifier: 'a', destination: 'y' }])
  assert.deepEqual(read, [{ identifier: 'a', destination: 'y' }])
})

test('every mistake is counted, the first ones are named by number, nothing is left on the disk', async () => {
  const before = left()
  function* wrong(): Generator<Mapping> {
    yield* numbered(2 * MAPPING_BATCH)
    for (let i = 0; i < 30; i++) yield { identifier: 'with space', destination: 'x' }
  }
  await assert.rejects(spool(wrong()), (error) => {
    const found = mistakesOf(error)
    assert.equal(found?.mistakes[0]?.line, 2 * MAPPING_BATCH + 1)
    assert.equal(found?.more, 10)
    assert.doesNotMatch(String(error), /with space/)
    return hasCode('SOURCE_INVALID')(error)
  })
  assert.deepEqual(left(), before)
})

test('a stream that breaks off says its own error, early and late', async () => {
  const before = left()
  for (const count of [1, 2 * MAPPING_BATCH]) {
    const gone = new Error('gone')
    function* broken(): Generator<Mapping> {
      yield* numbered(count)
      throw gone
    }
    await assert.rejects(spool(broken()), (error) => error === gone)
  }
  assert.deepEqual(left(), before)
})
