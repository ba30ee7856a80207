import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { appendFile, chmod, chown, link, lstat, mkdir, readFile, readdir, readlink, rename, rm, stat, symlink, truncate, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { systemClock } from '../../../src/clock.ts'
import type { Timer } from '../../../src/clock.ts'
import { MAPPING_FILE, MAPPING_MISTAKES, MAPPING_OVERLAY, RELOAD_DIFFERENCES } from '../../../src/limits.ts'
import { openFileSource } from '../../../src/mapping/file/source.ts'
import type { FileSource, FileSourceOptions } from '../../../src/mapping/file/source.ts'
import { DEBOUNCE_MS, POLL_MS } from '../../../src/mapping/file/watcher.ts'
import { mistakesOf } from '../../../src/mapping/mistakes.ts'
import type { Changed, MappingSource } from '../../../src/mapping/source.ts'
import { hasCode } from '../../conformance/mapping-source.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { eventually } from '../../support/settled.ts'
import { makeTemporary } from '../../support/temporary.ts'
import type { Temporary } from '../../support/temporary.ts'

/** What a promise rejects with. */
async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  return assert.fail('did not reject')
}

describe('the file source', () => {
  let directory: Temporary
  let path: string
  let warnings: string[]
  const opened: FileSource[] = []

  beforeEach(async () => {
    directory = await makeTemporary('mapping')
    path = join(directory.path, 'mappings')
    warnings = []
  })
  afterEach(async () => {
    for (const source of opened.splice(0)) await source.close()
    await directory.remove()
  })

  async function open(options: Partial<FileSourceOptions> & { watch?: boolean; path?: string } = {}): Promise<FileSource> {
    const { watch = false, path: other = path, ...rest } = options
    const source = await openFileSource({
      config: { path: other, watch, shared: false },
      normalize: 'none',
      destinations: ['legacy', 'stalwart'],
      clock: systemClock,
      warn: (message) => warnings.push(message),
      ...rest,
    })
    opened.push(source)
    return source
  }

  /** Nothing but the mapping file itself. */
  async function assertTidy(others: readonly string[] = []): Promise<void> {
    assert.deepEqual((await readdir(directory.path)).sort(), [basename(path), ...others].sort())
  }

  describe('opening', () => {
    it('refuses a file with mistakes, naming file, lines, and how many more', async () => {
      await writeFile(path, `ok legacy\n${'wrong\n'.repeat(MAPPING_MISTAKES + 5)}`)
      const error = await rejection(open())
      assert.ok(hasCode('SOURCE_INVALID')(error))
      assert.ok(error instanceof Error)
      assert.match(error.message, /mappings: line 2: fewer than two fields; line 3: .* and 5 more$/)
      assert.ok(error.message.startsWith(path))
      assert.equal(mistakesOf(error)?.mistakes.length, MAPPING_MISTAKES)
      assert.deepEqual(mistakesOf(error)?.mistakes[0], { line: 2, message: 'fewer than two fields' })
      assert.equal(mistakesOf(error)?.more, 5)
    })

    it('refuses a missing file, a directory and a FIFO, without waiting for anybody', async () => {
      await assert.rejects(open(), hasCode('SOURCE_UNAVAILABLE'))
      await assert.rejects(open({ path: directory.path }), hasCode('SOURCE_INVALID'))
      await assert.rejects(open({ path: directory.path }), /is a directory/)
      const fifo = join(directory.path, 'fifo')
      await promisify(execFile)('mkfifo', [fifo])
      await assert.rejects(open({ path: fifo }), /is a FIFO/)
      await assert.rejects(open({ path: '/dev/zero' }), /is not a regular file|not a regular file/)
    })

    it('refuses a file that is too large, without reading it', async () => {
      await writeFile(path, 'a legacy\n')
      await truncate(path, MAPPING_FILE + 1)
      await assert.rejects(open(), hasCode('SOURCE_INVALID'))
      await assert.rejects(open(), new RegExp(`${MAPPING_FILE + 1} bytes; at most ${MAPPING_FILE}`))
    })

    it('warns of further fields and of identifiers given twice, with their numbers, and the later line wins', async () => {
      await writeFile(path, 'a legacy one\nb legacy two three\na stalwart\nB legacy\na legacy\n')
      const source = await open({ normalize: 'lowercase' })
      assert.equal(source.find('a'), 'legacy')
      assert.equal(source.find('b'), 'legacy')
      assert.deepEqual(await source.summary(), new Map([['legacy', 2]]))
      assert.equal(warnings.length, 2)
      assert.match(warnings[0] ?? '', /further fields on 2 lines were ignored/)
      assert.match(warnings[1] ?? '', /more than once: 3 lines replaced/)
    })

    it('removes what a process that was killed has left behind, and nothing else', async () => {
      await writeFile(path, 'a legacy\n')
      const child = execFile('true')
      await new Promise((resolve) => child.on('exit', resolve))
      const host = encodeURIComponent(hostname()).replaceAll('.', '_')
      const dead = `.mappings.signalbox.${host}.${child.pid}.0123456789ab.tmp`
      const kept = [
        `.mappings.signalbox.${host}.${process.pid}.0123456789ab.tmp`,
        `.mappings.signalbox.elsewhere.${child.pid}.0123456789ab.tmp`,
        `.others.signalbox.${host}.${child.pid}.0123456789ab.tmp`,
      ]
      for (const name of [dead, ...kept]) await writeFile(join(directory.path, name), '')
      await open()
      await assertTidy(kept)
    })
  })

  describe('writing', () => {
    it('leaves a sorted file with one mapping a line, a tab between', async () => {
      await writeFile(path, '# by hand\nzoe   legacy\n\n  bob stalwart  # why\r\nälva legacy\nbob legacy\n')
      const source = await open()
      await source.put('ann', 'stalwart')
      assert.equal(await readFile(path, 'utf8'), 'ann\tstalwart\nbob\tlegacy\nzoe\tlegacy\nälva\tlegacy\n')
      await source.delete('bob')
      await source.put('ann', 'legacy')
      assert.equal(await readFile(path, 'utf8'), 'ann\tlegacy\nzoe\tlegacy\nälva\tlegacy\n')
      await assertTidy()
    })

    it('keeps mode and owner of the old file', async () => {
      await writeFile(path, 'a legacy\n')
      await chmod(path, 0o640)
      const mayChown = process.getuid?.() === 0
      if (mayChown) await chown(path, 12_345, 23_456)
      const before = await stat(path)
      const source = await open()
      await source.put('b', 'legacy')
      const after = await stat(path)
      assert.notEqual(after.ino, before.ino)
      assert.equal(after.mode, before.mode)
      assert.deepEqual([after.uid, after.gid], [before.uid, before.gid])
      if (mayChown) assert.deepEqual([after.uid, after.gid], [12_345, 23_456])
    })

    it('replaces what a symbolic link points to, not the link', async () => {
      await mkdir(join(directory.path, 'real'))
      const real = join(directory.path, 'real', 'file')
      await writeFile(real, 'a legacy\n')
      await symlink('real/file', path)
      const source = await open()
      await source.put('b', 'legacy')
      assert.equal(await readlink(path), 'real/file')
      assert.ok((await lstat(path)).isSymbolicLink())
      assert.equal(await readFile(real, 'utf8'), 'a\tlegacy\nb\tlegacy\n')
      assert.deepEqual(await readdir(join(directory.path, 'real')), ['file'])
    })

    it('never changes the file that others may have open: they see the old one, whole', async () => {
      await writeFile(path, 'a legacy\n')
      const other = join(directory.path, 'hard-link')
      await link(path, other)
      const source = await open()
      await source.put('b', 'legacy')
      assert.equal(await readFile(other, 'utf8'), 'a legacy\n')
    })

    it('commits a thousand puts at once in no more than two rewrites', async () => {
      await writeFile(path, 'a legacy\n')
      const source = await open()
      await Promise.all(Array.from({ length: 1_000 }, (_, i) => source.put(`user${i}`, 'stalwart')))
      assert.ok(source.rewrites <= 2, `${source.rewrites} rewrites`)
      assert.equal((await readFile(path, 'utf8')).split('\n').length, 1_002)
    })

    it('answers each of the changes that share a commit as if it were alone', async () => {
      await writeFile(path, 'a legacy\nb legacy\n')
      const source = await open()
      const first = source.put('x', 'legacy')
      const answers = await Promise.all([source.delete('a'), source.delete('a'), source.put('a', 'stalwart'), source.delete('b'), source.put('c', 'legacy'), source.delete('c')])
      await first
      assert.deepEqual(answers, [true, false, undefined, true, undefined, true])
      assert.equal(source.rewrites, 2)
      assert.equal(await readFile(path, 'utf8'), 'a\tstalwart\nx\tlegacy\n')
    })

    it('shows a change to lookups only once it is in the file', async () => {
      await writeFile(path, '')
      const source = await open()
      for (let i = 0; i < 20; i++) {
        const answered = new Set<number>()
        const put = source.put(`user${i}`, 'legacy').then(() => answered.add(i))
        while (answered.size === 0) {
          const found = source.find(`user${i}`)
          if (found !== undefined) assert.ok((await readFile(path, 'utf8')).includes(`user${i}\tlegacy\n`))
          await new Promise((resolve) => setImmediate(resolve))
        }
        await put
        assert.equal(source.find(`user${i}`), 'legacy')
      }
    })

    it('does not write when nothing changes', async () => {
      await writeFile(path, '# comment\na legacy\n')
      const source = await open()
      await source.put('a', 'legacy')
      assert.equal(await source.delete('b'), false)
      assert.equal(source.rewrites, 0)
      assert.equal(await readFile(path, 'utf8'), '# comment\na legacy\n')
      assert.deepEqual(warnings, [])
    })

    it('says once that comments were lost', async () => {
      await writeFile(path, '# comment\na legacy\n')
      const source = await open()
      await source.put('b', 'legacy')
      await source.put('c', 'legacy')
      assert.equal(warnings.filter((warning) => warning.includes('comments are lost')).length, 1)
    })

    it('refuses what a file cannot carry, and undeclared destinations', async () => {
      await writeFile(path, 'a legacy\n')
      const source = await open()
      for (const identifier of ['', '#hash', '\ufeffbom', 'with space', 'line\nfeed', 'tab\tbed', 'qu"ote', '\ud800', 'x'.repeat(513)]) {
        await assert.rejects(source.put(identifier, 'legacy'), hasCode('CLIENT_BAD_IDENTIFIER'), JSON.stringify(identifier))
      }
      await assert.rejects(source.put('b', 'nowhere'), hasCode('SOURCE_INVALID'))
      const mappings = [
        { identifier: 'b', destination: 'legacy' },
        { identifier: '#c', destination: 'legacy' },
        { identifier: 'd', destination: 'nowhere' },
      ]
      const error = await rejection(source.import(mappings, 'replace'))
      assert.deepEqual(mistakesOf(error)?.mistakes.map(({ line }) => line), [2, 3])
      assert.equal(await readFile(path, 'utf8'), 'a legacy\n')
      await assertTidy()
    })

    it('normalises what it writes as it normalises what it reads', async () => {
      await writeFile(path, 'ANN legacy\n')
      const source = await open({ normalize: 'lowercase' })
      await source.put('BOB', 'legacy')
      assert.equal(source.find('bob'), 'legacy')
      assert.equal(source.find('ann'), 'legacy')
      assert.equal(await readFile(path, 'utf8'), 'ann\tlegacy\nbob\tlegacy\n')
    })
  })

  describe('a conflict', () => {
    const edits: Record<string, () => Promise<void>> = {
      'another file in its place': async () => {
        await writeFile(`${path}.new`, 'a stalwart\n')
        await rename(`${path}.new`, path)
      },
      'a line more': () => appendFile(path, 'z legacy\n'),
      'the same size and modification time': async () => {
        const { atime, mtime } = await stat(path)
        await writeFile(path, 'a\tlegacz\n'.replace('z', 'y'))
        await utimes(path, atime, mtime)
      },
      'no file': () => rm(path),
    }
    for (const [what, edit] of Object.entries(edits)) {
      it(`is noticed: ${what}`, async () => {
        await writeFile(path, 'a legacy\n')
        const source = await open()
        await edit()
        const names = await readdir(directory.path)
        const content = await readFile(path, 'utf8').catch(() => 'none')
        await assert.rejects(source.put('b', 'legacy'), hasCode('SOURCE_CONFLICT'))
        await assert.rejects(source.put('a', 'legacy'), hasCode('SOURCE_CONFLICT'))
        await assert.rejects(source.delete('a'), hasCode('SOURCE_CONFLICT'))
        await assert.rejects(source.import([{ identifier: 'c', destination: 'legacy' }], 'merge'), hasCode('SOURCE_CONFLICT'))
        await assert.rejects(source.import([], 'replace'), hasCode('SOURCE_CONFLICT'))
        assert.equal(source.find('a'), 'legacy')
        assert.equal(source.find('b'), undefined)
        assert.deepEqual(await readdir(directory.path), names)
        assert.equal(await readFile(path, 'utf8').catch(() => 'none'), content)
      })
    }

    it('is over after a reload', async () => {
      await writeFile(path, 'a legacy\n')
      const source = await open()
      await writeFile(path, 'a legacy\nz legacy\n')
      await assert.rejects(source.put('b', 'legacy'), hasCode('SOURCE_CONFLICT'))
      await source.reload()
      await source.put('b', 'legacy')
      assert.equal(await readFile(path, 'utf8'), 'a\tlegacy\nb\tlegacy\nz\tlegacy\n')
    })
  })

  describe('a reload', () => {
    it('counts what was added, changed, removed, and names those accounts', async () => {
      await writeFile(path, 'a legacy\nb legacy\nc legacy\n')
      const source = await open()
      await source.put('d', 'legacy')
      await writeFile(path, 'e legacy\nd stalwart\nb legacy extra\n')
      const result = await source.reload()
      assert.deepEqual(result, {
        added: 1,
        changed: 1,
        removed: 2,
        invalidate: { all: false, identifiers: ['a', 'c', 'd', 'e'] },
        warnings: ['further fields on 1 line were ignored'],
      })
      assert.deepEqual(['a', 'b', 'c', 'd', 'e'].map((name) => source.find(name)), [undefined, 'legacy', undefined, 'stalwart', 'legacy'])
      assert.deepEqual(await source.summary(), new Map([['legacy', 2], ['stalwart', 1]]))
    })

    it('changes nothing when the file is bad, missing, or no file', async () => {
      await writeFile(path, 'a legacy\n')
      const source = await open()
      await writeFile(path, 'a stalwart\nb nowhere\n')
      await assert.rejects(source.reload(), hasCode('SOURCE_INVALID'))
      await rm(path)
      await assert.rejects(source.reload(), hasCode('SOURCE_UNAVAILABLE'))
      await mkdir(path)
      await assert.rejects(source.reload(), hasCode('SOURCE_INVALID'))
      assert.equal(source.find('a'), 'legacy')
      await rm(path, { recursive: true })
      await writeFile(path, 'a stalwart\n')
      assert.equal((await source.reload()).changed, 1)
    })

    it(`names ${RELOAD_DIFFERENCES} accounts and takes one more for all`, async () => {
      const lines = (count: number): string => Array.from({ length: count }, (_, i) => `user${i} legacy\n`).join('')
      await writeFile(path, '')
      const source = await open()
      await writeFile(path, lines(RELOAD_DIFFERENCES))
      const { invalidate, added } = await source.reload()
      assert.equal(added, RELOAD_DIFFERENCES)
      assert.equal(invalidate.all ? 0 : invalidate.identifiers.length, RELOAD_DIFFERENCES)
      await source.import([], 'replace')
      await writeFile(path, lines(RELOAD_DIFFERENCES + 1))
      const more = await source.reload()
      assert.equal(more.added, RELOAD_DIFFERENCES + 1)
      assert.deepEqual(more.invalidate, { all: true })
    })

    it('keeps its place in the line of writes', async () => {
      await writeFile(path, 'a legacy\n')
      const source = await open()
      const done: string[] = []
      await Promise.all([
        source.put('b', 'legacy').then(() => done.push('first')),
        source.reload().then((result) => {
          assert.equal(result.added + result.changed + result.removed, 0)
          done.push('reload')
        }),
        source.put('c', 'legacy').then(() => done.push('second')),
      ])
      assert.deepEqual(done, ['first', 'reload', 'second'])
      assert.equal(source.rewrites, 2)
    })
  })

  describe('many changes', () => {
    it('move into a new table in the background, while others are made, and none is lost', async () => {
      await writeFile(path, Array.from({ length: 3_000 }, (_, i) => `old${i} legacy\n`).join(''))
      const source = await open()
      const model = new Map(Array.from({ length: 3_000 }, (_, i) => [`old${i}`, 'legacy'] as const))
      const model2 = new Map<string, string>(model)
      for (let round = 0; round < 6; round++) {
        await Promise.all(
          Array.from({ length: MAPPING_OVERLAY / 2 + 1 }, async (_, i) => {
            const name = i % 3 === 0 ? `old${(i * 7 + round) % 3_000}` : `new${i * 6 + round}`
            if (i % 5 === 0) {
              model2.delete(name)
              await source.delete(name)
            } else {
              model2.set(name, 'stalwart')
              await source.put(name, 'stalwart')
            }
          }),
        )
        for (const [name, where] of model2) assert.equal(source.find(name), where, name)
      }
      await source.settled()
      for (const [name, where] of model2) assert.equal(source.find(name), where, name)
      for (const name of model.keys()) assert.equal(source.find(name), model2.get(name), name)
      const expected = [...model2].map(([name, where]) => `${name}\t${where}\n`).sort().join('')
      assert.equal(await readFile(path, 'utf8'), expected)
      const exported: string[] = []
      for await (const { identifier, destination } of source.export()) exported.push(`${identifier}\t${destination}\n`)
      assert.equal(exported.join(''), expected)
      let total = 0
      for (const count of (await source.summary()).values()) total += count
      assert.equal(total, model2.size)
      assert.ok(source.overlaid <= MAPPING_OVERLAY, `${source.overlaid} changes still lie on top`)
      assert.deepEqual(warnings, [])
    })

    it('lie on top up to MAPPING_OVERLAY; one more, and they become a new table', async () => {
      await writeFile(path, 'a legacy\n')
      const source = await open()
      await Promise.all(Array.from({ length: MAPPING_OVERLAY }, (_, i) => source.put(`u${i}`, 'legacy')))
      await source.settled()
      assert.equal(source.overlaid, MAPPING_OVERLAY)
      await source.put('another', 'legacy')
      await source.settled()
      assert.equal(source.overlaid, 0)
    })

    it('an export shows the state at its beginning, whatever is written meanwhile', async () => {
      await writeFile(path, Array.from({ length: 5_000 }, (_, i) => `u${String(i).padStart(5, '0')} legacy\n`).join(''))
      const source = await open()
      let seen = 0
      for await (const { destination } of source.export()) {
        if (seen++ === 10) {
          await source.put('u04999', 'stalwart')
          await source.import([{ identifier: 'zzz', destination: 'legacy' }], 'replace')
        }
        assert.equal(destination, 'legacy')
      }
      assert.equal(seen, 5_000)
    })
  })

  describe('watching', () => {
    type Heard = Parameters<Parameters<MappingSource['onChange']>[0]>[0]

    async function watch(options: Partial<FileSourceOptions> & { path?: string } = {}): Promise<{ source: FileSource; heard: Heard[] }> {
      const source = await open({ watch: true, ...options })
      const heard: Heard[] = []
      source.onChange((change) => heard.push(change))
      return { source, heard }
    }

    it('takes over a file that was put in its place', async () => {
      await writeFile(path, 'a legacy\n')
      const { source, heard } = await watch()
      await writeFile(`${path}.new`, 'a stalwart\nb legacy\n')
      await rename(`${path}.new`, path)
      await eventually(() => heard.length > 0, 'the change is reported')
      assert.deepEqual(heard, [{ all: false, identifiers: ['a', 'b'] } satisfies Changed])
      assert.equal(source.find('a'), 'stalwart')
    })

    it('takes over a file that was rewritten in place, and another one after that', async () => {
      await writeFile(path, 'a legacy\n')
      const { source, heard } = await watch()
      await writeFile(path, 'a stalwart\n')
      await eventually(() => heard.length === 1, 'the change is reported')
      assert.equal(source.find('a'), 'stalwart')
      await appendFile(path, 'b legacy\n')
      await eventually(() => heard.length === 2, 'the second change is reported')
      assert.equal(source.find('b'), 'legacy')
      await source.put('c', 'legacy')
    })

    it('waits until the file has been still for 200 ms', async () => {
      class CountingClock extends FakeClock {
        set = 0
        override after(ms: number, callback: () => void): Timer {
          this.set++
          return super.after(ms, callback)
        }
      }
      await writeFile(path, 'a legacy\n')
      const clock = new CountingClock()
      const { source, heard } = await watch({ clock })
      await appendFile(path, 'b legacy\n')
      await eventually(() => clock.set === 1, 'the change is seen')
      clock.advance(199)
      await appendFile(path, 'c legacy\n')
      await eventually(() => clock.set === 2, 'the second change is seen')
      clock.advance(199)
      await source.settled()
      assert.equal(source.reloads, 0)
      assert.equal(source.find('b'), undefined)
      clock.advance(1)
      await eventually(() => heard.length > 0, 'the change is reported')
      assert.deepEqual(heard, [{ all: false, identifiers: ['b', 'c'] }])
      assert.equal(source.reloads, 1)
    })

    it('warns of a bad file and keeps the old table, until the file is good again', async () => {
      await writeFile(path, 'a legacy\n')
      const { source, heard } = await watch()
      await writeFile(path, 'a nowhere\n')
      await eventually(() => warnings.length > 0, 'the warning')
      assert.match(warnings[0] ?? '', /not taken over: .*line 1: destination "nowhere" is not declared/)
      assert.equal(source.find('a'), 'legacy')
      await assert.rejects(source.put('b', 'legacy'), hasCode('SOURCE_CONFLICT'))
      await writeFile(path, 'a stalwart\n')
      await eventually(() => heard.length > 0, 'the change is reported')
      assert.equal(source.find('a'), 'stalwart')
    })

    it('does not take its own writes for somebody else’s', async () => {
      await writeFile(path, '')
      const clock = new FakeClock()
      const { source, heard } = await watch({ clock })
      for (let i = 0; i < 5; i++) await source.put(`user${i}`, 'legacy')
      await eventually(() => clock.pending > 1, 'the writes are seen')
      await clock.advanceAsync(1_000, 100)
      await source.settled()
      assert.equal(source.reloads, 0)
      assert.deepEqual(heard, [])
      assert.deepEqual(warnings, [])
    })

    it('survives that the file goes and comes back', async () => {
      await writeFile(path, 'a legacy\n')
      const { source, heard } = await watch()
      await rm(path)
      await eventually(() => warnings.length > 0, 'the warning')
      assert.equal(source.find('a'), 'legacy')
      await writeFile(path, 'a stalwart\n')
      await eventually(() => heard.length > 0, 'the change is reported')
      assert.equal(source.find('a'), 'stalwart')
    })

    it('follows a symbolic link that is turned to another directory', async () => {
      for (const [name, where] of [['one', 'legacy'], ['two', 'stalwart']] as const) {
        await mkdir(join(directory.path, name))
        await writeFile(join(directory.path, name, 'file'), `a ${where}\n`)
      }
      await symlink('one', join(directory.path, 'now'))
      await symlink('now/file', path)
      const { source, heard } = await watch()
      await symlink('two', join(directory.path, 'next'))
      await rename(join(directory.path, 'next'), join(directory.path, 'now'))
      await eventually(() => heard.length === 1, 'the turn is seen')
      assert.equal(source.find('a'), 'stalwart')
      await writeFile(join(directory.path, 'two', 'file'), 'a legacy\n')
      await eventually(() => heard.length === 2, 'a change behind the link is seen')
      assert.equal(source.find('a'), 'legacy')
    })

    it('finds a directory again that was exchanged, which raises no event', async () => {
      const inner = join(directory.path, 'inner')
      await mkdir(inner)
      await writeFile(join(inner, 'file'), 'a legacy\n')
      const clock = new FakeClock()
      const { source, heard } = await watch({ path: join(inner, 'file'), clock })
      await mkdir(`${inner}.new`)
      await writeFile(join(`${inner}.new`, 'file'), 'a stalwart\n')
      await rename(inner, `${inner}.old`)
      await rename(`${inner}.new`, inner)
      clock.advance(POLL_MS)
      await eventually(() => clock.pending === 2, 'the change is seen')
      clock.advance(DEBOUNCE_MS)
      await eventually(() => heard.length > 0, 'the change is reported')
      assert.equal(source.find('a'), 'stalwart')
      await appendFile(join(inner, 'file'), 'b legacy\n')
      await eventually(() => clock.pending === 2, 'the new directory is watched')
    })

    it('looks for a directory that is gone, saying so once, until it is back', async () => {
      const inner = join(directory.path, 'inner')
      await mkdir(inner)
      await writeFile(join(inner, 'file'), 'a legacy\n')
      const clock = new FakeClock()
      const { source, heard } = await watch({ path: join(inner, 'file'), clock })
      await rm(inner, { recursive: true })
      await eventually(() => warnings.length > 0, 'the warning')
      for (let i = 0; i < 5; i++) await clock.advanceAsync(1_000, 100)
      assert.equal(warnings.filter((warning) => warning.includes("can't be watched")).length, 1)
      await mkdir(inner)
      await writeFile(join(inner, 'file'), 'a stalwart\n')
      await eventually(() => {
        clock.advance(10)
        return heard.length > 0
      }, 'the change is reported')
      assert.equal(source.find('a'), 'stalwart')
    })

    it('leaves no timer, watcher or thread behind when it is closed', async () => {
      await writeFile(path, 'a legacy\n')
      const clock = new FakeClock()
      const { source } = await watch({ clock })
      await writeFile(path, 'b legacy\n')
      await eventually(() => clock.pending === 2, 'the change is seen')
      await source.close()
      assert.equal(clock.pending, 0)
      assert.equal(source.threads.count, 0)
      assert.ok(!process.getActiveResourcesInfo().includes('FSEventWrap'))
      await source.close()
    })
  })

  describe('under other rules', () => {
    it('is read by the names to come, and goes by them from the moment that it is told to', async () => {
      await writeFile(path, 'ann legacy\nBob legacy\n')
      const source = await open()
      await writeFile(path, 'ann third\nBob stalwart\n')
      const rules = { normalize: 'lowercase' as const, destinations: ['stalwart', 'third'] }
      let waiting: Promise<void> | undefined
      await source.underRules(rules, async ({ use }) => {
        assert.equal(source.find('ann'), 'legacy')
        // Whoever writes meanwhile waits, and finds the new names.
        waiting = source.put('cid', 'legacy')
        assert.deepEqual(use(), { all: false, identifiers: ['Bob', 'ann', 'bob'] })
        assert.deepEqual([source.find('ann'), source.find('bob'), source.find('Bob')], ['third', 'stalwart', undefined])
      })
      await assert.rejects(async () => waiting, hasCode('SOURCE_INVALID'))
      await assert.rejects(source.put('dan', 'legacy'), hasCode('SOURCE_INVALID'))
      await source.put('Eve', 'third')
      assert.equal(source.find('eve'), 'third')
      assert.deepEqual([...(await source.summary())], [['stalwart', 1], ['third', 2]])
      assert.equal(await readFile(path, 'utf8'), 'ann\tthird\nbob\tstalwart\neve\tthird\n')
    })

    it('that are not used change nothing, nor do those that the file breaks, or that fail elsewhere', async () => {
      await writeFile(path, 'ann legacy\n')
      const source = await open()
      const rules = { normalize: 'none' as const, destinations: ['legacy', 'third'] }
      await source.underRules(rules, async () => {})
      await assert.rejects(source.put('bob', 'third'), hasCode('SOURCE_INVALID'))
      await source.put('bob', 'stalwart')
      const error = await rejection(source.underRules(rules, () => Promise.resolve()))
      assert.ok(hasCode('SOURCE_INVALID')(error))
      assert.deepEqual(mistakesOf(error)?.mistakes.map(({ line }) => line), [2])
      const elsewhere = new Error('elsewhere')
      const both = { ...rules, destinations: ['legacy', 'stalwart', 'third'] }
      assert.equal(await rejection(source.underRules(both, () => Promise.reject(elsewhere))), elsewhere)
      await assert.rejects(source.put('bob', 'third'), hasCode('SOURCE_INVALID'))
      await source.put('bob', 'legacy')
      assert.equal(source.find('bob'), 'legacy')
    })
  })
})
