/**
 * Loaded into every process of the proxy by the soak (`--import`): answers on a Unix socket, named after the process id, what the process
 * holds after a garbage collection. The socket and its timers are the test's own, and the same at every look.
 */
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** What one process holds. */
export interface Inside {
  /** Bytes after a garbage collection: JavaScript heap, memory of buffers, resident. */
  readonly heap: number
  readonly buffers: number
  readonly resident: number
  /** Timers that were set by anybody and have neither fired nor been cleared. */
  readonly timers: number
  /** What the runtime counts as keeping the process busy, by kind. */
  readonly resources: Readonly<Record<string, number>>
  /** Listeners of the process's events. */
  readonly listeners: number
}

const COLLECTIONS = 12
const directory = process.env['SIGNALBOX_SOAK_DIRECTORY']

if (directory !== undefined) {
  const timers = countTimers()
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const server = createServer((socket) => {
    socket.on('error', () => {})
    // What a collection sets free may let go of more only in the next turn, and code that nobody runs goes after some.
    const again = (left: number): void => {
      collect()
      if (left > 0) return void setImmediate(again, left - 1)
      const { heapUsed, external, rss } = process.memoryUsage()
      const resources: Record<string, number> = {}
      for (const kind of process.getActiveResourcesInfo()) resources[kind] = (resources[kind] ?? 0) + 1
      const listeners = process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0)
      const inside: Inside = { heap: heapUsed, buffers: external, resident: rss, timers: timers.size, resources, listeners }
      socket.end(JSON.stringify(inside))
    }
    again(COLLECTIONS)
  })
  server.listen(join(directory, String(process.pid)))
  server.unref()
}

/** Everything that is set and not over yet. */
function countTimers(): ReadonlySet<unknown> {
  const live = new Set<unknown>()
  const { setTimeout: set, setInterval: repeat, clearTimeout: clear } = globalThis
  const once = (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]): NodeJS.Timeout => {
    const timer: NodeJS.Timeout = set(() => {
      live.delete(timer)
      callback(...args)
    }, ms)
    live.add(timer)
    return timer
  }
  const every = (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]): NodeJS.Timeout => {
    const timer = repeat(callback, ms, ...args)
    live.add(timer)
    return timer
  }
  const over = (timer: NodeJS.Timeout | string | number | undefined): void => {
    live.delete(timer)
    clear(timer)
  }
  Object.assign(globalThis, { setTimeout: Object.assign(once, set), setInterval: every, clearTimeout: over, clearInterval: over })
  return live
}
