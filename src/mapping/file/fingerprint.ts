/**
 * What tells one state of a file from another without reading it: device, inode, size, modification and change time
 * in nanoseconds. Change time is what an editor that restores the modification time cannot restore; a chmod therefore
 * counts as a change too, which costs a reload.
 */
import { fstatSync, statSync } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { stat } from 'node:fs/promises'

/** Compared as a whole. */
export type Fingerprint = string

export function fingerprint(stats: BigIntStats): Fingerprint {
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}`
}

export function fingerprintOf(descriptor: number): Fingerprint {
  return fingerprint(fstatSync(descriptor, { bigint: true }))
}

/** "missing" when there is no such file; other failures throw. */
export function fingerprintAtSync(path: string): Fingerprint {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false })
  return stats === undefined ? 'missing' : fingerprint(stats)
}

/** "missing" when there is no such file; other failures reject. */
export async function fingerprintAt(path: string): Promise<Fingerprint> {
  try {
    return fingerprint(await stat(path, { bigint: true }))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 'missing'
    throw error
  }
}
