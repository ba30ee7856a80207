/** A clock that stands still until a test moves it. Timers run in the order of their time, at their time. */
import type { Clock, Timer } from '../../src/clock.ts'

interface Entry {
  at: number
  order: number
  every: number | undefined
  callback: () => void
}

export class FakeClock implements Clock {
  #now = 0
  #order = 0
  #entries: Entry[] = []

  now(): number {
    return this.#now
  }

  wall(): number {
    return 1_700_000_000_000 + this.#now
  }

  after(ms: number, callback: () => void): Timer {
    return this.#add(ms, undefined, callback)
  }

  every(ms: number, callback: () => void): Timer {
    return this.#add(ms, ms, callback)
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, resolve)
    })
  }

  /** How many timers are set. */
  get pending(): number {
    return this.#entries.length
  }

  /** Moves the time on by `ms`, running what falls due on the way. */
  advance(ms: number): void {
    const target = this.#now + ms
    for (;;) {
      let next: Entry | undefined
      for (const entry of this.#entries) {
        if (entry.at > target) continue
        if (next === undefined || entry.at < next.at || (entry.at === next.at && entry.order < next.order)) next = entry
      }
      if (next === undefined) break
      this.#now = Math.max(this.#now, next.at)
      if (next.every === undefined) this.#entries.splice(this.#entries.indexOf(next), 1)
      else next.at += next.every
      next.callback()
    }
    this.#now = target
  }

  /** Like advance, letting promises settle between steps of `step` ms. */
  async advanceAsync(ms: number, step = ms): Promise<void> {
    for (let left = ms; left > 0; left -= step) {
      this.advance(Math.min(step, left))
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  #add(ms: number, every: number | undefined, callback: () => void): Timer {
    const entry: Entry = { at: this.#now + ms, order: this.#order++, every, callback }
    this.#entries.push(entry)
    return {
      cancel: () => {
        const index = this.#entries.indexOf(entry)
        if (index >= 0) this.#entries.splice(index, 1)
      },
    }
  }
}
