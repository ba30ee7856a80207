/**
 * What all connections of a worker that have not logged in hold together (limits.max_preauth_memory). Each counts with
 * what its dialogue keeps and a share for its sockets, TLS state and objects. When the sum is too much the oldest go:
 * whoever has been there longest without a login is the least likely to bring one.
 */
import { PREAUTH_CONNECTION } from '../limits.ts'

/** A connection that may be asked to go. */
export interface Unauthenticated {
  /** It is the oldest, and there is too little room. */
  crowdOut(): void
}

/** One connection's part of the sum. */
export interface Occupant {
  /** What its dialogue holds now, bytes. */
  holds(bytes: number): void
  /** It has logged in, or is gone. Idempotent. */
  leave(): void
}

export class PreauthMemory {
  #max: number
  /** In the order of their coming. */
  readonly #held = new Map<Unauthenticated, number>()
  #sum = 0

  /** @param max bytes */
  constructor(max: number) {
    this.#max = max
  }

  /** Bytes that are held now, the shares included. */
  get sum(): number {
    return this.#sum
  }

  /** A reload: as much as this from now on. Who is too many goes when the next one comes. */
  limit(max: number): void {
    this.#max = max
  }

  enter(connection: Unauthenticated): Occupant {
    this.#set(connection, PREAUTH_CONNECTION)
    return {
      holds: (bytes) => {
        if (this.#held.has(connection)) this.#set(connection, PREAUTH_CONNECTION + bytes)
      },
      leave: () => this.#remove(connection),
    }
  }

  #set(connection: Unauthenticated, bytes: number): void {
    this.#sum += bytes - (this.#held.get(connection) ?? 0)
    this.#held.set(connection, bytes)
    for (const oldest of this.#held.keys()) {
      if (this.#sum <= this.#max) return
      this.#remove(oldest)
      oldest.crowdOut()
    }
  }

  #remove(connection: Unauthenticated): void {
    this.#sum -= this.#held.get(connection) ?? 0
    this.#held.delete(connection)
  }
}
