/**
 * A mapping store in memory, and the lines to it, whose network a test can break. A line is what one instance has to the
 * store: its lookups, writes and its watch. Questions and answers take the time that `fate` says; a cut line fails what
 * is under way and loses the watch at once; on a paused one nothing moves, which is noticed three heartbeats later.
 */
import type { Clock, Timer } from '../../src/clock.ts'
import { SignalboxError } from '../../src/errors.ts'
import type { Changed, Mapping, MappingLookup, MappingSource } from '../../src/mapping/source.ts'
import type { Value } from './ledger.ts'
import type { Standstill } from './standstill.ts'

export const LOOKUP_TIMEOUT = 2_000
/** From a line that works again to a watch that hears again. */
const REMAKE = 100

/** Milliseconds on the way there and back; `lost`: the answer never comes. */
export interface Fate {
  readonly there: number
  readonly back: number
  readonly lost?: boolean
}

type Listener = Parameters<MappingSource['onChange']>[0]

export class Store {
  readonly #values = new Map<string, string>()
  readonly #lines = new Set<StoreLine>()
  /** Told of every change, in order. */
  readonly #committed: (key: string, value: Value, writer: string | undefined) => void
  /** Decides about every question. */
  fate: () => Fate = () => ({ there: 0, back: 0 })

  constructor(committed: (key: string, value: Value, writer: string | undefined) => void) {
    this.#committed = committed
  }

  get(key: string): Value {
    return this.#values.get(key)
  }

  /** True: there was a value. */
  set(key: string, value: Value, writer: string | undefined): boolean {
    const had = this.#values.has(key)
    if (value === undefined) this.#values.delete(key)
    else this.#values.set(key, value)
    this.#committed(key, value, writer)
    for (const line of this.#lines) line.changed({ all: false, identifiers: [key] })
    return had
  }

  flush(keys: readonly string[]): void {
    this.#values.clear()
    for (const key of keys) this.#committed(key, undefined, undefined)
    for (const line of this.#lines) line.changed({ all: true })
  }

  connect(line: StoreLine): void {
    this.#lines.add(line)
  }

  leave(line: StoreLine): void {
    this.#lines.delete(line)
  }
}

export interface LineOptions {
  readonly store: Store
  readonly clock: Clock
  readonly instance: string
  readonly watch: boolean
  readonly heartbeat: number
  /** The process whose source it is. */
  readonly process: Standstill
}

/** One instance's way to the store, and the primary's source over it. */
export class StoreLine implements MappingSource {
  readonly kind = 'redis'
  readonly writable = true
  readonly #options: LineOptions
  #state: 'fine' | 'cut' | 'paused' | 'closed' = 'fine'
  #watching: boolean
  #listener: Listener | undefined
  #held: (() => void)[] = []
  readonly #open = new Set<() => void>()
  #noticing: Timer | undefined

  constructor(options: LineOptions) {
    this.#options = options
    this.#watching = options.watch
    options.store.connect(this)
  }

  get state(): 'fine' | 'cut' | 'paused' | 'closed' {
    return this.#state
  }

  /** What a worker asks. */
  lookupOnly(worker: Standstill): MappingLookup {
    return { lookup: (identifier) => worker.outside(this.lookup(identifier)), close: () => Promise.resolve() }
  }

  lookup(identifier: string): Promise<Value> {
    return this.#pass(() => this.#options.store.get(identifier))
  }

  async put(identifier: string, destination: string): Promise<void> {
    await this.#write(() => this.#options.store.set(identifier, destination, this.#options.instance))
  }

  delete(identifier: string): Promise<boolean> {
    return this.#write(() => this.#options.store.set(identifier, undefined, this.#options.instance))
  }

  exchange(identifier: string, { from, to }: Parameters<MappingSource['exchange']>[1]): Promise<boolean> {
    const { store, instance } = this.#options
    return this.#write(() => {
      if (store.get(identifier) !== from) return false
      store.set(identifier, to, instance)
      return true
    })
  }

