/** Writes that fail half way, threads and processes that are killed: the file is the old one or the new one, whole. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../../../src/clock.ts'
import { openFileSource } from '../../../src/mapping/file/source.ts'
import type { FileSource } from '../../../src/mapping/file/source.ts'
import { hasCode } from '../../conformance/mapping-source.ts'
import { eventually } from '../../support/settled.ts'
import { makeTemporary } from '../../support/temporary.ts'

/** Whether we may make a file system that is small. */
const skipWithoutMounts =
  spawnSync('unshare', ['-rm', '/bin/sh', '-c', 'mount -t tmpfs none /mnt']).status === 0 ? false : 'no name space with mounts of its own'

const PROGRAM = fileURLToPath(new URL('writing-program.ts', import.meta.url))

function mappings(count: number): string {
  return Array.from({ length: count }, (_, i) => `user${String(i).padStart(5, '0')}\tlegacy\n`).join('')
}

async function open(path: string, warnings: string[] = []): Promise<FileSource> {
  return openFileSource({
    config: { path, watch: false, shared: false },
    normalize: 'none',
    destinations: ['legacy', 'stalwart'],
    clock: systemClock,
    warn: (message) => warnings.push(message),
  })
}

describe('a mapping file that cannot be written', () => {
  it('stays as it is when there is no room: every waiting write fails, lookups see no change, nothing is left over', async () => {
    await using directory = await makeTemporary('mapping')
    const path = join(directory.path, 'mappings')
    const content = mappings(10_000)
    await writeFile(path, content)
    // The shell's unit is 512 or 1,024 bytes: either way less than the file has, and more than nothing.
    const limited = 'ulimit -f 100 && exec "$0" "$@"'
    const child = spawn('/bin/sh', ['-c', limited, process.execPath, PROGRAM, path, 'limited'], { stdio: ['ignore', 'pipe', 'inherit'] })
    const lines: string[] = []
    for await (const line of createInterface({ input: child.stdout })) lines.push(line)
    const said = (beginning: string): string => lines.find((line) => line.startsWith(beginning)) ?? ''
    for (const step of ['put', 'delete', 'import', 'replace']) {
      assert.match(said(`${step} `), /SOURCE_WRITE .*not written, nothing has changed: EFBIG/, lines.join('\n'))
    }
    assert.deepEqual(lines.filter((line) => line.startsWith('found')), ['found undefined legacy', 'found undefined legacy', 'found stalwart undefined'])
    assert.equal(said('fit '), 'fit ok')
    assert.equal(await readFile(path, 'utf8'), 'only\tstalwart\n')
    assert.deepEqual(await readdir(directory.path), ['mappings'])
  })

  it('stays as it is on a file system that is full, and is written again when there is room', { skip: skipWithoutMounts }, async () => {
    await using directory = await makeTemporary('mapping')
    const content = mappings(10_000)
    await writeFile(join(directory.path, 'before'), content)
    // A file system of its own, in a name space of its own: room for the file, not for another one beside it.
    const script = 'mount -t tmpfs -o size=256k none "$1" && cp "$2" "$1/mappings" && "$0" "$3" "$1/mappings" limited && echo "left $(ls -A "$1")" && cat "$1/mappings"'
    const full = join(directory.path, 'full')
    await mkdir(full)
    const args = ['-rm', '/bin/sh', '-c', script, process.execPath, full, join(directory.path, 'before'), PROGRAM]
    const child = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const lines: string[] = []
    for await (const line of createInterface({ input: child.stdout })) lines.push(line)
    for (const step of ['put', 'delete', 'import', 'replace']) {
      assert.match(lines.find((line) => line.startsWith(`${step} `)) ?? '', /SOURCE_WRITE .*ENOSPC/, lines.join('\n'))
    }
    assert.deepEqual(lines.filter((line) => line.startsWith('found')), ['found undefined legacy', 'found undefined legacy', 'found stalwart undefined'])
    assert.deepEqual(lines.slice(-4), ['fit ok', 'found stalwart undefined', 'left mappings', 'only\tstalwart'])
  })

  it('is not replaced by a temporary file in a directory that is gone', async () => {
    await using directory = await makeTemporary('mapping')
    const path = join(directory.path, 'mappings')
    await writeFile(path, mappings(10))
    const source = await open(path)
    await directory.remove()
    await assert.rejects(source.put('a', 'legacy'), hasCode('SOURCE_CONFLICT'))
    assert.equal(source.find('a'), undefined)
    await source.close()
  })
})

