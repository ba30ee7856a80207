/**
 * What the workers work by, seen from the primary: it numbers listeners and generations, gives a worker that starts the
 * settings of that moment, offers others to all of them, and brings up to date whoever started meanwhile.
 *
 * A worker that doesn't answer doesn't hold up a reload: what it is told waits in its channel, in order, and the settings
 * are those that the others could use. One that is gone has a successor, which starts with what is in force.
 */
import type { Clock } from '../clock.ts'
import type { Settings } from '../cluster/channel.ts'
import type { Config } from '../config/config.ts'
import { asSignalboxError } from '../errors.ts'
import type { SignalboxError } from '../errors.ts'
import { ListenerNumbers } from '../listener/numbered.ts'
import type { NumberedListener } from '../listener/numbered.ts'
import type { KeyPair } from '../tls/certificates.ts'
import type { Outcome } from './reloading.ts'
import type { WorkerHandle } from './supervisor.ts'

export interface SettingsKeeperOptions {
  readonly clock: Clock
  readonly listeners: Config['listeners']
  /** In force, its certificates as they are now. */
  readonly config: () => Config
  readonly ticketKeys: () => Uint8Array
  readonly fallback: () => KeyPair | undefined
  /** Ready ones, draining ones included. */
  readonly workers: () => readonly WorkerHandle[]
  /** A worker has not confirmed. */
  readonly unconfirmed: (worker: number, error: SignalboxError) => void
}

export interface NextSettings {
  readonly config: Config
  readonly listeners: readonly NumberedListener[]
  readonly ticketKeys: Uint8Array
  readonly fallback: KeyPair | undefined
}

/** Making contexts for many certificates takes a while; a worker that stands still longer than this is about to be replaced. */
const DEADLINE_MS = 10_000

export class SettingsKeeper {
  readonly numbers: ListenerNumbers
  readonly #options: SettingsKeeperOptions
  /** What each worker was told to use. */
  readonly #told = new Map<number, number>()
  #generation = 0
  /** Of those that were offered; each is used once. */
  #offered = 0

  constructor(options: SettingsKeeperOptions) {
    this.#options = options
    this.numbers = new ListenerNumbers(options.listeners, options.clock)
  }

  /** For a worker that starts. */
  started(worker: number): Settings {
    this.#told.set(worker, this.#generation)
    return this.#current
  }

  /** A worker is ready; it may have been started before the last reload. True: it had been, and was given what is in force. */
  bringUpToDate(handle: WorkerHandle): boolean {
    if (this.#told.get(handle.worker) === this.#generation) return false
    handle.sendSettings(this.#current)
    this.#prepare(handle, this.#generation).catch(() => {
      // Told by the answer to the second question.
    })
    void this.#use(handle)
    return true
  }

  gone(worker: number): void {
    this.#told.delete(worker)
  }

  /** Rejects with the first worker's reason why the settings can't be used. `use` puts them in force, in one turn. */
  async prepare({ config, listeners, ticketKeys, fallback }: NextSettings): Promise<{ use(): Promise<Outcome> }> {
    const generation = ++this.#offered
    const retired = [...this.numbers.retired, ...this.numbers.current.filter((old) => !listeners.includes(old))]
    const settings: Settings = { generation, config, listeners, retired, ticketKeys, fallback }
    const offered = new Set<number>()
    const answers = this.#options.workers().map((handle) => {
      offered.add(handle.worker)
      handle.sendSettings(settings)
      return this.#prepare(handle, generation)
    })
    for (const answer of await Promise.allSettled(answers)) {
      if (answer.status === 'fulfilled') continue
      const error = asSignalboxError(answer.reason)
      if (error.code !== 'ACTOR_GONE' && error.code !== 'ACTOR_DEADLINE') throw error
    }
    return {
      use: () => {
        this.#generation = generation
        this.numbers.replace(listeners)
        const uses = this.#options.workers().map((handle) => {
          if (!offered.has(handle.worker)) {
            handle.sendSettings(settings)
            this.#prepare(handle, generation).catch(() => {
              // Told by the answer to the second question.
            })
          }
          return this.#use(handle)
        })
        return Promise.all(uses).then((used) => ({
          workers: used.filter((one) => one === 'used').length,
          workersExpected: used.filter((one) => one !== 'gone').length,
        }))
      },
    }
  }

  get #current(): Settings {
    const { config, ticketKeys, fallback } = this.#options
    const { current: listeners, retired } = this.numbers
    return { generation: this.#generation, config: config(), listeners, retired, ticketKeys: ticketKeys(), fallback: fallback() }
  }

  #prepare({ control, link }: WorkerHandle, generation: number): Promise<true> {
    const answer = control.ask({ type: 'prepare', generation }, DEADLINE_MS)
    link.flush()
    return answer
  }

  /** Never rejects. The question leaves now: connections for the new listeners must find them. */
  async #use({ worker, control, link }: WorkerHandle): Promise<'used' | 'missing' | 'gone'> {
    this.#told.set(worker, this.#generation)
    const answer = control.ask({ type: 'commit', generation: this.#generation }, DEADLINE_MS)
    link.flush()
    try {
      await answer
      return 'used'
    } catch (thrown) {
      const error = asSignalboxError(thrown)
      if (error.code === 'ACTOR_GONE') return 'gone'
      this.#options.unconfirmed(worker, error)
      return 'missing'
    }
  }
}
