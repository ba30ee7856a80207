import assert from 'node:assert/strict'
import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '../../../src/clock.ts'
import { SHARED_LOCK_STALE_MS, SHARED_LOCK_WAIT_MS } from '../../../src/limits.ts'
import { fingerprintAtSync } from '../../../src/mapping/file/fingerprint.ts'
import { FileLock, isHeld } from '../../../src/mapping/file/lock.ts'
import { replaceFile } from '../../../src/mapping/file/replace.ts'
import { hasCode } from '../../conformance/mapping-source.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { makeTemporary } from '../../support/temporary.ts'

const LOCK = '.mappings.signalbox-lock'
/** Somebody of another host. */
const foreign = (beat: number): string => `stranger elsewhere 1 ${String(beat).padStart(10, '0')}\n`

test('two take turns: never both at once, and nothing is left', async () => {
  await using directory = await makeTemporary('lock')
  const target = join(directory.path, 'mappings')
  let inside = 0
  let turns = 0
  const take = async (lock: FileLock): Promise<void> => {
    for (let i = 0; i < 20; i++) {
      await lock.hold(async (held) => {
        assert.equal(++inside, 1)
        assert.ok(isHeld(held))
        for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
        inside--
        turns++
      })
    }
  }
  await Promise.all([1, 2, 3].map(() => take(new FileLock(async () => target, systemClock))))
  assert.equal(turns, 60)
  assert.deepEqual(await readdir(directory.path), [])
})

test('work that fails gives the lock back and fails', async () => {
  await using directory = await makeTemporary('lock')
  const lock = new FileLock(async () => join(directory.path, 'mappings'), systemClock)
  await assert.rejects(lock.hold(() => Promise.reject(new Error('as asked'))), /as asked/)
  assert.equal(await lock.hold(async () => 'again'), 'again')
  assert.deepEqual(await readdir(directory.path), [])
})

/** Lets time pass in small steps until it is over. Bounded. */
async function pass(clock: FakeClock, ms: number): Promise<void> {
  for (let at = 0; at < ms; at += 250) {
    clock.advance(250)
    // A try is a handful of steps at the file system.
    for (let turn = 0; turn < 3; turn++) await readFile('/dev/null')
  }
}

test('a holder whose counter stands still is dead after a while, and not before', async () => {
  await using directory = await makeTemporary('lock')
  const path = join(directory.path, LOCK)
  await writeFile(path, foreign(7))
  const clock = new FakeClock()
  const had: string[] = []
  const taking = new FileLock(async () => join(directory.path, 'mappings'), clock).hold(async () => {
    had.push('the lock')
  })
  await pass(clock, SHARED_LOCK_STALE_MS - 1_000)
  assert.deepEqual(had, [])
  assert.equal(await readFile(path, 'utf8'), foreign(7))
  for (let more = 0; more < 100 && had.length === 0; more++) await pass(clock, 1_000)
  await taking
  assert.deepEqual(had, ['the lock'])
  assert.deepEqual(await readdir(directory.path), [])
})

test('a holder whose counter moves is waited for, but not for ever, and keeps the lock', async () => {
  await using directory = await makeTemporary('lock')
  const path = join(directory.path, LOCK)
  await writeFile(path, foreign(0))
  const clock = new FakeClock()
  const taking = new FileLock(async () => join(directory.path, 'mappings'), clock).hold(async () => assert.fail('it was held'))
  const outcomes: unknown[] = []
  taking.catch((error: unknown) => outcomes.push(error))
  let beat = 0
  for (; outcomes.length === 0 && beat < 500; beat++) {
    await writeFile(path, foreign(beat))
    await pass(clock, 1_000)
  }
  assert.ok(beat * 1_000 >= SHARED_LOCK_WAIT_MS)
  assert.ok(hasCode('SOURCE_WRITE')(outcomes[0]), String(outcomes[0]))
  assert.match(String(outcomes[0]), /not written, nothing has changed: .*another instance has held it for \d+ s/)
  assert.deepEqual(await readdir(directory.path), [LOCK])
})

test('a holder that slept until others took the lock does not replace the file, and leaves their lock alone', async () => {
  await using directory = await makeTemporary('lock')
  const path = join(directory.path, 'mappings')
  await writeFile(path, 'a\tlegacy\n')
  const lock = new FileLock(async () => path, systemClock)
  const replacing = lock.hold(async (held) => {
    await writeFile(join(directory.path, LOCK), foreign(1))
    assert.equal(isHeld(held), false)
    const expected = fingerprintAtSync(path)
    return replaceFile({ path, temporary: `${path}.tmp`, expected, held }, () => assert.fail('it was written'))
  })
  await assert.rejects(replacing, hasCode('SOURCE_CONFLICT'))
  assert.equal(await readFile(path, 'utf8'), 'a\tlegacy\n')
  assert.deepEqual((await readdir(directory.path)).sort(), [LOCK, 'mappings'])
})
