/**
 * A fleet in memory under a clock that stands still until a step moves it: two instances with two workers each, one store,
 * one bus, and weather on both. Plays steps and notes every answer that a ledger of all writes shows to be too old.
 */
import fc from 'fast-check'
import type { Config, MappingConfig } from '../../src/config/config.ts'
import type { SignalboxError } from '../../src/errors.ts'
import type { Confirmation } from '../../src/management/operations.ts'
import type { OpenRoute, Route } from '../../src/resolver/route.ts'
import { FAILED_LOOKUP_MS } from '../../src/limits.ts'
import { BusHub } from '../support/bus-hub.ts'
import { clusterOf, settle } from '../support/bus-member.ts'
import { testConfig, testDestination } from '../support/config.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { Instance, SOUND } from './instance.ts'
import type { ModelWorker, Parts } from './instance.ts'
import { Ledger } from './ledger.ts'
import type { Value } from './ledger.ts'
import { INSTANCES, KEYS, step } from './step.ts'
import type { Step } from './step.ts'
import { LOOKUP_TIMEOUT, Store } from './store.ts'
import type { Fate } from './store.ts'

const HEARTBEAT = 1_000
const BUS_DOWN_TTL = 5_000
const POSITIVE_TTL = 20_000
/** A route is as old as its answer; its value may be older by the time that the answer was on its way. */
const ON_ITS_WAY = LOOKUP_TIMEOUT
const BOUND = Math.max(BUS_DOWN_TTL, 4 * HEARTBEAT) + ON_ITS_WAY
/** After that long without a fault everybody must know everybody. */
const CALM = 8 * HEARTBEAT
/** Routes kept for a look at whether a session that took its time may still enter the bridge. */
const GIVEN = 24
/** What can be done to an instance whose primary stands still. */
const OUTSIDE: ReadonlySet<Step['do']> = new Set(['bus', 'lose', 'source', 'outage', 'stop', 'continue', 'restart'])
/** Every write has a value of its own. */
const VALUES = 120
const NAMES = Array.from({ length: VALUES }, (_, index) => `d${index}`)

export type BusWeather = readonly ('fine' | 'drop' | 'delay' | 'late' | 'twice')[]

export interface Climate {
  readonly watch: boolean
  /** The fate of frame after frame, over and over. */
  readonly bus: BusWeather
  /** The fate of question after question to the store, over and over. */
  readonly source: readonly Fate[]
  readonly settle: number
}

const busWeather: fc.Arbitrary<BusWeather> = fc.oneof(
  fc.constant<BusWeather>(['fine']),
  fc.array(
    fc.oneof(
      { weight: 10, arbitrary: fc.constant('fine' as const) },
      { weight: 1, arbitrary: fc.constantFrom('drop' as const, 'delay' as const, 'late' as const, 'twice' as const) },
    ),
    { minLength: 1, maxLength: 40 },
  ),
)
const fine: Fate = { there: 0, back: 0 }
/** Well within the timeout, with a quarter of a heartbeat for each turn. */
const fate: fc.Arbitrary<Fate> = fc.oneof(
  { weight: 4, arbitrary: fc.constant(fine) },
  { weight: 2, arbitrary: fc.record({ there: fc.constantFrom(0, 60, 600), back: fc.constantFrom(0, 60, 600, 800) }) },
  { weight: 1, arbitrary: fc.constant<Fate>({ there: 0, back: 0, lost: true }) },
)
const climate: fc.Arbitrary<Climate> = fc.record({
  watch: fc.boolean(),
  bus: busWeather,
  source: fc.oneof(fc.constant([fine]), fc.array(fate, { minLength: 1, maxLength: 12 })),
  settle: fc.constantFrom(0, 1_000),
})

/** Runs of at most `longest` steps. */
export function runs(longest: number): fc.Arbitrary<[Climate, Step[]]> {
  return fc.tuple(climate, fc.array(step, { maxLength: longest, size: 'max' }))
}

export interface Played {
  readonly violations: readonly string[]
  readonly operations: number
  readonly lookups: number
}

