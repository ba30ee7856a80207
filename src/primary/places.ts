/**
 * Places that are counted for the whole instance: sessions of an account, connections to a destination. A session takes
 * one and gives it back; a worker's death gives back all that its sessions had. Taking is idempotent per session and
 * place, and so is giving back: a message that crosses another leaves no count behind.
 */
import type { Place } from '../session/place.ts'

export interface Holder {
  readonly worker: number
  /** The session's identifier, unique in the instance. */
  readonly session: string
}

/** Holders of one place: session → worker. */
type Holders = Map<string, number>

export class Places {
  readonly #places = new Map<string, Holders>()

  /** Takes one of `max` places. False: all are taken; nothing has changed then. */
  take(place: Place, { worker, session }: Holder, max: number): boolean {
    const key = keyOf(place)
    const holders = this.#places.get(key)
    if (holders?.has(session) === true) return true
    if ((holders?.size ?? 0) >= max) return false
    if (holders === undefined) this.#places.set(key, new Map([[session, worker]]))
    else holders.set(session, worker)
    return true
  }

  giveBack(place: Place, session: string): void {
    const key = keyOf(place)
    const holders = this.#places.get(key)
    if (holders === undefined) return
    holders.delete(session)
    if (holders.size === 0) this.#places.delete(key)
  }

  /** Gives back what a worker's sessions had. */
  workerGone(worker: number): void {
    for (const [key, holders] of this.#places) {
      for (const [session, of] of holders) if (of === worker) holders.delete(session)
      if (holders.size === 0) this.#places.delete(key)
    }
  }

  taken(place: Place): number {
    return this.#places.get(keyOf(place))?.size ?? 0
  }
}

/** An account may have any name: the kinds must not meet. */
function keyOf({ of, name }: Place): string {
  return `${of} ${name}`
}
