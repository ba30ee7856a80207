/**
 * The lock between instances that write one mapping file: a hidden file beside it. Whoever has it has the file to himself, from
 * looking at it to the rename. Taking it is link(2), which is atomic on network file systems too and lets no half-written
 * lock be seen; `flock` is not in Node and does not hold everywhere.
 *
 * Who holds it moves a counter in it every BEAT_MS. One whose counter has stood still for SHARED_LOCK_STALE_MS by the waiting
 * one's own clock is dead, and one of this host whose process is gone is dead at once: no clocks need agree. A holder that only
 * slept must not write any more, so it looks at the lock once again right before the rename (`Held`). What is left is a holder
 * that falls asleep for that long between this look and the rename itself.
 *
 * There is no queue. Whoever gave the lock back waits a little longer before he takes it again than others wait between two tries.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { link, open, readFile, rename, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { SignalboxError } from '../../errors.ts'
import { SHARED_LOCK_STALE_MS, SHARED_LOCK_WAIT_MS } from '../../limits.ts'
import { runs, temporaryFor } from './temporary.ts'

/** A fifth of what counts as dead, and more. */
const BEAT_MS = 1_000
/** Between two tries: at least, and at most. */
const TRY_MIN_MS = 2
const TRY_MAX_MS = 6
const YIELD_MS = 8

/** What a holder's thread needs to see that the lock is still his. */
export interface Held {
  readonly path: string
  readonly id: string
}

/** Who stands in a lock file: id, place, process, counter. */
interface Holder {
  readonly id: string
  readonly place: string
  readonly pid: number
}

export class FileLock {
  readonly #target: () => Promise<string>
  readonly #clock: Clock
  #given = Number.NEGATIVE_INFINITY

  /** @param target the mapping file itself, symbolic links resolved */
  constructor(target: () => Promise<string>, clock: Clock) {
    this.#target = target
    this.#clock = clock
  }

  /** Has `work` done under the lock. Rejects with SOURCE_WRITE, nothing done, when it can't be had in SHARED_LOCK_WAIT_MS. */
  async hold<Result>(work: (held: Held) => Promise<Result>): Promise<Result> {
    const since = this.#clock.now() - this.#given
    if (since < YIELD_MS) await this.#clock.sleep(YIELD_MS - since)
    const target = await this.#target()
    const held: Held = { path: lockPath(target), id: randomBytes(9).toString('base64url') }
    const handle = await this.#take(target, held).catch((cause: unknown) => {
      if (cause instanceof SignalboxError) throw cause
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new SignalboxError('SOURCE_WRITE', `${target}: not written, nothing has changed: its lock cannot be taken: ${reason}`, { cause })
    })
    let beat = 0
    let beating: Promise<unknown> = Promise.resolve()
    const beats = this.#clock.every(BEAT_MS, () => {
      // One that fails is like one that is late: others may take the lock for a dead one's, and the holder sees it.
      beating = beating.then(() => handle.write(lockText(held.id, ++beat), 0)).catch(() => undefined)
    })
    try {
      return await work(held)
    } finally {
      beats.cancel()
      await beating
      await handle.close()
      if (isHeld(held)) await rm(held.path, { force: true })
      this.#given = this.#clock.now()
    }
  }

  async #take(target: string, { path, id }: Held): Promise<FileHandle> {
    const own = temporaryFor(target)
    const handle = await open(own, 'wx', 0o600)
    try {
      await handle.write(lockText(id, 0), 0)
      const began = this.#clock.now()
      let seen: string | undefined
      let seenAt = began
      while (!(await linked(own, path, id))) {
        const now = this.#clock.now()
        const text = await textOf(path)
        if (text !== seen) {
          seen = text
          seenAt = now
        }
        if (text !== undefined && (now - seenAt >= SHARED_LOCK_STALE_MS || isDead(readHolder(text)))) await takeAway(target, path, text)
        else if (now - began >= SHARED_LOCK_WAIT_MS) {
          throw new Error(`another instance has held it for ${Math.round((now - began) / 1000)} s`)
        } else if (text !== undefined) await this.#clock.sleep(TRY_MIN_MS + Math.random() * (TRY_MAX_MS - TRY_MIN_MS))
      }
      return handle
    } catch (error) {
      await handle.close()
      throw error
    } finally {
      await rm(own, { force: true })
    }
  }
}

/** Whether the lock is still that holder's. */
export function isHeld({ path, id }: Held): boolean {
  try {
    return readHolder(readFileSync(path, 'utf8')).id === id
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false
    throw error
  }
}

function lockPath(target: string): string {
  return join(dirname(target), `.${basename(target)}.signalbox-lock`)
}

/** Always as long, so that it is written over in place. */
function lockText(id: string, beat: number): string {
  return `${id} ${PLACE} ${process.pid} ${String(beat).padStart(10, '0')}\n`
}

function readHolder(text: string): Holder {
  const [id = '', place = '', pid = ''] = text.split(' ')
  return { id, place, pid: Number(pid) }
}

/**
 * Where process numbers mean the same: this boot of this kernel, and this namespace of it (containers have their own, and may well
 * have the same host name). Empty where the system doesn't say: then nobody is dead before his counter stands still.
 */
const PLACE = ((): string => {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return `${boot}:${readlinkSync('/proc/self/ns/pid').replaceAll(/[^0-9]/g, '')}`
  } catch {
    return ''
  }
})()

function isDead({ place, pid }: Holder): boolean {
  return PLACE !== '' && place === PLACE && Number.isSafeInteger(pid) && pid > 0 && !runs(pid)
}

/** Rename, which only one succeeds in; what turns out to be a newer lock than the dead one's is put back. */
async function takeAway(target: string, path: string, dead: string): Promise<void> {
  const aside = temporaryFor(target)
  try {
    await rename(path, aside)
    if (readHolder(await readFile(aside, 'utf8')).id !== readHolder(dead).id) await linked(aside, path, '')
    await rm(aside, { force: true })
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error
  }
}

/** False: there is one already, and it is not the one of that id (on NFS an answer may get lost, and the repeated link fail). */
async function linked(from: string, to: string, id: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (isCode(error, 'EEXIST')) return id !== '' && isHeld({ path: to, id })
    throw error
  }
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