/** Plays the steps, then mends everything and looks whether all agree. */
export async function play([climate, steps]: readonly [Climate, readonly Step[]], parts: Parts = SOUND): Promise<Played> {
  const world = new World(climate, parts)
  await world.begin()
  for (const one of steps) {
    await world.step(one)
    if (world.violations.length > 0) break
  }
  await world.end()
  return { violations: world.violations, operations: steps.length, lookups: world.lookups }
}

class World {
  readonly violations: string[] = []
  lookups = 0
  readonly #climate: Climate
  readonly #parts: Parts
  readonly #clock = new FakeClock()
  readonly #hub = new BusHub(this.#clock)
  readonly #ledger = new Ledger({ bus: BOUND, watch: BOUND, life: POSITIVE_TTL + ON_ITS_WAY })
  readonly #store = new Store((key, value, writer) => void this.#ledger.committed(key, value, writer, this.#clock.now()))
  readonly #instances = new Map<string, Instance>()
  /** Writes that an instance has not answered. */
  readonly #writing = new Map<string, number>()
  readonly #given: { readonly worker: ModelWorker; readonly instance: Instance; readonly key: string; readonly route: OpenRoute }[] = []
  /** Instances whose next frame is lost. */
  readonly #losing = new Set<string>()
  #values = 0
  #epoch = 1_000
  #frames = 0
  #questions = 0
  /** Clock time from which on a lookup of an instance doesn't fail any more. */
  readonly #answers = new Map<string, number>()
  /** Clock time of the last fault or mending, and how many there were. */
  #disturbed = 0
  #faults = 0
  #calm = false

