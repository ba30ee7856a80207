/**
 * What a subject costs: processor time and memory of a process and all that descend from it, from /proc. Time comes
 * from schedstat (nanoseconds, per thread) where threads live on, and from stat (clock ticks) for what has ended: threads
 * that are gone, children that were waited for. Memory is PSS, which counts what several processes share once.
 */
import { readdirSync, readFileSync } from 'node:fs'

/** What /proc/[pid]/stat says of a process. */
export interface ProcessStat {
  readonly pid: number
  readonly parent: number
  /** Clock ticks of all its threads, dead ones included. */
  readonly ticks: number
  /** Clock ticks of its children that were waited for. */
  readonly childTicks: number
}

/** Linux's USER_HZ, the same on every architecture that Node.js runs on. */
const TICK_NS = 10_000_000

/** Reads the text of /proc/[pid]/stat; the name in parentheses may hold anything. */
export function parseStat(text: string): ProcessStat {
  const pid = Number.parseInt(text, 10)
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ').map(Number)
  const [parent = 0] = fields.slice(1)
  const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields.slice(11)
  return { pid, parent, ticks: user + system, childTicks: childUser + childSystem }
}

/** The processes of `roots` and all their descendants. */
export function descendants(roots: readonly number[], all: readonly ProcessStat[]): ProcessStat[] {
  const children = Map.groupBy(all, ({ parent }) => parent)
  const found = new Map<number, ProcessStat>()
  const add = (stat: ProcessStat): void => {
    if (found.has(stat.pid)) return
    found.set(stat.pid, stat)
    for (const child of children.get(stat.pid) ?? []) add(child)
  }
  for (const stat of all) if (roots.includes(stat.pid)) add(stat)
  return [...found.values()]
}

/** Kilobytes from the text of /proc/[pid]/smaps_rollup. */
export function parsePss(text: string): number {
  return Number(/^Pss: +(\d+) kB$/m.exec(text)?.[1] ?? 0)
}

/** Nanoseconds on a processor and waiting for one from the text of a schedstat. */
export function parseSchedstat(text: string): { readonly ran: number; readonly waited: number } {
  const [ran = 0, waited = 0] = text.split(' ').map(Number)
  return { ran, waited }
}

/** One look at a tree; two of them make a cost. */
export class TreeSample {
  readonly #processes: ReadonlyMap<number, ProcessCost>
  readonly #at = performance.now()

  private constructor(processes: ReadonlyMap<number, ProcessCost>) {
    this.#processes = processes
  }

  static of(roots: readonly number[]): TreeSample {
    return new TreeSample(new Map(treeOf(roots).map((stat) => [stat.pid, processCost(stat)])))
  }

  /** What was used between `before` and this. */
  since(before: TreeSample): TreeCost {
    let ns = 0
    let waited = 0
    let ticks = 0
    for (const [pid, now] of this.#processes) {
      const then = before.#processes.get(pid)
      ns += preciseNs(now, then)
      waited += now.waited - (then?.waited ?? 0)
      ticks += now.stat.childTicks - (then?.stat.childTicks ?? 0)
    }
    // What a child had used before the first look is in its parent's account once it was waited for: not again.
    for (const [pid, then] of before.#processes) if (!this.#processes.has(pid)) ticks -= then.stat.ticks + then.stat.childTicks
    const wall = (this.#at - before.#at) * 1e6
    const ran = ns + ticks * TICK_NS
    return { cpuSeconds: ran / 1e9, cores: ran / wall, wanted: (ran + waited) / wall }
  }
}

export interface TreeCost {
  /** Processor seconds. */
  readonly cpuSeconds: number
  /** Processor cores in use on average. */
  readonly cores: number
  /** Cores that it would have used had nobody else wanted them: running, or waiting for a core (of what has ended: running alone). */
  readonly wanted: number
}

interface ProcessCost {
  readonly stat: ProcessStat
  readonly tasks: ReadonlyMap<string, number>
  readonly waited: number
}

/** By threads when none has ended meanwhile, else by the process's ticks. */
function preciseNs(now: ProcessCost, then: ProcessCost | undefined): number {
  if (now.tasks.size === 0 || [...(then?.tasks.keys() ?? [])].some((task) => !now.tasks.has(task))) {
    return (now.stat.ticks - (then?.stat.ticks ?? 0)) * TICK_NS
  }
  let ns = 0
  for (const [task, ran] of now.tasks) ns += ran - (then?.tasks.get(task) ?? 0)
  return ns
}

function processCost(stat: ProcessStat): ProcessCost {
  const tasks = new Map<string, number>()
  let waited = 0
  const directory = `/proc/${stat.pid}/task`
  for (const task of present(() => readdirSync(directory)) ?? []) {
    const text = present(() => readFileSync(`${directory}/${task}/schedstat`, 'latin1'))
    if (text === undefined) continue
    const times = parseSchedstat(text)
    tasks.set(task, times.ran)
    waited += times.waited
  }
  return { stat, tasks, waited }
}

/** PSS of the whole tree, KB. */
export function treePss(roots: readonly number[]): number {
  return treeOf(roots)
    .map(({ pid }) => parsePss(present(() => readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1')) ?? ''))
    .reduce((sum, kilobytes) => sum + kilobytes, 0)
}

/** The processes of the tree that there are now. */
export function descendantPids(roots: readonly number[]): number[] {
  return treeOf(roots).map(({ pid }) => pid)
}

function treeOf(roots: readonly number[]): ProcessStat[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const text = present(() => readFileSync(`/proc/${pid}/stat`, 'latin1'))
      return text === undefined ? [] : [parseStat(text)]
    })
  return descendants(roots, all)
}

/** Processes come and go while one looks: what has gone is undefined. */
function present<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
