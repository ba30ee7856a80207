/**
 * Signals that come before anybody knows what they should mean. To Node a SIGHUP or SIGUSR2 is the end and a SIGUSR1 a debugger's
 * port, but the command line of an instance takes a good part of a second to be read; so the entry makes one of these before
 * anything else. Then the instance takes each signal over and is told how often it has come, or another command
 * releases them all: what has come is sent again then, and does what it does to every program.
 *
 * Knows nothing of meanings. What comes before the entry itself runs is Node's (`--disable-sigusr1`).
 */
import { setImmediate as turn } from 'node:timers/promises'

export type EarlySignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'SIGUSR1' | 'SIGUSR2'

const SIGNALS: readonly EarlySignal[] = ['SIGUSR1', 'SIGHUP', 'SIGUSR2', 'SIGTERM', 'SIGINT']

export class EarlySignals {
  readonly #came = new Map<EarlySignal, number>()
  readonly #held = new Map<EarlySignal, () => void>()

  constructor() {
    for (const signal of SIGNALS) {
      const hold = (): void => void this.#came.set(signal, this.#times(signal) + 1)
      this.#held.set(signal, hold)
      process.on(signal, hold)
    }
  }

  /** From now on `heed` is called for each. Returns how often it has come before. */
  take(signal: EarlySignal, heed: () => void): number {
    process.on(signal, heed)
    this.#letGo(signal)
    const times = this.#times(signal)
    this.#came.delete(signal)
    return times
  }

  /** From now on it means what it means to any program; if it has come it is sent again. */
  release(signal: EarlySignal): void {
    this.#letGo(signal)
    if (this.#came.delete(signal)) process.kill(process.pid, signal)
  }

  /** All but SIGUSR1, which no command wants. Resolves when they are released. */
  async releaseAll(): Promise<void> {
    // What came while modules were read waits in the event loop, which may have looked for the last time just before.
    await turn()
    await turn()
    for (const signal of SIGNALS) if (signal !== 'SIGUSR1') this.release(signal)
  }

  #letGo(signal: EarlySignal): void {
    const hold = this.#held.get(signal)
    if (hold !== undefined) process.off(signal, hold)
    this.#held.delete(signal)
  }

  #times(signal: EarlySignal): number {
    return this.#came.get(signal) ?? 0
  }
}
