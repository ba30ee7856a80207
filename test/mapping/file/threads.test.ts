import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { Threads } from '../../../src/mapping/file/threads.ts'
import { mistakesOf } from '../../../src/mapping/mistakes.ts'
import { hasCode } from '../../conformance/mapping-source.ts'
import { eventually } from '../../support/settled.ts'
import { makeTemporary } from '../../support/temporary.ts'

const task = (path: string): { path: string; normalize: 'none'; destinations: string[] } => ({
  path,
  normalize: 'none',
  destinations: ['legacy'],
})

describe('the threads for mapping files', () => {
  it('reject what waits for a thread that dies as it starts, and go on', async () => {
    await using directory = await makeTemporary('mapping')
    const path = join(directory.path, 'mappings')
    await writeFile(path, 'a legacy\n')
    const threads = new Threads(assert.fail)
    for (let round = 0; round < 3; round++) {
      const loads = Promise.allSettled([threads.run('load', task(path)), threads.run('load', task(path)), threads.run('load', task(path))])
      await threads.kill()
      // What had no thread yet may have found a later one; but nothing waits for ever.
      for (const outcome of await loads) if (outcome.status === 'rejected') assert.ok(hasCode('SOURCE_UNAVAILABLE')(outcome.reason))
      assert.equal((await threads.run('load', task(path))).table.count, 1)
      await threads.kill()
    }
    await threads.close()
  })

  it('do not take the process with them when they die idle', async () => {
    await using directory = await makeTemporary('mapping')
    const path = join(directory.path, 'mappings')
    await writeFile(path, 'a legacy\n')
    const threads = new Threads(assert.fail)
    await threads.run('load', task(path))
    await threads.kill()
    await eventually(() => threads.count === 0, 'the thread is gone')
    assert.equal((await threads.run('load', task(path))).table.count, 1)
    await threads.close()
  })

  it('hand an error of ours over with its code and mistakes', async () => {
    await using directory = await makeTemporary('mapping')
    const path = join(directory.path, 'mappings')
    await writeFile(path, 'a nowhere\n')
    const threads = new Threads(assert.fail)
    const error: unknown = await threads.run('load', task(path)).then(() => undefined, (thrown: unknown) => thrown)
    assert.ok(hasCode('SOURCE_INVALID')(error))
    assert.deepEqual(mistakesOf(error), { mistakes: [{ line: 1, message: 'destination "nowhere" is not declared' }], more: 0 })
    await threads.close()
  })
})
