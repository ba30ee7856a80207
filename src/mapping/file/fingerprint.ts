/**
 * What tells one state of a file from another without reading it: device, inode, size, modification and change time
 * in nanoseconds. Change time is what an editor that restores the modification time cannot restore; a chmod therefore
 * counts as a change too, which costs a reload.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { open, stat } from 'node:fs/promises'

/** Compared as a whole. */
export type Fingerprint = string

export function fingerprint(stats: BigIntStats): Fingerprint {
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}`
}

export function fingerprintOf(descriptor: number): Fingerprint {
  return fingerprint(fstatSync(descriptor, { bigint: true }))
}

/** Opening makes a network file system ask the server; a mere stat may tell what was true seconds ago. */
const LOOK = constants.O_RDONLY | constants.O_NONBLOCK

/** "missing" when there is no such file; other failures throw. */
export function fingerprintAtSync(path: string): Fingerprint {
  let descriptor: number
  try {
    descriptor = openSync(path, LOOK)
  } catch (error) {
    if (isMissing(error)) return 'missing'
    throw error
  }
  try {
    return fingerprintOf(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** The same, with promises. */
export async function openedFingerprint(path: string): Promise<Fingerprint> {
  try {
    await using handle = await open(path, LOOK)
    return fingerprint(await handle.stat({ bigint: true }))
  } catch (error) {
    if (isMissing(error)) return 'missing'
    throw error
  }
}

/** "missing" when there is no such file; other failures reject. */
export async function fingerprintAt(path: string): Promise<Fingerprint> {
  try {
    return fingerprint(await stat(path, { bigint: true }))
  } catch (error) {
    if (isMissing(error)) return 'missing'
    throw error
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
