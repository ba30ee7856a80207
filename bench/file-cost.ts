/**
 * What a mapping file of so many million lines costs, for the questions about it: load time and memory, longest pause of
 * the event loop meanwhile, a change until it is durable, a thousand at once.
 */
import { closeSync, openSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../src/clock.ts'
import { openFileSource } from '../src/mapping/file/source.ts'
import type { Bench, FigureKind, Figures, Goal } from './question.ts'

const DESTINATIONS = ['legacy-mail-server', 'stalwart-cluster']
/** A prime that shares no factor with any count of whole thousands: visits every number once. */
const STEP = 7_919_981
const LOOKUPS = 100_000
const AT_ONCE = 1_000
export const SUBJECT = 'mapping file, in no order'

export const FILE_FIGURES: Readonly<Record<string, FigureKind>> = {
  load: { label: 'load', unit: 's', better: 'less', chart: true },
  memory: { label: 'memory at most while it is loaded, over the file\'s size', unit: '×', better: 'less' },
  changing: { label: 'the same with changes', unit: '×', better: 'less' },
  pause: { label: 'longest own work between two turns of the event loop', unit: 'ms', better: 'less' },
  find: { label: 'lookup', unit: 'ns', better: 'less' },
  put: { label: 'change until it is durable', unit: 's', better: 'less' },
  rewrites: { label: `rewrites for ${AT_ONCE} changes at once`, unit: '', better: 'less' },
}

export const FILE_GOALS: readonly Goal[] = [
  { kind: 'goal', subject: SUBJECT, figure: 'pause', most: 20, text: 'processor time of the main thread; waiting for a core is not ours' },
  { kind: 'goal', subject: SUBJECT, figure: 'rewrites', most: 2 },
]

function account(i: number): string {
  return `user${String(i).padStart(8, '0')}@mail${10 + (i % 89)}.example.org`
}

function makeFile(path: string, count: number): number {
  const file = openSync(path, 'w')
  let lines = ''
  for (let i = 0; i < count; i++) {
    const k = (i * STEP) % count
    lines += `${account(k)}\t${DESTINATIONS[k % 2] ?? ''}\n`
    if (lines.length > 1 << 20) {
      writeSync(file, lines)
      lines = ''
    }
  }
  writeSync(file, lines)
  closeSync(file)
  return statSync(path).size
}

/** The most processor time that the main thread used between two turns, and the most memory, from now until it is ended. */
class Watch {
  pause = 0
  peak = process.memoryUsage.rss()
  #used = mainThreadMs()
  readonly #turns = systemClock.every(1, () => this.#look())
  readonly #sizes = systemClock.every(20, () => (this.peak = Math.max(this.peak, process.memoryUsage.rss())))

  #look(): void {
    const used = mainThreadMs()
    this.pause = Math.max(this.pause, used - this.#used)
    this.#used = used
  }

  end(): void {
    this.#look()
    this.peak = Math.max(this.peak, process.memoryUsage.rss())
    this.#turns.cancel()
    this.#sizes.cancel()
  }
}

function mainThreadMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}

async function seconds(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await run()
  return (performance.now() - start) / 1_000
}

/** Once: what takes long is steady. */
export async function measureFile(bench: Bench, count: number): Promise<void> {
  const path = join(bench.directory, 'mappings')
  bench.doing(`writing ${count} lines`)
  const size = makeFile(path, count)
  globalThis.gc?.()
  const before = process.memoryUsage.rss()
  const watch = new Watch()
  const config = { path, watch: false, shared: false }
  const options = { config, normalize: 'lowercase', destinations: DESTINATIONS, clock: systemClock, warn: () => undefined } as const
  bench.doing('loading')
  let opened: Awaited<ReturnType<typeof openFileSource>> | undefined
  const load = await seconds(async () => (opened = await openFileSource(options)))
  if (opened === undefined) throw new Error('not opened')
  const source = opened
  try {
    bench.doing('bringing into order')
    await source.settled()
    const memory = (watch.peak - before) / size
    bench.doing('changing')
    await source.put('somebody@example.org', 'stalwart-cluster')
    await source.settled()
    const put = await seconds(() => source.put('somebody.else@example.org', 'stalwart-cluster'))
    const rewrites = source.rewrites
    bench.doing(`changing ${AT_ONCE} at once`)
    await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => source.put(account(i * 31), DESTINATIONS[(i + 1) % 2] ?? '')))
    watch.end()
    // A hundred thousand in one turn: nothing that the proxy would ever do.
    const names = Array.from({ length: LOOKUPS }, (_, i) => account((i * STEP) % count))
    const start = mainThreadMs()
    for (const name of names) if (source.find(name) === undefined) throw new Error(`${name} is not mapped`)
    const find = ((mainThreadMs() - start) / LOOKUPS) * 1e6
    const figures: Figures = { load, memory, changing: (watch.peak - before) / size, pause: watch.pause, find, put, rewrites: source.rewrites - rewrites }
    bench.record(SUBJECT, figures)
    bench.note(`${count} lines, ${(size / 1e6).toFixed(0)} MB`)
  } finally {
    await source.close()
  }
}