  constructor(climate: Climate, parts: Parts) {
    this.#climate = climate
    this.#parts = parts
    this.#hub.fate = ({ to, channel }) => {
      if (channel.endsWith(':frames') && this.#losing.delete(to)) return []
      const { bus } = this.#climate
      switch (this.#calm ? 'fine' : bus[this.#frames++ % bus.length]) {
        case 'drop':
          return []
        case 'delay':
          return [40]
        case 'late':
          return [1_700]
        case 'twice':
          return [0, 300]
        default:
          return [0]
      }
    }
    this.#store.fate = () => {
      const { source } = this.#climate
      return this.#calm ? fine : (source[this.#questions++ % source.length] ?? fine)
    }
  }

  async begin(): Promise<void> {
    for (const name of INSTANCES) await this.#start(name)
    await this.#pass(8)
  }

  async step(one: Step): Promise<void> {
    switch (one.do) {
      case 'wait':
        await this.#pass(one.quarters)
        break
      case 'look':
        this.#lookEverywhere(KEYS[one.key] ?? KEYS[0])
        break
      case 'set':
      case 'del':
        this.#store.set(KEYS[one.key] ?? KEYS[0], one.do === 'set' ? this.#fresh() : undefined, undefined)
        break
      case 'flush':
        this.#store.flush(KEYS)
        break
      default:
        await this.#to(one)
    }
    await settle()
    this.#standing()
  }

  /** Everything is mended: all must agree with the store, and acknowledge. */
  async end(): Promise<void> {
    for (const name of INSTANCES) if (!this.#instances.has(name)) await this.#start(name)
    this.#calm = true
    this.#losing.clear()
    for (const instance of this.#instances.values()) {
      this.#continue(instance, 'both')
      this.#mendBus(instance)
      this.#mendSource(instance)
    }
    this.#disturb()
    await this.#pass((4 * Math.max(CALM, BOUND)) / HEARTBEAT + 1)
    for (const key of KEYS) this.#lookEverywhere(key)
    await settle()
    for (const instance of this.#instances.values()) {
      if (instance.member.state !== 'up') this.violations.push(`${instance.name} is not on the bus again`)
      for (const key of KEYS) this.#put(instance, key)
      await settle()
      for (const key of KEYS) await this.#agreed(key)
    }
    if (!this.#climate.watch) {
      // What a hand has changed is seen when the routes' lives are over.
      for (const key of KEYS) this.#store.set(key, this.#fresh(), undefined)
      await this.#pass((4 * (POSITIVE_TTL + ON_ITS_WAY)) / HEARTBEAT + 1)
      for (const key of KEYS) await this.#agreed(key)
    }
    for (const instance of this.#instances.values()) instance.leave()
    await settle()
  }

  /** What an instance is asked to do, or what happens to it. */
  async #to(one: Exclude<Step, { do: 'wait' | 'look' | 'set' | 'del' | 'flush' }>): Promise<void> {
    const name = INSTANCES[one.who] ?? INSTANCES[0]
    const instance = this.#instances.get(name)
    if (instance === undefined) return this.#start(name)
    if (instance.primary.standing && !OUTSIDE.has(one.do)) return
    switch (one.do) {
      case 'put':
        return this.#put(instance, KEYS[one.key] ?? KEYS[0])
      case 'delete':
        return this.#delete(instance, KEYS[one.key] ?? KEYS[0])
      case 'invalidate':
        return this.#invalidate(instance, [KEYS[one.key] ?? KEYS[0]], KEYS[one.key] ?? KEYS[0])
      case 'invalidate-all':
        return this.#invalidate(instance, KEYS, undefined)
      case 'reload':
        void instance.operations.reloadMappings()
        return
      default:
    }
    this.#disturb()
    switch (one.do) {
      case 'bus':
        return this.#breakBus(instance, one.how)
      case 'lose':
        return void this.#losing.add(name)
      case 'source':
        if (one.how === 'mend') this.#mendSource(instance)
        else instance.line[one.how]()
        return
      case 'outage':
        this.#breakBus(instance, one.how)
        if (one.how === 'mend') this.#mendSource(instance)
        else instance.line.cut()
        return
      case 'stop':
        instance.primary.begin()
        if (one.how === 'both') instance.below.begin()
        return
      case 'continue':
        return this.#continue(instance, one.how)
      case 'kill':
        return instance.killWorker(one.worker)
      case 'restart':
        // One that stands still hears no signal but the one that needs no hearing.
        if (instance.primary.standing) instance.crash()
        else instance[one.how]()
        this.#instances.delete(name)
        this.#writing.delete(name)
        // Silence tells its peers, unless they couldn't hear it anyway: then its next life does.
        if (!unheard(instance)) this.#ledger.told(name, this.#clock.now())
    }
  }

  #breakBus(instance: Instance, how: 'cut' | 'deafen' | 'mute' | 'mend'): void {
    if (how === 'cut') instance.end.cut = true
    else if (how === 'deafen') instance.end.deaf = true
    else if (how === 'mute') instance.end.mute = true
    else this.#mendBus(instance)
  }

  #mendSource({ name, line }: Instance): void {
    // What was asked on a line that is paused fails when its time is over.
    if (line.state !== 'fine') this.#answers.set(name, this.#clock.now() + (line.state === 'paused' ? LOOKUP_TIMEOUT : 0))
    line.mend()
  }

  #continue(instance: Instance, how: 'primary' | 'workers' | 'both'): void {
    if (how !== 'primary' && instance.below.standing) {
      instance.below.end()
      this.#answers.set(instance.name, this.#clock.now() + LOOKUP_TIMEOUT)
    }
    if (how === 'workers') return
    instance.primary.end()
    this.#told(instance)
  }

  /** Whether a lookup there may have failed, or be spared since one has. */
  #fails({ name, line, doubted }: Instance): boolean {
    if (line.state !== 'fine' || (!this.#calm && this.#climate.source.some(({ lost }) => lost === true))) return true
    const since = this.#answers.get(name) ?? Number.NEGATIVE_INFINITY
    // What failed is asked for again when all is doubtful; else it is remembered for a while.
    return this.#clock.now() < since + FAILED_LOOKUP_MS && doubted <= since
  }

  #mendBus(instance: Instance): void {
    instance.end.deaf = false
    instance.end.mute = false
    if (instance.end.cut) instance.end.mend()
    this.#told(instance)
  }

  /** From now on its peers can learn what they have missed of it. */
  #told(instance: Instance): void {
    if (instance.alive && !unheard(instance) && (this.#writing.get(instance.name) ?? 0) === 0) this.#ledger.told(instance.name, this.#clock.now())
  }

  async #start(name: string): Promise<void> {
    const config = configOf(name, { settle: this.#climate.settle })
    const { watch } = this.#climate
    const instance = new Instance({ config, clock: this.#clock, hub: this.#hub, store: this.#store, watch, epoch: this.#epoch++, parts: this.#parts })
    const state = { begun: false }
    const begun = instance.begin().finally(() => (state.begun = true))
    for (let quarters = 0; quarters < 40 && !state.begun; quarters++) await this.#pass(1)
    await begun
    this.#instances.set(name, instance)
    this.#disturb()
    this.#told(instance)
  }

  #put(instance: Instance, key: string): void {
    const value = this.#fresh()
    const from = this.#ledger.latest(key) + 1
    this.#change(instance, () => instance.operations.put(key, value), (confirmation) => {
      this.#confirmed(instance, key, this.#ledger.written(key, value, instance.name, from), confirmation)
    })
  }

  #delete(instance: Instance, key: string): void {
    const from = this.#ledger.latest(key) + 1
    const asked = async (): Promise<Confirmation> => (await instance.operations.delete(key)).confirmation
    this.#change(instance, asked, (confirmation) => {
      this.#confirmed(instance, key, this.#ledger.written(key, undefined, instance.name, from), confirmation)
    })
  }

  #invalidate(instance: Instance, keys: readonly string[], identifier: string | undefined): void {
    const versions = keys.map((key) => this.#ledger.latest(key))
    this.#change(instance, () => instance.operations.invalidate(identifier), (confirmation) => {
      for (const [index, key] of keys.entries()) this.#confirmed(instance, key, versions[index] ?? 0, confirmation)
    })
  }

  #change(instance: Instance, change: () => Promise<Confirmation>, answered: (confirmation: Confirmation) => void): void {
    const calm = this.#undisturbed() && this.#clock.now() - this.#disturbed >= CALM
    const faults = this.#faults
    this.#writing.set(instance.name, (this.#writing.get(instance.name) ?? 0) + 1)
    const over = (): void => {
      this.#writing.set(instance.name, (this.#writing.get(instance.name) ?? 1) - 1)
      this.#told(instance)
    }
    change().then(
      (confirmation) => {
        if (!instance.alive) return
        answered(confirmation)
        over()
        if (calm && this.#faults === faults) this.#everybody(instance, confirmation)
      },
      (error: unknown) => {
        if (!instance.alive) return
        over()
        if (calm && this.#faults === faults) this.violations.push(`${instance.name} could not change anything: ${String(error)}`)
      },
    )
  }

  #confirmed(instance: Instance, key: string, index: number, { workers, workersExpected, peers }: Confirmation): void {
    if (index < 0) return void this.violations.push(`${instance.name} has answered a write of ${key} that the store has never seen`)
    if (workers >= workersExpected) this.#ledger.acknowledged(instance.name, key, index)
    for (const { instance: peer, acknowledged } of peers) if (acknowledged) this.#ledger.acknowledged(peer, key, index)
  }

  /** Without faults every instance acknowledges. */
  #everybody(instance: Instance, confirmation: Confirmation): void {
    const others = INSTANCES.filter((name) => name !== instance.name)
    const complete = others.every((name) => confirmation.peers.some((peer) => peer.instance === name && peer.acknowledged))
    if (!complete || confirmation.bus !== 'up' || confirmation.workers < 2) {
      this.violations.push(`${instance.name} was not confirmed without a fault: ${JSON.stringify(confirmation)}`)
    }
  }

  #disturb(): void {
    this.#disturbed = this.#clock.now()
    this.#faults++
  }

  #undisturbed(): boolean {
    if (!this.#calm && (this.#climate.bus.some((fate) => fate !== 'fine') || this.#climate.source.some(({ lost }) => lost === true))) return false
    if (this.#instances.size < INSTANCES.length || this.#losing.size > 0) return false
    return [...this.#instances.values()].every(
      ({ end, line, primary, below }) => !end.cut && !end.deaf && !end.mute && line.state === 'fine' && !primary.standing && !below.standing,
    )
  }

  #lookEverywhere(key: string): void {
    for (const instance of this.#instances.values()) {
      if (instance.below.standing) continue
      for (const worker of instance.workers) this.#look(instance, worker, key, (route) => route)
    }
  }

  #look(instance: Instance, worker: ModelWorker, key: string, done: (route: Route) => void): void {
    this.lookups++
    const reader = { instance: instance.name, watches: instance.watches }
    const floors = this.#ledger.floors(reader, key, this.#clock.now())
    const failed = this.#fails(instance)
    const check = (route: Route): void => {
      done(route)
      if (route.kind === 'unavailable') return
      const wrong = this.#ledger.violation(key, valueOf(instance, route), route.source === 'stale' && (failed || this.#fails(instance)), floors)
      if (wrong !== undefined) this.violations.push(`worker ${worker.number} of ${instance.name} (${route.source}) at ${this.#clock.now()}: ${wrong}`)
      this.#given.push({ worker, instance, key, route })
      if (this.#given.length > GIVEN) this.#given.shift()
    }
    const hit = worker.resolver.cached(key)
    if (hit !== undefined) return check(hit)
    worker.actor.ref.ask({ type: 'resolve', identifier: key }, 1_000_000_000).then(check, (error: SignalboxError) => {
      if (error.code !== 'ACTOR_GONE') this.violations.push(`a lookup failed: ${error.message}`)
    })
  }

  /** A route that was given out and still holds may enter the bridge now, and must be what was acknowledged by now. */
  #standing(): void {
    for (const { worker, instance, key, route } of this.#given) {
      if (!instance.alive || instance.below.standing || !instance.workers.includes(worker) || worker.resolver.standing(route) !== 'holds') continue
      const floors = this.#ledger.floors({ instance: instance.name, watches: instance.watches }, key, this.#clock.now(), false)
      const wrong = this.#ledger.violation(key, valueOf(instance, route), route.source === 'stale', floors)
      if (wrong !== undefined) this.violations.push(`a route of ${instance.name} that still holds: ${wrong}`)
    }
  }

  /** Every worker answers with what the store holds. */
  async #agreed(key: string): Promise<void> {
    const answers: string[] = []
    for (const instance of this.#instances.values()) {
      for (const worker of instance.workers) {
        this.#look(instance, worker, key, (route) => {
          answers.push(route.kind === 'unavailable' ? route.error.message : (valueOf(instance, route) ?? 'none'))
        })
      }
    }
    await settle()
    const held = this.#store.get(key) ?? 'none'
    if (answers.length !== 2 * INSTANCES.length || answers.some((answer) => answer !== held)) {
      this.violations.push(`not all agree about ${key}: ${answers.join()} instead of ${held}`)
    }
  }

  async #pass(quarters: number): Promise<void> {
    for (let quarter = 0; quarter < quarters; quarter++) {
      this.#clock.advance(HEARTBEAT / 4)
      await settle()
    }
  }

  #fresh(): string {
    const value = NAMES[this.#values++]
    if (value === undefined) throw new Error('a run has more writes than there are values')
    return value
  }
}

function unheard({ end, primary }: Instance): boolean {
  return end.cut || end.mute || primary.standing
}

function valueOf(instance: Instance, route: OpenRoute): Value {
  return route.kind === 'default' ? undefined : instance.nameOf(route.destination)
}

const DESTINATIONS = ['elsewhere', ...NAMES].map((name) => testDestination({ name }))

function configOf(instance: string, mapping: Partial<MappingConfig>): Config {
  return {
    ...testConfig({
      routing: { defaultDestination: 'elsewhere' },
      mapping: { source: 'redis', positiveTtl: POSITIVE_TTL, negativeTtl: POSITIVE_TTL, lookupTimeout: LOOKUP_TIMEOUT, auditRate: 0, cacheMaxEntries: 100, ...mapping },
    }),
    destinations: DESTINATIONS,
    cluster: clusterOf(instance, { heartbeat: HEARTBEAT, busDownTtl: BUS_DOWN_TTL }),
  }
}
