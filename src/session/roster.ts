/**
 * Who is there, in no order: comes and goes in constant time. Not a Set, because of what a Set costs that is old and changes
 * all the time: when its table is full of what was deleted V8 makes another, in old space like the first, and each of the dead
 * tables keeps all that were in it alive until the next full collection. Sessions that last for milliseconds would be copied
 * twice and promoted, their sockets with them. In an array that is overwritten nothing stays behind.
 */

/** What a roster can hold: in one roster at a time. */
export interface Seated {
  /** Where the roster has it; the roster's own. Absent or -1: nowhere. */
  seat?: number
}

export class Roster<T extends Seated> {
  readonly #members: T[] = []

  get size(): number {
    return this.#members.length
  }

  add(member: T): void {
    member.seat = this.#members.length
    this.#members.push(member)
  }

  /** Idempotent. */
  delete(member: T): void {
    const seat = member.seat ?? -1
    if (this.#members[seat] !== member) return
    const last = this.#members.pop()
    if (last !== undefined && last !== member) {
      this.#members[seat] = last
      last.seat = seat
    }
    member.seat = -1
  }

  /** Not to be changed meanwhile: `[...roster]` is a copy. */
  [Symbol.iterator](): IterableIterator<T> {
    return this.#members.values()
  }
}
