/**
 * Why something is for nobody any more, told once to whoever listens: an AbortController without its price, which every
 * session would pay for an end that comes to few. What waits for one takes `CancelSignal`, which an AbortSignal is, too.
 */

/** The part of an AbortSignal that is needed. */
export interface CancelSignal {
  readonly aborted: boolean
  /** Undefined until then. */
  readonly reason: unknown
  addEventListener(type: 'abort', listener: () => void): void
  removeEventListener(type: 'abort', listener: () => void): void
}

export class Cancel implements CancelSignal {
  #aborted = false
  #reason: unknown
  /** In the order of coming. */
  #listeners: (() => void)[] | undefined

  get aborted(): boolean {
    return this.#aborted
  }

  get reason(): unknown {
    return this.#reason
  }

  /** For those that are given both, as of an AbortController. */
  get signal(): CancelSignal {
    return this
  }

  /** The first reason counts. */
  abort(reason: unknown): void {
    if (this.#aborted) return
    this.#aborted = true
    this.#reason = reason
    // One that is taken away meanwhile is not told.
    for (let next = this.#listeners?.shift(); next !== undefined; next = this.#listeners?.shift()) next()
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    if (this.#aborted) return
    if (this.#listeners === undefined) this.#listeners = [listener]
    else this.#listeners.push(listener)
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    const at = this.#listeners?.lastIndexOf(listener) ?? -1
    if (at >= 0) this.#listeners?.splice(at, 1)
  }
}
