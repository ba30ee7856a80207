/**
 * One question: what does a mapping file of N million lines cost? Load time and memory, longest pause of the event
 * loop meanwhile, lookups, a change until it is durable, a thousand at once, a reload. In order and in no order.
 *
 *   node bench/mapping-file.ts [millions = 1] [sorted | shuffled = shuffled]
 */
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../src/clock.ts'
import { openFileSource } from '../src/mapping/file/source.ts'

const count = Math.round(Number(process.argv[2] ?? '1') * 1_000_000)
const sorted = process.argv[3] === 'sorted'
const destinations = ['legacy-mail-server', 'stalwart-cluster']

/** A prime that shares no factor with any count of whole thousands: visits every number once. */
const STEP = 7_919_981

function account(i: number): string {
  return `user${String(i).padStart(8, '0')}@mail${10 + (i % 89)}.example.org`
}

function makeFile(path: string): number {
  const file = openSync(path, 'w')
  let lines = ''
  for (let i = 0; i < count; i++) {
    const k = sorted ? i : (i * STEP) % count
    lines += `${account(k)}\t${destinations[k % 2] ?? ''}\n`
    if (lines.length > 1 << 20) {
      writeSync(file, lines)
      lines = ''
    }
  }
  writeSync(file, lines)
  closeSync(file)
  return statSync(path).size
}

/**
 * Longest time between two turns of the event loop, and the most processor time that the main thread used between two:
 * the second is what we are to blame for, the first includes waiting for a core that somebody else has.
 */
class Pauses {
  wall = 0
  cpu = 0
  #at = performance.now()
  #used = mainThreadMs()
  readonly #timer = systemClock.every(1, () => this.look())

  look(): void {
    const at = performance.now()
    const used = mainThreadMs()
    this.wall = Math.max(this.wall, at - this.#at)
    this.cpu = Math.max(this.cpu, used - this.#used)
    this.#at = at
    this.#used = used
  }

  end(): void {
    this.look()
    this.#timer.cancel()
  }
}

function mainThreadMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}

let peak = 0

async function timed(what: string, run: () => Promise<unknown>): Promise<void> {
  const pauses = new Pauses()
  peak = process.memoryUsage.rss()
  const sampler = systemClock.every(20, () => (peak = Math.max(peak, process.memoryUsage.rss())))
  const start = performance.now()
  await run()
  const ms = performance.now() - start
  await new Promise((resolve) => setImmediate(resolve))
  pauses.end()
  sampler.cancel()
  process.stdout.write(
    `${what.padEnd(30)} ${ms.toFixed(0).padStart(7)} ms   longest pause ${pauses.wall.toFixed(1).padStart(6)} ms, of it own ` +
      `work ${pauses.cpu.toFixed(1).padStart(6)} ms   memory at most ${((peak - before) / 1e6).toFixed(0).padStart(5)} MB, ` +
      `${((peak - before) / size).toFixed(2)} x the file\n`,
  )
}

let before = 0
let size = 0
const directory = mkdtempSync(join(tmpdir(), 'signalbox-bench-'))
try {
  const path = join(directory, 'mappings')
  size = makeFile(path)
  before = process.memoryUsage.rss()
  process.stdout.write(`${count} lines, ${(size / 1e6).toFixed(0)} MB, ${sorted ? 'sorted' : 'shuffled'}; rss before ${(before / 1e6).toFixed(0)} MB\n`)
  const config = { path, watch: false, shared: false }
  const options = { config, normalize: 'lowercase', destinations, clock: systemClock, warn: () => undefined } as const
  let opened: Awaited<ReturnType<typeof openFileSource>> | undefined
  await timed('load', async () => (opened = await openFileSource(options)))
  if (opened === undefined) throw new Error('not opened')
  const source = opened
  await timed('order, in the background', () => source.settled())
  const names = Array.from({ length: 100_000 }, (_, i) => account((i * STEP) % count))
  const start = performance.now()
  let found = 0
  for (const name of names) if (source.find(name) !== undefined) found++
  const each = ((performance.now() - start) / names.length) * 1e6
  process.stdout.write(`  ${found} lookups, ${each.toFixed(0)} ns each\n`)
  await timed('put, the first', () => source.put('somebody@example.org', 'stalwart-cluster'))
  await timed('new table, in the background', () => source.settled())
  await timed('put', () => source.put('somebody.else@example.org', 'stalwart-cluster'))
  const rewrites = source.rewrites
  await timed('1,000 puts at once', () =>
    Promise.all(Array.from({ length: 1_000 }, (_, i) => source.put(account(i * 31), destinations[(i + 1) % 2] ?? ''))),
  )
  process.stdout.write(`  in ${source.rewrites - rewrites} rewrites\n`)
  await timed('reload', () => source.reload())
  await timed('export, 100,000 mappings', async () => {
    for await (const { identifier } of source.export({ limit: 100_000 })) if (identifier === '') throw new Error('empty')
  })
  await source.close()
} finally {
  rmSync(directory, { recursive: true })
}
