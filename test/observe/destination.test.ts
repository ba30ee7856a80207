import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { LOG_BLOCK, LOG_BUFFER, LOG_END_MS, LOG_FLUSH_MS, LOG_LINE, LOG_RETRY_MS } from '../../src/limits.ts'
import { Destination } from '../../src/observe/destination.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { eventually } from '../support/settled.ts'

/** A pipe whose reader is the test: writes give EAGAIN when it is full, as a shared standard output may. */
function openPipe(t: TestContext): { fd: number; read: () => string } {
  const folder = mkdtempSync(join(tmpdir(), 'signalbox-pipe-'))
  const path = join(folder, 'pipe')
  execFileSync('mkfifo', [path])
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  t.after(() => {
    closeSync(fd)
    rmSync(folder, { recursive: true })
  })
  const buffer = Buffer.alloc(1 << 20)
  return {
    fd,
    read() {
      try {
        return buffer.toString('utf8', 0, readSync(fd, buffer))
      } catch (thrown) {
        if (thrown instanceof Error && 'code' in thrown && thrown.code === 'EAGAIN') return ''
        throw thrown
      }
    },
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('the destination of the log', { timeout: 60_000 }, () => {
  test('a line waits for company until its time is over, then goes out', async (t) => {
    const { fd, read } = openPipe(t)
    const clock = new FakeClock()
    const destination = new Destination(fd, clock)
    destination.write('one\n')
    clock.advance(LOG_FLUSH_MS - 1)
    for (let i = 0; i < 20; i++) await turn()
    assert.equal(read(), '')
    destination.write('two\n')
    clock.advance(1)
    let text = ''
    while (text === '') {
      await turn()
      text = read()
    }
    assert.equal(text, 'one\ntwo\n')
    assert.equal(clock.pending, 0, 'no timer runs while nothing waits')
  })

  test('a full piece goes out at once', async (t) => {
    const { fd, read } = openPipe(t)
    const destination = new Destination(fd, new FakeClock())
    const line = `${'x'.repeat(LOG_LINE / 2 - 1)}\n`
    destination.write(line)
    destination.write(line)
    let text = ''
    while (text.length < LOG_LINE) {
      await turn()
      text += read()
    }
    assert.equal(text, line + line)
  })

  test('to a file lines go in larger pieces', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'signalbox-file-'))
    const path = join(folder, 'log')
    const fd = openSync(path, 'a')
    t.after(() => {
      closeSync(fd)
      rmSync(folder, { recursive: true })
    })
    const destination = new Destination(fd, new FakeClock())
    const line = `${'ü'.repeat(511)}\n`
    const lines = Math.floor(LOG_BLOCK / Buffer.byteLength(line))
    for (let n = 0; n < lines; n++) destination.write(line)
    for (let i = 0; i < 20; i++) await turn()
    assert.equal(readFileSync(path, 'utf8'), '')
    destination.write(line)
    while (readFileSync(path, 'utf8') === '') await turn()
    await destination.flush()
    assert.equal(readFileSync(path, 'utf8'), line.repeat(lines + 1))
  })

  test('a reader that stands still costs lines beyond the bound, which are counted, and no more', async (t) => {
    const { fd, read } = openPipe(t)
    const clock = new FakeClock()
    const destination = new Destination(fd, clock)
    const reported: number[] = []
    destination.onDropped = (lines) => reported.push(lines)
    const line = (n: number): string => `${String(n).padStart(1023)}\n`
    const offered = LOG_BUFFER / 1024 + 200
    for (let n = 0; n < offered; n++) destination.write(line(n))
    let text = ''
    while (text.length / 1024 + (reported[0] ?? 0) < offered) {
      clock.advance(LOG_RETRY_MS)
      await turn()
      text += read()
    }
    const seen = text.split('\n').slice(0, -1).map(Number)
    assert.deepEqual(seen, seen.map((_, n) => n), 'those that were taken are whole, in order and without a gap')
    assert.equal(reported.length, 1)
    assert.equal(seen.length + (reported[0] ?? 0), offered)
    assert.ok(seen.length * 1024 >= LOG_BUFFER)
  })

  test('what could not be written is tried again after LOG_RETRY_MS, and not before', async (t) => {
    const { fd, read } = openPipe(t)
    const clock = new FakeClock()
    const destination = new Destination(fd, clock)
    for (let n = 0; n < 200; n++) destination.write(`${'x'.repeat(1023)}\n`)
    await eventually(() => clock.pending === 1, 'the pipe is full')
    read()
    clock.advance(LOG_RETRY_MS - 1)
    for (let i = 0; i < 20; i++) await turn()
    assert.equal(read(), '')
    clock.advance(1)
    await eventually(() => read() !== '', 'it goes on')
  })

  test('flush waits for the reader, but not for ever', async (t) => {
    const { fd, read } = openPipe(t)
    const clock = new FakeClock()
    const destination = new Destination(fd, clock)
    for (let n = 0; n < 200; n++) destination.write(`${'x'.repeat(1023)}\n`)
    let flushed = false
    const flushing = destination.flush().then(() => (flushed = true))
    for (let i = 0; i < 20; i++) await turn()
    assert.equal(flushed, false)
    clock.advance(LOG_END_MS - 1)
    for (let i = 0; i < 20; i++) await turn()
    assert.equal(flushed, false)
    clock.advance(1)
    await flushing
    read()
    let done = false
    destination.onDropped = () => assert.fail('nothing was dropped')
    const again = destination.flush().then(() => (done = true))
    const finished = (): boolean => done
    while (!finished()) {
      clock.advance(LOG_RETRY_MS / 10)
      read()
      await turn()
    }
    await again
  })

  test('a blocking flush gives up on a reader that stands still and on a full disk', (t) => {
    const { fd, read } = openPipe(t)
    const destination = new Destination(fd, new FakeClock())
    for (let n = 0; n < 200; n++) destination.write(`${String(n).padStart(1023)}\n`)
    destination.flushSync()
    assert.ok(read().length >= LOG_LINE)
    destination.flushSync()
    assert.notEqual(read(), '', 'and goes on where it stopped')
    const full = openSync('/dev/full', 'w')
    t.after(() => closeSync(full))
    const lost = new Destination(full, new FakeClock())
    lost.write('x\n')
    lost.flushSync()
  })
})
