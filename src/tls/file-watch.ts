/**
 * Looks every so often whether files that belong together (a certificate and its key) were replaced, and loads them when
 * they were. By looking, not by the kernel's events: certificates arrive through renamed files, through symbolic links to
 * directories that are exchanged, and over network file systems, and a look sees all of them alike.
 *
 * Who replaces two files does it one after the other. So a change counts once it has stood still from one look to the
 * next, and a pair that doesn't fit is tried again at every look and complained of only after PATIENCE, once.
 */
import { stat } from 'node:fs/promises'
import type { Clock, Timer } from '../clock.ts'
import { CERTIFICATE_LOOK_MS, CERTIFICATE_PATIENCE_MS } from '../limits.ts'

export interface Watched {
  readonly paths: readonly string[]
  /** Reads the files and puts them to use. Gives what is wrong with them; undefined: they are in use now. */
  readonly load: () => Promise<string | undefined>
  /** They have been unusable for a while: once for each state of the files. */
  readonly broken: (reason: string) => void
}

interface State {
  readonly watched: Watched
  /** Of the files in use. */
  loaded: string
  /** At the last look. */
  seen: string
  brokenSince: number | undefined
  /** The state that was complained of. */
  told: string | undefined
}

export class FileWatch {
  readonly #clock: Clock
  readonly #states: State[] = []
  #timer: Timer | undefined
  #looking: Promise<void> | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Begins. What the files were when they were read first is not known: they are loaded once more. */
  start(watched: readonly Watched[]): void {
    for (const one of watched) this.#states.push({ watched: one, loaded: '', seen: '', brokenSince: undefined, told: undefined })
    this.#timer = this.#clock.every(CERTIFICATE_LOOK_MS, () => void this.look())
  }

  close(): void {
    this.#timer?.cancel()
    this.#states.length = 0
  }

  /** One look at everything; the one that is under way, if there is one. */
  look(): Promise<void> {
    this.#looking ??= this.#lookAtAll().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #lookAtAll(): Promise<void> {
    // Closing empties the list, and so ends the round.
    for (const state of this.#states) await this.#lookAt(state)
  }

  async #lookAt(state: State): Promise<void> {
    const { watched } = state
    const now = await stateOf(watched.paths)
    if (now === state.loaded) {
      state.brokenSince = undefined
      state.seen = now
      return
    }
    if (now !== state.seen) {
      state.seen = now
      state.brokenSince = undefined
      return
    }
    const reason = await watched.load()
    if (reason === undefined) {
      // Of before reading: what changes under our hands is seen at the next look.
      state.loaded = now
      state.brokenSince = undefined
      state.told = undefined
      return
    }
    state.brokenSince ??= this.#clock.now()
    if (state.told === now || this.#clock.now() - state.brokenSince < CERTIFICATE_PATIENCE_MS) return
    state.told = now
    watched.broken(reason)
  }
}

/** What tells one state of the files from another without reading them. Never rejects. */
async function stateOf(paths: readonly string[]): Promise<string> {
  const states = await Promise.all(
    paths.map(async (path) => {
      try {
        const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true })
        return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`
      } catch (error) {
        return error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
      }
    }),
  )
  return states.join(' ')
}
