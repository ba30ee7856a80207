/**
 * A process that is stopped: what comes for it, timers too, waits until it goes on, in the order of its coming. Its clock goes
 * on meanwhile.
 */
import type { BusListener, BusTransport } from '../../src/bus/transport.ts'
import type { Clock, Timer } from '../../src/clock.ts'

export class Standstill implements Clock {
  readonly #clock: Clock
  #held: (() => void)[] = []
  #standing = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get standing(): boolean {
    return this.#standing
  }

  begin(): void {
    this.#standing = true
  }

  end(): void {
    this.#standing = false
    const held = this.#held
    this.#held = []
    for (const go of held) go()
  }

  /** Now, or when it goes on. */
  pass(go: () => void): void {
    if (this.#standing) this.#held.push(go)
    else go()
  }

  /** The same for the end of something that goes on outside. */
  async outside<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } finally {
      await new Promise<void>((resolve) => {
        this.pass(resolve)
      })
    }
  }

  now(): number {
    return this.#clock.now()
  }

  wall(): number {
    return this.#clock.wall()
  }

  after(ms: number, callback: () => void): Timer {
    return this.#unlessCancelled((go) => this.#clock.after(ms, () => this.pass(go)), callback)
  }

  every(ms: number, callback: () => void): Timer {
    // What fell due several times meanwhile runs once.
    let waits = false
    return this.#unlessCancelled(
      (go) =>
        this.#clock.every(ms, () => {
          if (waits) return
          waits = true
          this.pass(() => {
            waits = false
            go()
          })
        }),
      callback,
    )
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, resolve)
    })
  }

  #unlessCancelled(set: (go: () => void) => Timer, callback: () => void): Timer {
    let cancelled = false
    const timer = set(() => {
      if (!cancelled) callback()
    })
    return {
      cancel() {
        cancelled = true
        timer.cancel()
      },
    }
  }
}

/** The process's end of a bus. */
export function heardBy(process: Standstill, end: BusTransport): BusTransport {
  const listening = (listener: BusListener): BusListener => ({
    frame: (channel, bytes) => process.pass(() => listener.frame(channel, bytes)),
    resubscribed: () => process.pass(() => listener.resubscribed()),
  })
  return {
    open: (channels, listener, allowUnavailable) => end.open(channels, listening(listener), allowUnavailable),
    publish: (channel, bytes, deadline) => end.publish(channel, bytes, deadline),
    subscribers: (channel, deadline) => end.subscribers(channel, deadline),
    trouble: () => end.trouble(),
    close: () => end.close(),
  }
}
