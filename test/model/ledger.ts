/**
 * What a model of a fleet knows for sure: every value that the store has ever held for an account, in order, and how old a
 * value each instance may still answer with. Two floors:
 *
 * - `always`: the newest version whose change this instance has acknowledged. Nothing older, from nowhere, whatever is broken.
 * - `asked`: also what an instance must have learnt by now although it acknowledged nothing, by a gap, a silence, a watch or
 *   the bound of bus_down_ttl. It doesn't hold for a route that is served because the source can't be asked.
 *
 * Values must be different for each write of an account, so that a value names its version.
 */

/** A destination's name; undefined: no mapping. */
export type Value = string | undefined

export interface Version {
  readonly value: Value
  /** Who wrote it: an instance, or undefined for a hand at the store. */
  readonly writer: string | undefined
  /** Clock time from which on its being unknown has a bound; infinite while its writer can tell nobody. */
  since: number
}

export interface Floors {
  readonly always: number
  readonly asked: number
}

/** What is known of the reader of a lookup. */
export interface Reader {
  readonly instance: string
  /** It sees what others change at the store. */
  readonly watches: boolean
}

export interface Bounds {
  /** Milliseconds after which nobody answers with what a peer's write has replaced. */
  readonly bus: number
  /** The same for writes by hand, where there is a watch. */
  readonly watch: number
  /** The same where there is none: the longest life of a cached route. */
  readonly life: number
}

export class Ledger {
  readonly #bounds: Bounds
  readonly #versions = new Map<string, Version[]>()
  readonly #acknowledged = new Map<string, number>()

  constructor(bounds: Bounds) {
    this.#bounds = bounds
  }

  /** Index of the newest version. */
  latest(key: string): number {
    return this.#of(key).length - 1
  }

  value(key: string): Value {
    return this.#of(key).at(-1)?.value
  }

  /** The store holds a new value. */
  committed(key: string, value: Value, writer: string | undefined, now: number): Version {
    const version: Version = { value, writer, since: writer === undefined ? now : Number.POSITIVE_INFINITY }
    this.#of(key).push(version)
    return version
  }

  /** Index of the first version that this instance wrote with this value at or after the index `from`; -1: there is none. */
  written(key: string, value: Value, writer: string, from: number): number {
    return this.#of(key).findIndex((version, index) => index >= from && version.value === value && version.writer === writer)
  }

  /** The instance has the version in force. */
  acknowledged(instance: string, key: string, index: number): void {
    const name = `${instance} ${key}`
    this.#acknowledged.set(name, Math.max(index, this.#acknowledged.get(name) ?? 0))
  }

  /** Its writer could tell its peers, or is there again and tells them that they have missed something. */
  told(writer: string, now: number): void {
    for (const versions of this.#versions.values()) {
      for (const version of versions) if (version.writer === writer && version.since === Number.POSITIVE_INFINITY) version.since = now
    }
  }

  /** @param aged false: the life of a route, which bounds what nobody tells of, is not looked at */
  floors({ instance, watches }: Reader, key: string, now: number, aged = true): Floors {
    const always = this.#acknowledged.get(`${instance} ${key}`) ?? 0
    let asked = always
    for (const [index, version] of this.#of(key).entries()) {
      const bound = version.writer !== undefined ? this.#bounds.bus : watches ? this.#bounds.watch : aged ? this.#bounds.life : Number.POSITIVE_INFINITY
      if (version.since <= now - bound) asked = Math.max(asked, index)
    }
    return { always, asked }
  }

  /** What is wrong with an answer to a lookup that began when these were its floors; undefined: nothing. */
  violation(key: string, value: Value, stale: boolean, { always, asked }: Floors): string | undefined {
    const floor = stale ? always : asked
    const versions = this.#of(key)
    const found = versions.findLastIndex((version) => version.value === value)
    if (found >= floor) return undefined
    const which = found < 0 ? 'which was never written' : `version ${found}`
    return `${key}: ${value ?? 'none'} (${which}) instead of version ${floor} (${versions[floor]?.value ?? 'none'}) or newer`
  }

  #of(key: string): Version[] {
    let versions = this.#versions.get(key)
    if (versions === undefined) {
      versions = [{ value: undefined, writer: undefined, since: Number.NEGATIVE_INFINITY }]
      this.#versions.set(key, versions)
    }
    return versions
  }
}
