/** One mapping file and several instances that write it at the same time: nothing that was answered is lost, nobody is turned away. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../../../src/clock.ts'
import type { Clock } from '../../../src/clock.ts'
import { openFileSource } from '../../../src/mapping/file/source.ts'
import type { FileSource } from '../../../src/mapping/file/source.ts'
import type { Changed } from '../../../src/mapping/source.ts'
import { hasCode } from '../../conformance/mapping-source.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { eventually } from '../../support/settled.ts'
import { makeTemporary } from '../../support/temporary.ts'
import type { Temporary } from '../../support/temporary.ts'

const PROGRAM = fileURLToPath(new URL('writing-program.ts', import.meta.url))

describe('a shared mapping file', () => {
  let directory: Temporary
  let path: string
  const opened: FileSource[] = []

  beforeEach(async () => {
    directory = await makeTemporary('mapping')
    path = join(directory.path, 'mappings')
    await writeFile(path, 'first\tlegacy\n')
  })
  afterEach(async () => {
    for (const source of opened.splice(0)) await source.close()
    await directory.remove()
  })

  async function open(clock: Clock = systemClock): Promise<FileSource> {
    const source = await openFileSource({
      config: { path, watch: false, shared: true },
      normalize: 'none',
      destinations: ['legacy', 'stalwart'],
      clock,
      warn: () => undefined,
    })
    opened.push(source)
    return source
  }

  const lines = async (): Promise<string[]> => (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '')

  it('holds every write that two instances were asked for at the same time', async () => {
    const [one, two] = [await open(), await open()]
    const names: string[] = []
    for (let round = 0; round < 30; round++) {
      const both = [`a${round}`, `b${round}`]
      await Promise.all([one.put(`a${round}`, 'stalwart'), two.put(`b${round}`, 'stalwart')])
      names.push(...both)
    }
    await Promise.all(Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? one : two).put(`burst${i}`, 'legacy')))
    for (let i = 0; i < 200; i++) names.push(`burst${i}`)
    const found = new Set((await lines()).map((line) => line.split('\t')[0]))
    assert.deepEqual(names.filter((name) => !found.has(name)), [])
    assert.deepEqual(await readdir(directory.path), ['mappings'])
  })

  it('takes an import of one instance while the other writes without a pause', async () => {
    const [one, two] = [await open(), await open()]
    const imported: string[] = []
    const written: string[] = []
    const writing = (async () => {
      for (let i = 0; imported.length < 2; i++) {
        await two.put(`while${i}`, 'legacy')
        written.push(`while${i}`)
      }
    })()
    const many = Array.from({ length: 20_000 }, (_, i) => ({ identifier: `import${i}`, destination: 'stalwart' }))
    for (const time of ['first', 'second']) {
      await one.import(many, 'merge')
      imported.push(time)
    }
    await writing
    const found = new Set(await lines())
    assert.ok(written.length > 0)
    assert.deepEqual(written.filter((name) => !found.has(`${name}\tlegacy`)), [])
    assert.equal(many.filter(({ identifier }) => !found.has(`${identifier}\tstalwart`)).length, 0)
  })

  it('gives way to what somebody wrote by hand: it is read and told of before the write that finds it', async () => {
    const one = await open()
    const told: Changed[] = []
    one.onChange((change) => {
      if (!('doubt' in change)) told.push(change)
    })
    await writeFile(path, 'first\tstalwart\nsecond\tlegacy\n')
    await one.put('third', 'legacy')
    assert.deepEqual(await lines(), ['first\tstalwart', 'second\tlegacy', 'third\tlegacy'])
    assert.deepEqual(told, [{ all: false, identifiers: ['first', 'second'] }])
    assert.equal(one.find('first'), 'stalwart')
    // Compared with what holds, not with what was known.
    await writeFile(path, 'first\tlegacy\n')
    assert.equal(await one.exchange('first', { from: 'stalwart', to: 'stalwart' }), false)
    assert.equal(await one.delete('third'), false)
    await writeFile(path, 'wrong\n')
    await assert.rejects(one.put('fourth', 'legacy'), (error) => hasCode('SOURCE_CONFLICT')(error) && /line 1/.test(String(error)))
    assert.deepEqual(await lines(), ['wrong'])
  })

  it('is written again at once when an instance of this host died while it held the lock', async () => {
    // A clock that stands still: whoever waits for it waits for ever.
    const one = await open(new FakeClock())
    const child = spawn(process.execPath, [PROGRAM, path, 'for-ever', 'shared'], { stdio: ['ignore', 'pipe', 'inherit'] })
    const exited = once(child, 'exit')
    const answered: string[] = []
    createInterface({ input: child.stdout }).on('line', (line) => answered.push(line))
    const lock = join(directory.path, '.mappings.signalbox-lock')
    // Stopped first: then it stays as it is seen to be.
    for (;;) {
      await eventually(() => answered.length >= 5 && existsSync(lock), 'the lock is taken')
      child.kill('SIGSTOP')
      await systemClock.sleep(20)
      if (existsSync(lock)) break
      child.kill('SIGCONT')
    }
    child.kill('SIGKILL')
    await exited
    await one.put('after', 'legacy')
    const found = new Set(await lines())
    assert.deepEqual(answered.filter((name) => !found.has(`${name}\tstalwart`)), [])
    assert.equal((await readdir(directory.path)).filter((name) => name.includes('lock')).length, 0)
  })

  it('re-reads for a peer although its own write waits for the lock', async () => {
    const one = await open()
    const lock = join(directory.path, '.mappings.signalbox-lock')
    await writeFile(lock, 'of-another elsewhere 1 0000000000\n')
    const put = one.put('mine', 'legacy')
    await writeFile(path, 'first\tstalwart\n')
    assert.equal((await one.reload()).changed, 1)
    assert.equal(one.find('first'), 'stalwart')
    await rm(lock)
    await put
    assert.deepEqual(await lines(), ['first\tstalwart', 'mine\tlegacy'])
  })
})
