import assert from 'node:assert/strict'
import { mkdir, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { CERTIFICATE_LOOK_MS, CERTIFICATE_PATIENCE_MS } from '../../src/limits.ts'
import { FileWatch } from '../../src/tls/file-watch.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { makeTemporary } from '../support/temporary.ts'

async function room(context: TestContext) {
  const directory = await makeTemporary('watch')
  const clock = new FakeClock()
  const watch = new FileWatch(clock)
  const told = { loads: 0, broken: [] as string[] }
  /** What is wrong with the files at the moment. */
  const state: { wrong: string | undefined } = { wrong: undefined }
  const at = (name: string): string => join(directory.path, name)
  await writeFile(at('a'), 'one')
  await writeFile(at('b'), 'one')
  context.after(async () => {
    watch.close()
    assert.equal(clock.pending, 0, 'no timer is left')
    await directory.remove()
  })
  watch.start([
    {
      paths: [at('a'), at('b')],
      load: async () => {
        told.loads++
        return state.wrong
      },
      broken: (reason) => told.broken.push(reason),
    },
  ])
  // What the timer does, awaited.
  const look = async (times = 1): Promise<void> => {
    for (let count = 0; count < times; count++) {
      clock.advance(CERTIFICATE_LOOK_MS)
      await watch.look()
    }
  }
  await look(2)
  told.loads = 0
  return { at, clock, watch, look, told, state }
}

test('files are looked at every CERTIFICATE_LOOK_MS', async (context) => {
  const { clock, watch } = await room(context)
  const { mock } = context.mock.method(watch, 'look')
  clock.advance(CERTIFICATE_LOOK_MS - 1)
  assert.equal(mock.callCount(), 0)
  clock.advance(1)
  assert.equal(mock.callCount(), 1)
  await watch.look()
})

test('files that stand still are read once, at the beginning, and never again', async (context) => {
  const { look, told } = await room(context)
  await look(10)
  assert.equal(told.loads, 0)
})

test('a change is loaded once it has stood still from one look to the next', async (context) => {
  const { at, look, told } = await room(context)
  await writeFile(at('a'), 'two')
  await look()
  assert.equal(told.loads, 0)
  await writeFile(at('b'), 'two!')
  await look()
  assert.equal(told.loads, 0, 'it is still changing')
  await look()
  assert.equal(told.loads, 1)
  await look(5)
  assert.equal(told.loads, 1)
})

test('a file that is renamed into place, and a link that leads elsewhere, are changes', async (context) => {
  const { at, look, told } = await room(context)
  await writeFile(at('new'), 'two')
  // Same size and same time: a copy that keeps the times.
  await utimes(at('new'), 1, 1)
  await rename(at('new'), at('a'))
  await look(2)
  assert.equal(told.loads, 1)
  await mkdir(at('v2'))
  await writeFile(at('v2/b'), 'three')
  await symlink('v2/b', at('link'))
  await rename(at('link'), at('b'))
  await look(2)
  assert.equal(told.loads, 2)
  await mkdir(at('v3'))
  await writeFile(at('v3/b'), 'three')
  await symlink('v3/b', at('link'))
  await rename(at('link'), at('b'))
  await look(2)
  assert.equal(told.loads, 3)
})

test('a pair that does not fit for a moment is tried again at every look and complained of by nobody', async (context) => {
  const { look, told, state, at } = await room(context)
  state.wrong = 'does not fit'
  await writeFile(at('a'), 'two')
  await look(5)
  assert.deepEqual([told.loads, told.broken], [4, []])
  state.wrong = undefined
  await writeFile(at('b'), 'two')
  await look(2)
  assert.deepEqual([told.loads, told.broken], [5, []])
  await look(CERTIFICATE_PATIENCE_MS / CERTIFICATE_LOOK_MS + 5)
  assert.deepEqual([told.loads, told.broken], [5, []])
})

test('one that stays broken is complained of once, and once more when it is broken in another way', async (context) => {
  const { look, told, state, at } = await room(context)
  state.wrong = 'no PEM'
  await writeFile(at('a'), 'two')
  const patience = Math.ceil(CERTIFICATE_PATIENCE_MS / CERTIFICATE_LOOK_MS) + 3
  await look(patience)
  assert.deepEqual(told.broken, ['no PEM'])
  await look(patience)
  assert.deepEqual(told.broken, ['no PEM'])
  state.wrong = 'missing'
  await rm(at('a'))
  await look(patience)
  assert.deepEqual(told.broken, ['no PEM', 'missing'])
  state.wrong = undefined
  await writeFile(at('a'), 'three')
  const before = told.loads
  await look(3)
  assert.deepEqual([told.loads - before, told.broken.length], [1, 2])
})
