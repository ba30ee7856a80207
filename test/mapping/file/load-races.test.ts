/** What happens to the path between the look at a mapping file and its reading: both are done to one descriptor, so nothing can come between. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { afterEach, describe, mock, test } from 'node:test'
import { load } from '../../../src/mapping/file/load.ts'
import type { Loaded } from '../../../src/mapping/file/load.ts'
import { hasCode } from '../../conformance/mapping-source.ts'
import { makeTemporary } from '../../support/temporary.ts'

/** Loads a file of two mappings while `meanwhile` is done to its path, once, right before the first byte is read. */
async function loaded(meanwhile: (path: string) => void): Promise<Loaded> {
  await using directory = await makeTemporary('races')
  const path = join(directory.path, 'mappings')
  writeFileSync(path, 'ann\tone\nbob\tone\n')
  const read = fs.readSync
  let done = false
  mock.method(fs, 'readSync', (...args: Parameters<typeof read>): number => {
    if (!done) meanwhile(path)
    done = true
    return read(...args)
  })
  syncBuiltinESMExports()
  const result = load({ path, normalize: 'none', destinations: ['one', 'two'] })
  assert.ok(done, 'it was read')
  return result
}

describe('a mapping file whose path changes between check and read', () => {
  afterEach(() => {
    mock.restoreAll()
    syncBuiltinESMExports()
  })

  test('removed: never a part of it, and no wait', async () => {
    await assert.rejects(loaded((path) => rmSync(path)), hasCode('SOURCE_UNAVAILABLE'))
  })

  test('a FIFO or a directory in its place: refused, without waiting for anybody', async () => {
    const fifo = (path: string): void => {
      rmSync(path)
      assert.equal(spawnSync('mkfifo', [path]).status, 0)
    }
    await assert.rejects(loaded(fifo), hasCode('SOURCE_INVALID'))
    const directory = (path: string): void => {
      rmSync(path)
      mkdirSync(path)
    }
    await assert.rejects(loaded(directory), hasCode('SOURCE_INVALID'))
  })

  test('another file in its place: that one, whole', async () => {
    const { fingerprint } = await loaded((path) => {
      rmSync(path)
      writeFileSync(path, 'carol\ttwo\n')
    })
    assert.match(fingerprint, /:10:\d+:\d+$/, 'the size is that of the new one')
  })

  test('longer than at the check: read again', async () => {
    const { fingerprint } = await loaded((path) => writeFileSync(path, 'carol\ttwo\n', { flag: 'a' }))
    assert.match(fingerprint, /:26:\d+:\d+$/)
  })
})
