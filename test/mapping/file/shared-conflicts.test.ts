/** Somebody who knows no lock changes a shared file under each write: it is begun anew so often, and no more. */
import assert from 'node:assert/strict'
import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { mock, test } from 'node:test'
import { systemClock } from '../../../src/clock.ts'
import { SHARED_TRIES } from '../../../src/limits.ts'
import { openFileSource } from '../../../src/mapping/file/source.ts'
import { hasCode } from '../../conformance/mapping-source.ts'
import { makeTemporary } from '../../support/temporary.ts'

/** How often a write was tried, and what came of it, with somebody at the file before so many of the tries. */
async function disturbed(times: number): Promise<{ tries: number; failure: unknown; text: string }> {
  await using directory = await makeTemporary('shared')
  const path = join(directory.path, 'mappings')
  await writeFile(path, 'first\tlegacy\n')
  const source = await openFileSource({ config: { path, watch: false, shared: true }, normalize: 'none', destinations: ['legacy', 'stalwart'], clock: systemClock, warn: () => {} })
  let tries = 0
  // Every write passes here, when what others have written was taken over and before the file is replaced.
  const run = source.threads.run.bind(source.threads)
  mock.method(source.threads, 'run', async (...args: Parameters<typeof run>) => {
    if (args[0] === 'rewrite' && tries++ < times) await appendFile(path, `other${tries}\tlegacy\n`)
    return run(...args)
  })
  try {
    const failure = await source.put('second', 'stalwart').then(() => undefined, (error: unknown) => error)
    return { tries, failure, text: await readFile(path, 'utf8') }
  } finally {
    await source.close()
  }
}

test('disturbed before all tries but the last, it is written; before all of them, it is a conflict, and nothing was written', async () => {
  const last = await disturbed(SHARED_TRIES - 1)
  assert.deepEqual([last.tries, last.failure], [SHARED_TRIES, undefined])
  assert.match(last.text, /^second\tstalwart$/m)
  const none = await disturbed(SHARED_TRIES)
  assert.equal(none.tries, SHARED_TRIES)
  assert.ok(hasCode('SOURCE_CONFLICT')(none.failure), String(none.failure))
  assert.doesNotMatch(none.text, /second/)
  for (let other = 1; other <= SHARED_TRIES; other++) assert.match(none.text, new RegExp(`^other${other}\tlegacy$`, 'm'))
})
