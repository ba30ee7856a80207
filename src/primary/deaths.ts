/**
 * What the death of a worker leads to: a new one, after a pause that doubles as long as they die young; or, when too many died
 * before one was ever ready, the end of the instance. Without clock or processes.
 */
import { DEATHS_AT_START, RESPAWN_MAX_MS, RESPAWN_MIN_MS } from '../limits.ts'

export class Deaths {
  #count = 0
  #pause = RESPAWN_MIN_MS

  /** How many so far. */
  get count(): number {
    return this.#count
  }

  /**
   * One has died.
   *
   * @param young it had not lived long, or never begun to serve
   * @param everReady at least one worker of this instance has served
   * @returns milliseconds until another is started; undefined: none is, since none would live
   */
  one({ young, everReady }: { young: boolean; everReady: boolean }): number | undefined {
    this.#count++
    if (!everReady && this.#count >= DEATHS_AT_START) return undefined
    if (!young) {
      this.#pause = RESPAWN_MIN_MS
      return 0
    }
    const pause = this.#pause
    this.#pause = Math.min(this.#pause * 2, RESPAWN_MAX_MS)
    return pause
  }
}
