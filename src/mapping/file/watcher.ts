/**
 * Watches a mapping file for being replaced or rewritten. It is the directory that is watched, since a rename puts
 * another inode in the file's place, and with a symbolic link the directory of what it points to as well. Calls back
 * once the file has been still for DEBOUNCE_MS, only if its fingerprint moved.
 *
 * Some changes raise no event: those made by another host on a network file system, and a directory that is itself
 * exchanged. For their sake the file is looked at (one stat) every POLL_MS as well.
 */
import { watch } from 'node:fs'
import type { FSWatcher } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Clock, Timer } from '../../clock.ts'
import { fingerprintAt } from './fingerprint.ts'
import type { Fingerprint } from './fingerprint.ts'

export const DEBOUNCE_MS = 200
export const POLL_MS = 5_000
/** How often a directory that is gone is looked for. */
const RETRY_MS = 1_000

export interface WatcherOptions {
  readonly path: string
  readonly clock: Clock
  /** The file is another one, or has other content, than when this was last called. */
  readonly onMoved: () => void
  readonly warn: (message: string) => void
}

export class FileWatcher {
  readonly #options: WatcherOptions
  #watchers: FSWatcher[] = []
  #directories = ''
  #seen: Fingerprint = ''
  #timer: Timer | undefined
  #poll: Timer | undefined
  #looking = false
  #lookAgain = false
  #warned = false
  #closed = false

  constructor(options: WatcherOptions) {
    this.#options = options
  }

  /** `seen`: the state that is known. Resolves when watching has begun. */
  async start(seen: Fingerprint): Promise<void> {
    this.#seen = seen
    this.#poll = this.#options.clock.every(POLL_MS, () => void this.#look())
    await this.#look()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#poll?.cancel()
    this.#unwatch()
  }

  /** One look at a time, however many events come. */
  async #look(): Promise<void> {
    if (this.#looking) {
      this.#lookAgain = true
      return
    }
    this.#looking = true
    do {
      this.#lookAgain = false
      await this.#lookOnce()
    } while (this.#lookAgain && !this.#closed)
    this.#looking = false
  }

  async #lookOnce(): Promise<void> {
    try {
      await this.#follow()
      const now = await fingerprintAt(this.#options.path)
      if (this.#closed || now === this.#seen) return
      this.#seen = now
      this.#wait(DEBOUNCE_MS, () => this.#options.onMoved())
      this.#warned = false
    } catch (error) {
      if (this.#closed) return
      const reason = error instanceof Error ? error.message : String(error)
      if (!this.#warned) this.#options.warn(`${this.#options.path} can't be watched for the moment: ${reason}`)
      this.#warned = true
      this.#unwatch()
      this.#wait(RETRY_MS, () => void this.#look())
    }
  }

  #wait(ms: number, then: () => void): void {
    this.#timer?.cancel()
    this.#timer = this.#options.clock.after(ms, then)
  }

  /** Watches the directories that matter now, anew if they are others than before. */
  async #follow(): Promise<void> {
    const { path } = this.#options
    const paths = new Set([dirname(path)])
    try {
      paths.add(dirname(await realpath(path)))
    } catch (error) {
      // The file may be gone for the moment: its directory says when it is back.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    }
    const identities = await Promise.all([...paths].map(async (directory) => `${directory}=${await inode(directory)}`))
    if (this.#closed || identities.join() === this.#directories) return
    this.#unwatch()
    for (const directory of paths) {
      const watcher = watch(directory, { persistent: false }, () => void this.#look())
      watcher.on('error', () => {
        this.#directories = ''
        void this.#look()
      })
      this.#watchers.push(watcher)
    }
    this.#directories = identities.join()
  }

  #unwatch(): void {
    for (const watcher of this.#watchers) watcher.close()
    this.#watchers = []
    this.#directories = ''
  }
}

/** Device and inode of a directory, which is what a watch holds on to. Rejects when it is gone. */
async function inode(directory: string): Promise<string> {
  const state = await fingerprintAt(directory)
  if (state === 'missing') throw new Error(`${directory} is gone`)
  return state.split(':', 2).join(':')
}
