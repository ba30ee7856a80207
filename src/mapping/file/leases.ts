/**
 * Leases of accounts whose mapping file is shared by several instances: a hidden file beside it per lease, so that one
 * holds for every host that writes there, bus or no bus. Taking is link(2), which is atomic on network file systems too and
 * lets no half-written lease be seen.
 *
 * When a lease ends is written in it, as a time of day: the hosts' clocks must agree to a second or so, as they must for
 * certificates. One that has ended is removed under the file's lock alone, after another look: whoever removed what he saw a
 * moment ago might remove the lease that another has got in its place.
 */
import { createHash, randomBytes } from 'node:crypto'
import { link, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Clock } from '../../clock.ts'
import { SignalboxError } from '../../errors.ts'
import { leaseText, readLease } from '../lease.ts'
import type { LeaseHolder, Leases } from '../lease.ts'
import { FileLock } from './lock.ts'

/** How often a lease that ends while we look at it is tried for again. */
const TRIES = 5
/** Leases that ended so long ago are removed at the start. */
const FORGOTTEN_MS = 3_600_000
/** So long before its end nobody takes a lease for ended, whatever his clock says: its holder removes it without the lock. */
const CLOCKS_MS = 2_000

interface Found {
  readonly holder: LeaseHolder
  readonly until: number
}

export class FileLeases implements Leases {
  readonly #target: () => Promise<string>
  readonly #clock: Clock
  readonly #lock: FileLock

  /** @param target the mapping file itself, symbolic links resolved */
  constructor(target: () => Promise<string>, clock: Clock) {
    this.#target = target
    this.#clock = clock
    this.#lock = new FileLock(target, clock)
  }

  async lease(identifier: string, holder: LeaseHolder, ms: number): Promise<LeaseHolder | undefined> {
    const path = leasePath(await this.#target(), identifier)
    const own = `${path}.${randomBytes(6).toString('hex')}`
    try {
      await writeFile(own, `${this.#clock.wall() + ms}\n${leaseText(holder)}\n`, { mode: 0o600, flag: 'wx' })
      for (let tries = 0; tries < TRIES; tries++) {
        if (await linked(own, path)) return undefined
        const found = await read(path)
        if (found === undefined) continue
        if (found.until > this.#clock.wall()) return found.holder
        await this.#removeEnded(path)
      }
      throw new Error('it keeps changing hands')
    } catch (cause) {
      throw new SignalboxError('SOURCE_WRITE', `a lease beside the mapping file cannot be taken: ${wordsOf(cause)}`, { cause })
    } finally {
      await rm(own, { force: true })
    }
  }

  async endLease(identifier: string, id: string): Promise<void> {
    const path = leasePath(await this.#target(), identifier)
    const found = await read(path)
    if (found?.holder.id !== id) return
    if (found.until - this.#clock.wall() > CLOCKS_MS) return rm(path, { force: true })
    await this.#lock.hold(async () => {
      if ((await read(path))?.holder.id === id) await rm(path, { force: true })
    })
  }

  /** Removes what holders that died left behind. Rejects with SOURCE_WRITE when the lock that it takes can't be had. */
  async sweep(): Promise<void> {
    const target = await this.#target()
    const directory = dirname(target)
    for (const name of await readdir(directory)) {
      if (!name.startsWith(prefixOf(target))) continue
      const found = await read(join(directory, name))
      if (found === undefined || found.until >= this.#clock.wall() - FORGOTTEN_MS) continue
      await this.#removeEnded(join(directory, name))
    }
  }

  async #removeEnded(path: string): Promise<void> {
    await this.#lock.hold(async () => {
      const found = await read(path)
      if (found !== undefined && found.until <= this.#clock.wall()) await rm(path, { force: true })
    })
  }
}

function prefixOf(target: string): string {
  return `.${basename(target)}.signalbox-lease.`
}

/** By digest: an account may hold any character, and its name is nobody's business in a listing. */
function leasePath(target: string, identifier: string): string {
  const digest = createHash('sha256').update(identifier).digest('hex').slice(0, 40)
  return join(dirname(target), `${prefixOf(target)}${digest}`)
}

/** False: there is one already. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    throw error
  }
}

async function read(path: string): Promise<Found | undefined> {
  try {
    const [until = '', holder = ''] = (await readFile(path, 'utf8')).split('\n')
    const end = Number(until)
    return { holder: readLease(holder), until: Number.isFinite(end) ? end : 0 }
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
