/** Temporary directories for tests, each removed with all that is in it. */
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Temporary extends AsyncDisposable {
  readonly path: string
  /** Idempotent. */
  remove(): Promise<void>
}

/** @param mode 0o700 unless servers under other users must look into it */
export async function makeTemporary(name = 'test', mode = 0o700): Promise<Temporary> {
  const path = await mkdtemp(join(tmpdir(), `signalbox-${name}-`))
  await chmod(path, mode)
  const remove = (): Promise<void> => rm(path, { recursive: true, force: true, maxRetries: 3, retryDelay: 100 })
  return { path, remove, [Symbol.asyncDispose]: remove }
}