  lease(): never {
    throw new SignalboxError('INTERNAL', 'a model gives no leases')
  }

  endLease(): never {
    throw new SignalboxError('INTERNAL', 'a model gives no leases')
  }

  reload(): ReturnType<MappingSource['reload']> {
    return Promise.resolve({ added: 0, changed: 0, removed: 0, invalidate: { all: false, identifiers: [] }, warnings: [] })
  }

  // eslint-disable-next-line require-yield
  async *export(): AsyncGenerator<Mapping> {
    throw new SignalboxError('INTERNAL', 'a model exports nothing')
  }

  import(): never {
    throw new SignalboxError('INTERNAL', 'a model imports nothing')
  }

  summary(): Promise<ReadonlyMap<string, number>> {
    return Promise.resolve(new Map())
  }

  onChange(listener: Listener): void {
    this.#listener = listener
  }

  close(): Promise<void> {
    this.cut()
    this.#state = 'closed'
    this.#listener = undefined
    this.#options.store.leave(this)
    return Promise.resolve()
  }

  /** The store has changed. */
  changed(change: Changed): void {
    if (!this.#watching || this.#state === 'cut' || this.#state === 'closed') return
    this.#arrive(0, () => {
      if (this.#watching) this.#tell(change)
    })
  }

  cut(): void {
    if (this.#state === 'closed') return
    this.#state = 'cut'
    this.#held = []
    this.#noticing?.cancel()
    this.#noticing = undefined
    for (const fail of this.#open) fail()
    this.#watchLost()
  }

  pause(): void {
    if (this.#state !== 'fine') return
    this.#state = 'paused'
    this.#noticing = this.#options.clock.after(3 * this.#options.heartbeat, () => this.#watchLost())
  }

  mend(): void {
    if (this.#state === 'closed' || this.#state === 'fine') return
    this.#state = 'fine'
    this.#noticing?.cancel()
    this.#noticing = undefined
    const held = this.#held
    this.#held = []
    for (const go of held) queueMicrotask(go)
    if (this.#options.watch && !this.#watching) this.#options.clock.after(REMAKE, () => this.#watchAgain())
  }

  #watchLost(): void {
    if (!this.#watching) return
    this.#watching = false
    this.#tell({ doubt: true, reason: 'the watch was lost' })
  }

  #watchAgain(): void {
    if (this.#watching || this.#state !== 'fine') return
    this.#watching = true
    this.#tell({ doubt: true, reason: 'the watch was made anew' })
  }

  #tell(change: Parameters<Listener>[0]): void {
    this.#options.process.pass(() => this.#listener?.(change))
  }

  #write<T>(act: () => T): Promise<T> {
    return this.#options.process.outside(this.#pass(act))
  }

  #pass<T>(act: () => T): Promise<T> {
    const { clock, store } = this.#options
    return new Promise((resolve, reject) => {
      let over = false
      const finish = (how: () => void): void => {
        if (over) return
        over = true
        timer.cancel()
        this.#open.delete(fail)
        how()
      }
      const timer = clock.after(LOOKUP_TIMEOUT, () => finish(() => reject(new SignalboxError('SOURCE_TIMEOUT', 'no answer'))))
      const fail = (): void => finish(() => reject(new SignalboxError('SOURCE_UNAVAILABLE', 'away')))
      if (this.#state === 'cut' || this.#state === 'closed') return queueMicrotask(fail)
      this.#open.add(fail)
      const { there, back, lost } = store.fate()
      this.#arrive(there, () => {
        if (over) return
        const value = act()
        if (lost !== true) this.#arrive(back, () => finish(() => resolve(value)))
      })
    })
  }

  /** In a turn of its own, as from a socket. */
  #arrive(ms: number, go: () => void): void {
    const gate = (): void => {
      if (this.#state === 'paused') this.#held.push(go)
      else if (this.#state === 'fine') queueMicrotask(go)
    }
    if (ms === 0) gate()
    else this.#options.clock.after(ms, gate)
  }
}
