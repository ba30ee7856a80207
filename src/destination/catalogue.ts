/**
 * The destinations by small integers. Routes are cached by the hundred thousand, so an entry holds an id and not a
 * name or an object. An id belongs to one name for as long as the process lives: a destination that a reload removed
 * keeps its id reserved and gets it back when it returns, so that an id in an old cache entry can mean nothing else.
 * The price is one slot for each name that was ever configured. Names are keys of a Map: `__proto__` is a name like
 * any other.
 */
import type { DestinationConfig } from '../config/config.ts'

export class Catalogue {
  readonly #ids = new Map<string, number>()
  readonly #names: string[] = []
  #configs: (DestinationConfig | undefined)[] = []

  constructor(destinations: Iterable<DestinationConfig>) {
    this.replace(destinations)
  }

  /** The id of a configured destination; undefined: there is none of that name (any more). */
  idOf(name: string): number | undefined {
    const id = this.#ids.get(name)
    return id !== undefined && this.#configs[id] !== undefined ? id : undefined
  }

  /** The name behind an id, removed destinations included; undefined: never given out. */
  nameOf(id: number): string | undefined {
    return this.#names[id]
  }

  /** The configuration in force; undefined: removed, or never given out. */
  byId(id: number): DestinationConfig | undefined {
    return this.#configs[id]
  }

  /** The configuration in force by name. */
  byName(name: string): DestinationConfig | undefined {
    const id = this.#ids.get(name)
    return id === undefined ? undefined : this.#configs[id]
  }

  /** Every configured destination, in the order of the ids. */
  *[Symbol.iterator](): IterableIterator<DestinationConfig> {
    for (const config of this.#configs) if (config !== undefined) yield config
  }

  /** A reload: what is missing from `destinations` is removed, its id stays reserved. Of two of a name the last counts. */
  replace(destinations: Iterable<DestinationConfig>): void {
    const configs = new Array<DestinationConfig | undefined>(this.#names.length).fill(undefined)
    for (const destination of destinations) {
      let id = this.#ids.get(destination.name)
      if (id === undefined) {
        id = this.#names.push(destination.name) - 1
        this.#ids.set(destination.name, id)
      }
      configs[id] = destination
    }
    this.#configs = configs
  }
}
