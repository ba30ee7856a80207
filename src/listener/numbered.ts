/**
 * Listeners by number. A connection on its way to a worker names its listener, and a reload may change what a name stands
 * for meanwhile: so every state of a listener has a number of its own, never used again, and a connection is served by
 * the listener that it was accepted on. A listener that a reload left as it was keeps its number.
 *
 * States that are no longer in force are remembered for RETIRED_MS: longer than a connection may be on its way.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '../clock.ts'
import type { ListenerConfig } from '../config/config.ts'

export interface NumberedListener {
  readonly number: number
  readonly listener: ListenerConfig
}

/** A connection is given up long before (primary/acceptor.ts). */
export const RETIRED_MS = 30_000

export class ListenerNumbers {
  readonly #clock: Clock
  #current: readonly NumberedListener[] = []
  #retired: { readonly numbered: NumberedListener; readonly until: number }[] = []
  #next = 0

  constructor(listeners: readonly ListenerConfig[], clock: Clock) {
    this.#clock = clock
    this.replace(this.number(listeners))
  }

  /** In force. */
  get current(): readonly NumberedListener[] {
    return this.#current
  }

  /** Not in force, but so lately that a connection may be on its way. */
  get retired(): readonly NumberedListener[] {
    const now = this.#clock.now()
    this.#retired = this.#retired.filter(({ until }) => until > now)
    return this.#retired.map(({ numbered }) => numbered)
  }

  /** Numbers for other listeners. Nothing is in force yet; numbers that are not used are lost, which costs nothing. */
  number(listeners: readonly ListenerConfig[]): readonly NumberedListener[] {
    return listeners.map((listener) => {
      const same = this.#current.find((old) => isDeepStrictEqual(old.listener, listener))
      return same ?? { number: this.#next++, listener }
    })
  }

  replace(numbered: readonly NumberedListener[]): void {
    const kept = new Set(numbered.map(({ number }) => number))
    const until = this.#clock.now() + RETIRED_MS
    for (const old of this.#current) if (!kept.has(old.number)) this.#retired.push({ numbered: old, until })
    this.#current = numbered
  }
}