describe('a thread that dies', () => {
  it('fails the writes that it was doing with a clear error; what was committed stays, the next write finds another thread', async () => {
    await using directory = await makeTemporary('mapping')
    const path = join(directory.path, 'mappings')
    await writeFile(path, mappings(15_000))
    const warnings: string[] = []
    const source = await open(path, warnings)
    const outcomes = { ok: 0, failed: 0 }
    for (let round = 0; round < 8; round++) {
      const written = Promise.allSettled([source.put(`a${round}`, 'stalwart'), source.put(`b${round}`, 'stalwart')])
      // Somewhere between the beginning and the end of the rewrite, another place in each round.
      for (let turn = 0; turn < round * 4; turn++) await new Promise((resolve) => setImmediate(resolve))
      await source.threads.kill()
      for (const [i, result] of (await written).entries()) {
        const name = `${'ab'[i] ?? ''}${round}`
        if (result.status === 'fulfilled') {
          outcomes.ok++
          assert.equal(source.find(name), 'stalwart')
        } else {
          outcomes.failed++
          assert.ok(hasCode('SOURCE_WRITE')(result.reason))
          assert.match(String(result.reason), /thread for mapping files ended/)
        }
      }
      await assertSame(source, path)
      assert.deepEqual(await readdir(directory.path), ['mappings'])
    }
    assert.ok(outcomes.failed > 0, 'no write was interrupted')
    await source.put('after', 'legacy')
    assert.equal(source.find('after'), 'legacy')
    await assertSame(source, path)
    await source.close()
  })

  it('leaves an import undone, or done, but never half', async () => {
    await using directory = await makeTemporary('mapping')
    const path = join(directory.path, 'mappings')
    await writeFile(path, mappings(1_000))
    const source = await open(path)
    const many = Array.from({ length: 30_000 }, (_, i) => ({ identifier: `import${i}`, destination: 'legacy' }))
    let failed = 0
    for (let round = 0; round < 4; round++) {
      const written = source.import(many, 'replace').then(() => true, (error: unknown) => {
        assert.ok(hasCode('SOURCE_WRITE')(error))
        return false
      })
      // The import itself lies beside the file already; the second temporary file is the one that would replace it.
      const temporaries = (): number => readdirSync(directory.path).filter((name) => name.endsWith('.tmp')).length
      await eventually(() => temporaries() === 2, 'the new file is being written')
      for (let turn = 0; turn < round * 20; turn++) await new Promise((resolve) => setImmediate(resolve))
      await source.threads.kill()
      if (!(await written)) failed++
      await assertSame(source, path)
      assert.deepEqual(await readdir(directory.path), ['mappings'])
    }
    assert.ok(failed > 0, 'no import was interrupted')
    await source.import(many, 'replace')
    assert.deepEqual(await source.summary(), new Map([['legacy', 30_000]]))
    await source.close()
  })

  it('does not take the table with it: lookups go on, a reload fails and then works', async () => {
    await using directory = await makeTemporary('mapping')
    const path = join(directory.path, 'mappings')
    await writeFile(path, mappings(200_000))
    const source = await open(path)
    const reloaded = source.reload().then(() => 'done', (error: unknown) => error)
    await eventually(() => source.threads.count > 0, 'a thread')
    await source.threads.kill()
    const outcome = await reloaded
    assert.ok(outcome === 'done' || hasCode('SOURCE_UNAVAILABLE')(outcome), String(outcome))
    assert.equal(source.find('user00001'), 'legacy')
    assert.equal((await source.reload()).changed, 0)
    await source.close()
  })
})

describe('a process that is killed while it writes', () => {
  it('leaves a whole file with everything that it had answered, and its leftovers are removed by the next', async () => {
    await using directory = await makeTemporary('mapping')
    const path = join(directory.path, 'mappings')
    const base = mappings(40_000)
    await writeFile(path, base)
    for (let round = 0; round < 4; round++) {
      const child = spawn(process.execPath, [PROGRAM, path, 'for-ever'], { stdio: ['ignore', 'pipe', 'inherit'] })
      const answered: string[] = []
      for await (const line of createInterface({ input: child.stdout })) {
        answered.push(line)
        if (answered.length === 2 + round) {
          // Not right behind an answer, but somewhere in the next rewrite.
          for (let turn = 0; turn < round * 200; turn++) await new Promise((resolve) => setImmediate(resolve))
          child.kill('SIGKILL')
        }
      }
      const content = await readFile(path, 'utf8')
      assert.ok(content.endsWith('\n'))
      const found = new Set(content.split('\n'))
      for (const name of answered) assert.ok(found.has(`${name}\tstalwart`), `${name} was answered and is lost`)
      for (const line of base.split('\n')) assert.ok(found.has(line), `${line} is lost`)
      const source = await open(path)
      assert.deepEqual(await readdir(directory.path), ['mappings'])
      await assertSame(source, path)
      await source.close()
    }
  })
})

/** What lookups, export and summary say is what the file says. */
async function assertSame(source: FileSource, path: string): Promise<void> {
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '')
  let exported = ''
  for await (const { identifier, destination } of source.export()) exported += `${identifier}\t${destination}\n`
  assert.ok(exported === `${lines.toSorted().join('\n')}\n`, 'the export is not what the file holds')
  let total = 0
  for (const count of (await source.summary()).values()) total += count
  assert.equal(total, lines.length)
}
