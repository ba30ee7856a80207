/**
 * Replaces a mapping file by a new one so that at every moment it is complete: a temporary file in the same directory,
 * fsync, rename, fsync of the directory. Mode and owner are kept; a symbolic link stays one, what it points to is
 * replaced. Runs in the thread.
 *
 * Whether the file was changed by somebody else is looked at right before the rename. POSIX has no rename that depends
 * on it, so a change in the microseconds between the two is overwritten. Instances that share the file write it under a lock
 * (lock.ts), so that this is left to people with editors alone.
 */
import { closeSync, constants, fchmodSync, fchownSync, fstatSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { SignalboxError } from '../../errors.ts'
import { fingerprintAtSync, fingerprintOf } from './fingerprint.ts'
import type { Fingerprint } from './fingerprint.ts'
import { isHeld } from './lock.ts'
import type { Held } from './lock.ts'

export interface Replacement {
  /** The file itself, symbolic links resolved. */
  readonly path: string
  /** In the same directory; must not exist. */
  readonly temporary: string
  /** The state that is replaced. */
  readonly expected: Fingerprint
  /** The lock under which it is replaced, if the file is shared. */
  readonly held?: Held
}

/**
 * `write` fills the new file; `verify` may look at it, complete, before it takes the old one's place. Returns its
 * fingerprint. Throws SOURCE_CONFLICT and SOURCE_WRITE; then the old file is untouched and no temporary one is left.
 */
export function replaceFile(what: Replacement, write: (descriptor: number) => void, verify?: () => void): Fingerprint {
  let descriptor: number | undefined
  try {
    refuseConflict(what)
    const old = statSync(what.path)
    // Not readable for others before it has the old one's mode.
    descriptor = openSync(what.temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
    const made = fstatSync(descriptor)
    if (made.uid !== old.uid || made.gid !== old.gid) fchownSync(descriptor, old.uid, old.gid)
    fchmodSync(descriptor, old.mode & 0o7777)
    write(descriptor)
    fsyncSync(descriptor)
    verify?.()
    refuseConflict(what)
    renameSync(what.temporary, what.path)
  } catch (thrown) {
    if (descriptor !== undefined) {
      closeSync(descriptor)
      rmSync(what.temporary, { force: true })
    }
    if (thrown instanceof SignalboxError) throw thrown
    throw failedToWrite(what.path, thrown)
  }
  try {
    syncDirectory(dirname(what.path))
    return fingerprintOf(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

function refuseConflict({ path, expected, held }: Replacement): void {
  if (held !== undefined && !isHeld(held)) {
    throw new SignalboxError('SOURCE_CONFLICT', `${path}: its lock was taken by another instance, because this one stood still`)
  }
  if (fingerprintAtSync(path) === expected) return
  throw new SignalboxError('SOURCE_CONFLICT', `${path}: changed on disk since it was read; reload it first`)
}

/** The rename is done; a file system that cannot sync directories takes nothing back. */
function syncDirectory(path: string): void {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    fsyncSync(descriptor)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code !== 'EINVAL' && code !== 'ENOTSUP') throw error
  } finally {
    closeSync(descriptor)
  }
}

export function failedToWrite(path: string, cause: unknown): SignalboxError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  const hint = code === 'EPERM' || code === 'EACCES' ? ' (its owner, mode and directory must allow replacing it)' : ''
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new SignalboxError('SOURCE_WRITE', `${path}: not written, nothing has changed: ${reason}${hint}`, { cause })
}
