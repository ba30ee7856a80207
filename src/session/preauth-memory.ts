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
  /** A chain in the order of their coming. Who leaves it lets go of its neighbours. */
  #oldest: Stay | undefined
  #youngest: Stay | undefined
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
    const stay = new Stay(this, connection, this.#youngest)
    if (this.#youngest === undefined) this.#oldest = stay
    else this.#youngest.younger = stay
    this.#youngest = stay
    this.#sum += PREAUTH_CONNECTION
    this.#makeRoom()
    return stay
  }

  // ---- for those who stay ----

  holds(stay: Stay, bytes: number): void {
    this.#sum += bytes - stay.bytes
    stay.bytes = bytes
    this.#makeRoom()
  }

  leave(stay: Stay): void {
    this.#sum -= PREAUTH_CONNECTION + stay.bytes
    if (stay.older === undefined) this.#oldest = stay.younger
    else stay.older.younger = stay.younger
    if (stay.younger === undefined) this.#youngest = stay.older
    else stay.younger.older = stay.older
    stay.gone()
  }

  #makeRoom(): void {
    while (this.#sum > this.#max && this.#oldest !== undefined) {
      const { connection } = this.#oldest
      this.leave(this.#oldest)
      connection?.crowdOut()
    }
  }
}

/** One connection, from its beginning until it has logged in or is gone. */
class Stay implements Occupant {
  readonly #memory: PreauthMemory
  /** Undefined: it has left. */
  connection: Unauthenticated | undefined
  /** What its dialogue holds. */
  bytes = 0
  older: Stay | undefined
  younger: Stay | undefined

  constructor(memory: PreauthMemory, connection: Unauthenticated, older: Stay | undefined) {
    this.#memory = memory
    this.connection = connection
    this.older = older
  }

  holds(bytes: number): void {
    if (this.connection !== undefined && bytes !== this.bytes) this.#memory.holds(this, bytes)
  }

  leave(): void {
    if (this.connection !== undefined) this.#memory.leave(this)
  }

  gone(): void {
    this.connection = undefined
    this.older = undefined
    this.younger = undefined
  }
}
