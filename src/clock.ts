/**
 * The one place that touches timers and the time of day, so that a fake clock can stand in for both in tests.
 * `now` is monotonic and comparable between processes of one host (CLOCK_MONOTONIC), `wall` is the time of day.
 */

/** A timer that was set; `cancel` is idempotent. */
export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Monotonic milliseconds, fractions included; the same scale in every process of this host. */
  now(): number
  /** Milliseconds since the epoch. */
  wall(): number
  /** Calls back once after `ms` milliseconds. Does not keep the process alive when `keepAlive` is false (the default). */
  after(ms: number, callback: () => void, options?: { keepAlive?: boolean }): Timer
  /** Calls back every `ms` milliseconds; never keeps the process alive. */
  every(ms: number, callback: () => void): Timer
  /** Resolves after `ms` milliseconds; keeps the process alive. */
  sleep(ms: number): Promise<void>
}

// performance.now() is the cheapest look at CLOCK_MONOTONIC, but counts from this process's start: from there to the
// host's scale it is a constant.
const ORIGIN = Number(process.hrtime.bigint() / 1000n) / 1000 - performance.now()

export const systemClock: Clock = {
  now: () => performance.now() + ORIGIN,
  wall: () => Date.now(),
  after(ms, callback, options) {
    const timer = setTimeout(callback, ms)
    if (options?.keepAlive !== true) timer.unref()
    return { cancel: () => clearTimeout(timer) }
  },
  every(ms, callback) {
    const timer = setInterval(callback, ms)
    timer.unref()
    return { cancel: () => clearInterval(timer) }
  },
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
}
