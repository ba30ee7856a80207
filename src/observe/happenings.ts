/**
 * What happens in an instance, told to whoever listens at that moment (GET /events). Nothing is kept for those who come
 * later. Each listener has room for so many that wait; one that reads too slowly loses what comes while its room is full,
 * and is told how many when it reads on. Without a listener a happening costs one comparison.
 */
import { EVENTS_WAITING } from '../limits.ts'

/** Names of happenings: a closed list, the `event` of the stream. */
export const HAPPENINGS = ['mapping', 'session', 'destination', 'peer', 'worker', 'lost'] as const
export type HappeningName = (typeof HAPPENINGS)[number]

export interface Happening {
  readonly event: HappeningName
  readonly data: Readonly<Record<string, string | number | boolean | null>>
}

interface Listener {
  readonly wanted: ReadonlySet<HappeningName>
  waiting: Happening[]
  /** Since it was last told. */
  lost: number
  /** Wakes it up when it waits for something. */
  wake: (() => void) | undefined
}

export class Happenings {
  readonly #listeners = new Set<Listener>()
  readonly #listened: (anybody: boolean) => void
  readonly #room: number
  #lost = 0
  #closed = false

  /** @param listened told when the first listener comes and when the last has gone */
  constructor(listened: (anybody: boolean) => void = () => {}, room = EVENTS_WAITING) {
    this.#listened = listened
    this.#room = room
  }

  /** How many listen. */
  get listeners(): number {
    return this.#listeners.size
  }

  /** How many happenings listeners have lost in all. */
  get lost(): number {
    return this.#lost
  }

  tell(event: HappeningName, data: Happening['data']): void {
    if (this.#listeners.size === 0) return
    const happening = { event, data }
    for (const listener of this.#listeners) {
      if (!listener.wanted.has(event)) continue
      if (listener.waiting.length >= this.#room) {
        listener.lost++
        this.#lost++
      } else listener.waiting.push(happening)
      listener.wake?.()
    }
  }

  /**
   * All that happens from now on, in batches as they are asked for; ends when `gone` is aborted or this is closed. An empty
   * batch says that nothing happened for `quiet` to resolve.
   */
  async *listen(wanted: ReadonlySet<HappeningName>, gone: AbortSignal, quiet: () => { readonly over: Promise<void>; cancel(): void }): AsyncGenerator<readonly Happening[]> {
    const listener: Listener = { wanted, waiting: [], lost: 0, wake: undefined }
    this.#listeners.add(listener)
    if (this.#listeners.size === 1) this.#listened(true)
    const stop = (): void => listener.wake?.()
    gone.addEventListener('abort', stop)
    try {
      while (!gone.aborted && !this.#closed) {
        if (listener.waiting.length === 0 && listener.lost === 0) {
          const { promise: woken, resolve } = Promise.withResolvers<void>()
          listener.wake = resolve
          const pause = quiet()
          await Promise.race([woken, pause.over])
          pause.cancel()
          listener.wake = undefined
          if (gone.aborted || this.#closed) return
        }
        const { waiting, lost } = listener
        listener.waiting = []
        listener.lost = 0
        yield lost === 0 ? waiting : [...waiting, tooSlow(lost)]
      }
    } finally {
      gone.removeEventListener('abort', stop)
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.#listened(false)
    }
  }

  /** Ends every listener. */
  close(): void {
    this.#closed = true
    for (const { wake } of this.#listeners) wake?.()
  }
}

function tooSlow(count: number): Happening {
  const event: HappeningName = 'lost'
  return { event, data: { count } }
}
