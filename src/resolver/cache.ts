/**
 * The memory of routes: account → small integer of the destination, when it was stored, under which generation.
 * lru-cache keeps the order and the bound; the figures of an entry lie in typed arrays beside it, so that an entry
 * costs no object (performance.md: 220 bytes at a million, key included).
 *
 * It owns the entries; whether one is fresh, doubtful or void is for the resolver to say.
 */
import { LRUCache } from 'lru-cache'

/** Destination of an entry that says "no mapping": the default route, resolved at use. */
export const NO_MAPPING = -1
/** Destination of an entry whose account was invalidated: a route was known and may never be used again. */
export const VOID = -2

export class RouteCache {
  readonly #lru: LRUCache<string, number>
  readonly #keys: (string | undefined)[] = []
  readonly #free: number[] = []
  #destination: Int32Array
  #storedAt: Float64Array
  #generation: Uint32Array
  /** Entries that the bound pushed out. */
  evictions = 0

  constructor(max: number) {
    this.#lru = new LRUCache({
      max,
      dispose: (slot, _key, reason) => {
        if (reason === 'evict') this.evictions++
        if (reason !== 'set') this.#release(slot)
      },
    })
    const initial = Math.min(max + 1, 1024)
    this.#destination = new Int32Array(initial)
    this.#storedAt = new Float64Array(initial)
    this.#generation = new Uint32Array(initial)
  }

  get size(): number {
    return this.#lru.size
  }

  /** The entry's slot, or -1. Makes it the most recently used. */
  find(key: string): number {
    return this.#lru.get(key) ?? -1
  }

  /** The same without touching the order. */
  peek(key: string): number {
    return this.#lru.peek(key) ?? -1
  }

  destination(slot: number): number {
    return this.#destination[slot] ?? VOID
  }

  /** Clock time at which the entry was stored. */
  storedAt(slot: number): number {
    return this.#storedAt[slot] ?? 0
  }

  generation(slot: number): number {
    return this.#generation[slot] ?? 0
  }

  store(key: string, destination: number, now: number, generation: number): void {
    let slot = this.#lru.get(key)
    if (slot === undefined) {
      slot = this.#claim(key)
      this.#lru.set(key, slot)
    }
    this.#destination[slot] = destination
    this.#storedAt[slot] = now
    this.#generation[slot] = generation
  }

  /** Makes an entry that exists void. */
  void(slot: number): void {
    this.#destination[slot] = VOID
  }

  /** A key picked at random with `random` in [0, 1), or undefined when the pick fell on an empty place. */
  sample(random: number): string | undefined {
    return this.#keys[Math.floor(random * this.#keys.length)]
  }

  /** A cache of another bound with the same entries, as many of the most recently used as fit. */
  resized(max: number): RouteCache {
    const other = new RouteCache(max)
    // From the least recently used on, so that the order is kept.
    for (const key of this.#lru.rkeys()) {
      const slot = this.peek(key)
      other.store(key, this.destination(slot), this.storedAt(slot), this.generation(slot))
    }
    other.evictions += this.evictions
    return other
  }

  #claim(key: string): number {
    const slot = this.#free.pop() ?? this.#keys.length
    if (slot === this.#keys.length) this.#keys.push(key)
    else this.#keys[slot] = key
    if (slot >= this.#destination.length) this.#grow()
    return slot
  }

  #release(slot: number): void {
    this.#keys[slot] = undefined
    this.#free.push(slot)
  }

  #grow(): void {
    const length = this.#destination.length * 2
    const destination = new Int32Array(length)
    destination.set(this.#destination)
    this.#destination = destination
    const storedAt = new Float64Array(length)
    storedAt.set(this.#storedAt)
    this.#storedAt = storedAt
    const generation = new Uint32Array(length)
    generation.set(this.#generation)
    this.#generation = generation
  }
}
