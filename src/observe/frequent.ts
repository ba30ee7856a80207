/**
 * The lines of the log that every session writes, rendered by hand: the same keys in the same order as pino would write them
 * (a test holds the two together), for a fifth of the price. What may be in a field is quoted here; there is no serializer
 * behind it, so errors and whatever may carry a secret don't come this way.
 */
import type { Logger } from 'pino'

export interface FrequentOptions {
  /** Decides by its level. */
  readonly logger: Logger
  /** Number of the worker; undefined in the primary. */
  readonly worker: number | undefined
  /** Milliseconds since the epoch. */
  readonly wall: () => number
  /** Takes a line with its line break. */
  readonly write: (line: string) => void
}

/** pino's number of the level `info`. */
const INFO = 30

export class FrequentLines {
  readonly #options: FrequentOptions
  readonly #worker: string
  /** The second that was written last, and how: up to its fraction. */
  #second = -1
  #upToFraction = ''

  constructor(options: FrequentOptions) {
    this.#options = options
    this.#worker = options.worker === undefined ? '' : `"worker":${options.worker},`
  }

  /** Whether lines of the level `info` are written. */
  get info(): boolean {
    return this.#options.logger.levelVal <= INFO
  }

  /** @param fields JSON members without braces, `event` among them: what changes is made with `quoted` */
  write(fields: string, sentence: string): void {
    const { wall, write } = this.#options
    const now = wall()
    const second = Math.floor(now / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#upToFraction = new Date(second * 1000).toISOString().slice(0, -4)
    }
    const fraction = String(Math.floor(now - second * 1000)).padStart(3, '0')
    write(`{"level":"info","time":"${this.#upToFraction}${fraction}Z",${this.#worker}${fields},"msg":"${sentence}"}\n`)
  }
}

/** What JSON can't hold as it is. */
const SPECIAL = /[\u0000-\u001f"\\\ud800-\udfff]/

/** A JSON string. */
export function quoted(text: string): string {
  return SPECIAL.test(text) ? JSON.stringify(text) : `"${text}"`
}
