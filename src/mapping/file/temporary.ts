/**
 * Names of the temporary files beside a mapping file, and the removal of those that a process left behind when it was
 * killed. A name tells host and process, so that instances which share a directory leave each other's alone.
 */
import { randomBytes } from 'node:crypto'
import { readdir, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'

const HOST = encodeURIComponent(hostname()).replaceAll('.', '_')

function prefix(path: string): string {
  return `.${basename(path)}.signalbox.${HOST}.`
}

/** A name that nobody uses, in the directory of `path`. */
export function temporaryFor(path: string): string {
  return join(dirname(path), `${prefix(path)}${process.pid}.${randomBytes(6).toString('hex')}.tmp`)
}

/** Removes what processes of this host that no longer run have left beside `path`. */
export async function removeLeftovers(path: string): Promise<void> {
  const directory = dirname(path)
  for (const name of await readdir(directory)) {
    if (!name.startsWith(prefix(path)) || !name.endsWith('.tmp')) continue
    const pid = Number.parseInt(name.slice(prefix(path).length), 10)
    if (Number.isSafeInteger(pid) && pid > 0 && !runs(pid)) await rm(join(directory, name), { force: true })
  }
}

/** Whether this host has a process of that number. */
export function runs(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !(error instanceof Error && 'code' in error && error.code === 'ESRCH')
  }
}
