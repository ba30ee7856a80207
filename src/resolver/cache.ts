/**
 * The memory of routes: account → small integer of the destination, when it was stored, under which generation.
 *
 * A map finds the entry's number, and 16 bytes in one typed array hold the entry: a hit reads one line of memory beside
 * the map's own and allocates nothing. Beyond the bound the entry goes that nobody has used for about the longest time:
 * a hand passes over the entries in turn, spares each that was used since it last came by, and takes the first that was
 * not (the second chance). A list in order of use, as lru-cache keeps it, writes to four places in memory at each hit;
 * at a million entries that costs more than finding the key does.
 *
 * It owns the entries; whether one is fresh, doubtful or void is for the resolver to say.
 */

/** Destination of an entry that says "no mapping": the default route, resolved at use. */
export const NO_MAPPING = -1
/** Destination of an entry whose account was invalidated: a route was known and may never be used again. */
export const VOID = -2

/** Entries for which there is room at first. */
const INITIAL = 1_024
/** The lowest bit of an entry's last word: it was used since the hand last came by. The destination lies above. */
const USED = 1

export class RouteCache {
  readonly #max: number
  readonly #slots = new Map<string, number>()
  /** By slot. Slots are given out in order, and taken over from what is pushed out: none is ever empty. */
  readonly #keys: string[] = []
  /** By slot: stored at (64 bits), generation (32), destination and USED (32). Two views of the same memory. */
  #times: Float64Array
  #words: Int32Array
  #hand = 0
  /** Entries that the bound pushed out. */
  evictions = 0

  constructor(max: number) {
    this.#max = max
    this.#times = new Float64Array(2 * Math.min(max, INITIAL))
    this.#words = new Int32Array(this.#times.buffer)
  }

  get size(): number {
    return this.#keys.length
  }

  /** The entry's slot, or -1. Marks it as used. */
  find(key: string): number {
    const slot = this.#slots.get(key)
    if (slot === undefined) return -1
    const at = 4 * slot + 3
    const word = this.#words[at] ?? 0
    // Written only where it changes something: memory that is read alone stays in every core's cache.
    if ((word & USED) === 0) this.#words[at] = word | USED
    return slot
  }

  /** The same without marking it. */
  peek(key: string): number {
    return this.#slots.get(key) ?? -1
  }

  destination(slot: number): number {
    return (this.#words[4 * slot + 3] ?? 0) >> 1
  }

  /** Clock time at which the entry was stored. */
  storedAt(slot: number): number {
    return this.#times[2 * slot] ?? 0
  }

  generation(slot: number): number {
    return (this.#words[4 * slot + 2] ?? 0) >>> 0
  }

  store(key: string, destination: number, now: number, generation: number): void {
    let slot = this.find(key)
    if (slot < 0) slot = this.#claim(key)
    this.#times[2 * slot] = now
    this.#words[4 * slot + 2] = generation
    const at = 4 * slot + 3
    this.#words[at] = (destination << 1) | ((this.#words[at] ?? 0) & USED)
  }

  /** Makes an entry that exists void. */
  void(slot: number): void {
    const at = 4 * slot + 3
    this.#words[at] = (VOID << 1) | ((this.#words[at] ?? 0) & USED)
  }

  /** A key picked at random with `random` in [0, 1), or undefined when there is none. */
  sample(random: number): string | undefined {
    return this.#keys[Math.floor(random * this.#keys.length)]
  }

  /** A cache of another bound with the same entries, as many as fit: of those not used lately the hand takes the next first. */
  resized(max: number): RouteCache {
    const other = new RouteCache(max)
    const fromHand = Array.from(this.#keys, (_, step) => (this.#hand + step) % this.#keys.length)
    const kept = [...fromHand.filter((slot) => !this.#used(slot)), ...fromHand.filter((slot) => this.#used(slot))].slice(-max)
    for (const slot of kept) {
      const key = this.#keys[slot]
      if (key === undefined) continue
      other.store(key, this.destination(slot), this.storedAt(slot), this.generation(slot))
      if (this.#used(slot)) other.find(key)
    }
    other.evictions += this.evictions + this.#keys.length - kept.length
    return other
  }

  /** A slot for a new entry. */
  #claim(key: string): number {
    const slot = this.#keys.length < this.#max ? this.#keys.length : this.#pushOut()
    if (2 * slot >= this.#times.length) this.#grow()
    const own = copyOf(key)
    this.#keys[slot] = own
    this.#slots.set(own, slot)
    this.#words[4 * slot + 3] = 0
    return slot
  }

  /** The slot of the entry that has to go. Ends: an entry that is spared is so no more when the hand comes by again. */
  #pushOut(): number {
    for (;;) {
      const slot = this.#hand
      this.#hand = (slot + 1) % this.#keys.length
      if (this.#used(slot)) {
        this.#words[4 * slot + 3] = (this.#words[4 * slot + 3] ?? 0) & ~USED
        continue
      }
      this.#slots.delete(this.#keys[slot] ?? '')
      this.evictions++
      return slot
    }
  }

  #used(slot: number): boolean {
    return ((this.#words[4 * slot + 3] ?? 0) & USED) !== 0
  }

  #grow(): void {
    const larger = new Float64Array(Math.min(2 * this.#max, 2 * this.#times.length))
    larger.set(this.#times)
    this.#times = larger
    this.#words = new Int32Array(larger.buffer)
  }
}

/**
 * The same string in memory of its own: one that was cut out of a longer one would keep that for as long as the route is
 * cached, and one that was put together of two is slower to find.
 */
function copyOf(key: string): string {
  return key.isWellFormed() ? Buffer.from(key).toString() : key
}
