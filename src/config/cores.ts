/**
 * How many workers "one per core" means. The runtime counts the cores that this process may be scheduled on; a
 * container is often limited by a quota of CPU time instead, which some kernels and versions don't show there. The
 * smaller number counts, rounded down to whole cores, never below one.
 */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/** Reads a file of the kernel; undefined where it does not exist. */
export type ReadKernelFile = (path: string) => string | undefined

/** Cores that this process may use. */
export function availableCores(read: ReadKernelFile = readKernelFile, cores: number = availableParallelism()): number {
  const quota = Math.min(quotaV2(read), quotaV1(read))
  return Math.max(1, Math.min(cores, Math.floor(quota)))
}

/** cgroup v2: `cpu.max` holds "quota period" or "max period", in this group and every one above it. */
function quotaV2(read: ReadKernelFile): number {
  const own = (read('/proc/self/cgroup') ?? '').split('\n').find((line) => line.startsWith('0::'))?.slice(3) ?? '/'
  let smallest = Infinity
  const steps = own.split('/').filter((step) => step !== '' && step !== '..')
  for (let depth = steps.length; depth >= 0; depth--) {
    const directory = ['/sys/fs/cgroup', ...steps.slice(0, depth)].join('/')
    const [quota, period] = (read(`${directory}/cpu.max`) ?? '').trim().split(/\s+/)
    smallest = Math.min(smallest, share(quota, period))
  }
  return smallest
}

/** cgroup v1: two files, a quota of -1 means none. */
function quotaV1(read: ReadKernelFile): number {
  const line = (read('/proc/self/cgroup') ?? '').split('\n').find((entry) => /^\d+:([^:]*,)?cpu(,[^:]*)?:/.test(entry))
  const own = line?.split(':').slice(2).join(':') ?? '/'
  let smallest = Infinity
  for (const directory of new Set([`/sys/fs/cgroup/cpu${own === '/' ? '' : own}`, '/sys/fs/cgroup/cpu'])) {
    smallest = Math.min(smallest, share(read(`${directory}/cpu.cfs_quota_us`), read(`${directory}/cpu.cfs_period_us`)))
  }
  return smallest
}

function share(quota: string | undefined, period: string | undefined): number {
  const [time, every] = [Number(quota), Number(period)]
  return quota !== undefined && quota.trim() !== '' && time > 0 && every > 0 ? time / every : Infinity
}

function readKernelFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // Another kind of control group, or another system: no limit to be read here.
    return undefined
  }
}
