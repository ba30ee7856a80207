/**
 * The resolver actor of one worker: which destination does this account go to? It owns the route cache, the lookups
 * under way, the generations and the holds, and refuses to hand out a route that an invalidation has overtaken.
 *
 * Cached routes are fresh (used), doubtful (looked up again; used only while that lookup fails, up to stale_ttl), or
 * void (never used again). One lookup at a time per account. See docs/resolver.md for the states.
 *
 * Beside its messages it has three synchronous entries for sessions of the same process, which run to completion
 * within one turn as a message would: `cached` (the hot path), `standing` (the check on entering the bridge) and
 * `defaultRoute`.
 */
import type { Behaviour } from '../actor/actor.ts'
import type { Message, Question, Reply } from '../actor/message.ts'
import type { Clock, Timer } from '../clock.ts'
import type { MappingConfig } from '../config/config.ts'
import { asSignalboxError, impossible, SignalboxError } from '../errors.ts'
import { FAILED_LOOKUP_MS, LOOKUP_REPEATS, SOURCE_PROBE_MS } from '../limits.ts'
import type { MappingLookup } from '../mapping/source.ts'
import { NO_MAPPING, RouteCache, VOID } from './cache.ts'
import { FailedLookups } from './failed-lookups.ts'
import { Generations } from './generations.ts'
import { Holds } from './holds.ts'
import type { OpenRoute, Route, RouteStanding } from './route.ts'

// ---- The catalogue of messages ----------------------------------------------------------------------------------

/** Where does the account go? Waits while the account is held. */
export interface Resolve extends Question<Route> {
  readonly type: 'resolve'
  readonly identifier: string
}
/** The same for an operator: doesn't wait for a hold, and fails with ROUTE_UNAVAILABLE rather than giving an UnavailableRoute. */
export interface Inspect extends Question<OpenRoute> {
  readonly type: 'inspect'
  readonly identifier: string
}
/** The accounts' mappings may have changed: their routes are void. Answered when it is so. */
export interface Invalidate extends Question<true> {
  readonly type: 'invalidate'
  readonly identifiers: readonly string[]
}
/** Every mapping may have changed. */
export interface InvalidateAll extends Question<true> {
  readonly type: 'invalidate-all'
}
/** An invalidation may have been missed: everything cached is doubtful. */
export interface Doubt extends Question<true> {
  readonly type: 'doubt'
  readonly reason: string
}
/** The bus went away or came back. */
export interface BusState extends Question<true> {
  readonly type: 'bus'
  readonly up: boolean
}
/** All that was said on the bus until `at` (clock time), and all that happened in the primary, has been told to this worker. */
export interface Beat extends Message {
  readonly type: 'beat'
  readonly at: number
}
export interface Hold extends Question<true> {
  readonly type: 'hold'
  readonly identifier: string
  readonly id: string
  readonly ms: number
}
export interface Release extends Question<boolean> {
  readonly type: 'release'
  readonly identifier: string
  readonly id: string
}
export interface ResolverStatsQuestion extends Question<ResolverStats> {
  readonly type: 'stats'
}
/** From itself: a lookup has ended. */
export interface LookedUp extends Message {
  readonly type: 'looked-up'
  readonly pending: Pending
  readonly result: { readonly destination: string | undefined } | { readonly error: SignalboxError }
}
/** From its timer: compare cached routes with the source. */
export interface Audit extends Message {
  readonly type: 'audit'
}
/** From itself: the source's answer to an audit. */
export interface Audited extends Message {
  readonly type: 'audited'
  readonly key: string
  /** The count, and the clock time, at which the source was asked. */
  readonly generation: number
  readonly asked: number
  readonly destination: string | undefined
}

export type ResolverMessage =
  | Resolve
  | Inspect
  | Invalidate
  | InvalidateAll
  | Doubt
  | BusState
  | Beat
  | Hold
  | Release
  | ResolverStatsQuestion
  | LookedUp
  | Audit
  | Audited

export interface ResolverStats {
  readonly hits: number
  readonly misses: number
  readonly staleServed: number
  readonly lookupFailures: number
  readonly evictions: number
  readonly invalidations: number
  readonly entries: number
  readonly audited: number
  readonly auditStale: number
  readonly held: number
  readonly lookupsOpen: number
}

// ------------------------------------------------------------------------------------------------------------------

/** A lookup under way. */
export interface Pending {
  readonly key: string
  /** The count at which the lookup began. */
  generation: number
  /** Clock time at which it began. */
  asked: number
  repeats: number
  readonly waiters: ((route: Route) => void)[]
}

export interface ResolverOptions {
  readonly mapping: MappingConfig
  readonly clock: Clock
  readonly source: MappingLookup
  /** Number of a destination by name; undefined: undeclared. */
  readonly destinationId: (name: string) => number | undefined
  readonly destinationName: (id: number) => string | undefined
  /** Number of routing.default_destination now. */
  readonly defaultDestination: () => number
  /** limits.login_hold_max. */
  readonly loginHoldMax: number
  /** cluster.bus_down_ttl, milliseconds. */
  readonly busDownTtl: number
  /**
   * Milliseconds without a beat of the primary's after which the bus counts as down, though nobody has said so: who would say
   * it may stand still. Infinite where nothing can change but through the primary.
   */
  readonly patience: number
  /** Sends a message to this actor itself. */
  readonly self: (message: ResolverMessage) => void
  /** [0, 1). */
  readonly random: () => number
  readonly report: ResolverReport
  /** The memory of invalidations. Default: one of the size that limits.ts names. */
  readonly generations?: Generations
  /** The memory of failed lookups. Default: one of the size that limits.ts names. */
  readonly failed?: FailedLookups
}

/** What the operator is told. Each is called once per occurrence; the receiver limits the rate. */
export interface ResolverReport {
  /** The source names a destination that isn't declared. */
  undeclared(identifier: string, destination: string): void
  /** A cached route differed from the source without an invalidation to explain it. Names of destinations, or `none`. */
  auditStale(identifier: string, cached: string, stored: string): void
  /** The source failed, or answers again. */
  sourceFailed(error: SignalboxError): void
  sourceAnswered(): void
}

export class Resolver implements Behaviour<ResolverMessage> {
  #mapping: MappingConfig
  readonly #options: ResolverOptions
  readonly #clock: Clock
  #cache: RouteCache
  readonly #generations: Generations
  readonly #holds: Holds
  #pending = new Map<string, Pending>()
  readonly #failed: FailedLookups
  /** The account whose lookup failed last, and the timer that tries it again. */
  #probed = ''
  #probing: Timer | undefined
  #busUp = true
  /** Until when this worker has been told everything; clock time. */
  #beat: number
  #hits = 0
  #misses = 0
  #staleServed = 0
  #lookupFailures = 0
  #invalidations = 0
  #audited = 0
  #auditStale = 0

  constructor(options: ResolverOptions) {
    this.#options = options
    this.#mapping = options.mapping
    this.#clock = options.clock
    this.#cache = new RouteCache(options.mapping.cacheMaxEntries)
    this.#generations = options.generations ?? new Generations()
    this.#failed = options.failed ?? new FailedLookups()
    this.#holds = new Holds(options.clock)
    this.#beat = options.clock.now()
  }

  receive(message: ResolverMessage, reply: Reply): void {
    switch (message.type) {
      case 'resolve':
        return this.#resolve(message, reply)
      case 'inspect':
        return this.#find(message.identifier, (route) => {
          if (route.kind === 'unavailable') reply.fail(route.error)
          else reply.to(message, route)
        })
      case 'invalidate':
        this.#invalidate(message.identifiers)
        return reply.to(message, true)
      case 'invalidate-all':
        this.#invalidateAll()
        return reply.to(message, true)
      case 'doubt':
        this.#doubtAll()
        return reply.to(message, true)
      case 'bus':
        this.#bus(message.up)
        return reply.to(message, true)
      case 'beat':
        this.#beat = Math.max(this.#beat, message.at)
        return
      case 'hold':
        this.#holds.hold(message.identifier, message.id, message.ms)
        return reply.to(message, true)
      case 'release':
        return reply.to(message, this.#holds.release(message.identifier, message.id))
      case 'stats':
        return reply.to(message, this.stats())
      case 'looked-up':
        return this.#lookedUp(message)
      case 'audit':
        return this.#audit()
      case 'audited':
        return this.#compare(message)
      default:
        impossible(message)
    }
  }

  /** A message found no room: something may have been missed, or a lookup's waiters would wait for ever. */
  overflow(message: ResolverMessage): void {
    switch (message.type) {
      case 'invalidate':
      case 'invalidate-all':
      case 'doubt':
      case 'bus':
        return this.#doubtAll()
      case 'looked-up':
        if (this.#pending.get(message.pending.key) !== message.pending) return
        return this.#answer(message.pending, unavailable('too many messages wait for the resolver'))
      case 'resolve':
      case 'inspect':
      case 'hold':
      case 'release':
      case 'stats':
      case 'audit':
      case 'audited':
      case 'beat':
        // Whoever asked is told that the mailbox is full; an audit can be missed, and a beat that is missed costs lookups.
        return
      default:
        impossible(message)
    }
  }

  /** A cache may be lost: begin with an empty one, under a new generation. */
  crashed(error: SignalboxError): void {
    const waiters = [...this.#pending.values()].flatMap((pending) => pending.waiters)
    this.#pending = new Map()
    this.#cache = new RouteCache(this.#mapping.cacheMaxEntries)
    this.#generations.invalidateAll(this.#clock.now())
    for (const give of waiters) give({ kind: 'unavailable', error })
  }

  /**
   * The fresh route of an account that isn't held, or undefined: then ask with `resolve`. Counts as a hit.
   *
   * @param now the clock time of this turn of the event loop, from whoever has just read it: reading it takes longer than
   *   finding the route
   */
  cached(identifier: string, now: number = this.#clock.now()): OpenRoute | undefined {
    return this.#holds.accounts > 0 && this.#holds.isHeld(identifier) ? undefined : this.#hit(identifier, now)
  }

  #hit(identifier: string, now: number): OpenRoute | undefined {
    const cache = this.#cache
    const slot = cache.find(identifier)
    if (slot < 0 || this.#state(slot, now) !== 'fresh') return undefined
    this.#hits++
    const destination = cache.destination(slot)
    return {
      kind: destination === NO_MAPPING ? 'default' : 'mapped',
      identifier,
      destination: destination === NO_MAPPING ? this.#options.defaultDestination() : destination,
      generation: this.#generations.current,
      at: cache.storedAt(slot),
      source: 'cache',
    }
  }

  /** The route of a login that names no account. */
  defaultRoute(): OpenRoute {
    return {
      kind: 'default',
      identifier: undefined,
      destination: this.#options.defaultDestination(),
      generation: this.#generations.current,
      at: this.#clock.now(),
      source: 'store',
    }
  }

  /** Whether a route that was given out may still be taken: asked on entering the bridge. */
  standing(route: OpenRoute): RouteStanding {
    if (route.identifier === undefined) return 'holds'
    if (this.#generations.voidSince(route.identifier, route.generation)) return 'void'
    // A stale route was doubtful from the beginning: nothing new is known of it.
    if (route.source !== 'stale' && this.#generations.doubtfulSince(route.generation)) return 'doubtful'
    return this.#outlived(route.at, this.#clock.now()) ? 'doubtful' : 'holds'
  }

  stats(): ResolverStats {
    return {
      hits: this.#hits,
      misses: this.#misses,
      staleServed: this.#staleServed,
      lookupFailures: this.#lookupFailures,
      evictions: this.#cache.evictions,
      invalidations: this.#invalidations,
      entries: this.#cache.size,
      audited: this.#audited,
      auditStale: this.#auditStale,
      held: this.#holds.waiting,
      lookupsOpen: this.#pending.size,
    }
  }

  #resolve(message: Resolve, reply: Reply): void {
    const key = message.identifier
    if (this.#holds.isHeld(key)) {
      const waits = this.#holds.wait(key, this.#options.loginHoldMax, {
        wanted: () => reply.wanted,
        proceed: () => {
          // Whoever asked may have gone away meanwhile.
          if (reply.wanted) this.#resolve(message, reply)
        },
      })
      if (!waits) reply.to(message, unavailable('too many logins are held back'))
      return
    }
    this.#find(key, (route) => {
      // A hold may have begun while the source was asked: the login waits like those that come after it.
      if (this.#holds.isHeld(key)) this.#resolve(message, reply)
      else reply.to(message, route)
    })
  }

  #find(key: string, give: (route: Route) => void): void {
    const now = this.#clock.now()
    const hit = this.#hit(key, now)
    if (hit !== undefined) return give(hit)
    this.#misses++
    if (this.#failed.remembers(key, now)) return this.#give(give, this.#withoutSource(key, now))
    const pending = this.#pending.get(key)
    if (pending !== undefined) {
      pending.waiters.push(give)
      return
    }
    this.#begin(key, [give])
  }

  #begin(key: string, waiters: Pending['waiters']): void {
    const fresh: Pending = { key, generation: 0, asked: 0, repeats: 0, waiters }
    this.#pending.set(key, fresh)
    this.#lookup(fresh)
  }

  #lookup(pending: Pending): void {
    pending.generation = this.#generations.current
    pending.asked = this.#clock.now()
    const { self, source } = this.#options
    source.lookup(pending.key).then(
      (destination) => self({ type: 'looked-up', pending, result: { destination } }),
      (error: unknown) => self({ type: 'looked-up', pending, result: { error: asSignalboxError(error, 'SOURCE_UNAVAILABLE') } }),
    )
  }

  #lookedUp({ pending, result }: LookedUp): void {
    // A crash has started afresh since: its waiters have been answered.
    if (this.#pending.get(pending.key) !== pending) return
    const now = this.#clock.now()
    if (this.#overtaken(pending, now)) {
      if (pending.repeats < LOOKUP_REPEATS) {
        pending.repeats++
        return this.#lookup(pending)
      }
      return this.#answer(pending, { kind: 'unavailable', error: new SignalboxError('ROUTE_VOID', 'the mapping keeps changing') })
    }
    if ('error' in result) {
      this.#lookupFailures++
      // A probe that nobody has joined prolongs nothing: it ends with what it is there for.
      if (pending.waiters.length > 0) this.#failed.failed(pending.key, now + Math.min(FAILED_LOOKUP_MS, this.#mapping.negativeTtl))
      // One entry that can't be read is no outage: the source has told of it itself.
      if (result.error.code !== 'SOURCE_INVALID') {
        this.#options.report.sourceFailed(result.error)
        this.#probeLater(pending.key)
      }
      return this.#answer(pending, this.#withoutSource(pending.key, now))
    }
    this.#failed.forgetAll()
    this.#options.report.sourceAnswered()
    const destination = this.#numberOf(pending.key, result.destination)
    this.#keep(pending.key, destination, now, pending.generation)
    this.#answer(pending, this.#route(pending.key, destination, { at: now, source: 'store' }, pending.generation))
  }

  /** Asks without a login whether the source answers again: nobody is spared longer than it is away. */
  #probeLater(key: string): void {
    this.#probed = key
    if (this.#probing !== undefined) return
    this.#probing = this.#clock.after(SOURCE_PROBE_MS, () => {
      this.#probing = undefined
      if (!this.#failed.remembers(this.#probed, this.#clock.now()) || this.#pending.has(this.#probed)) return
      this.#begin(this.#probed, [])
    })
  }

  /** Whether an invalidation, or the doubt that one was missed, came after the lookup began. */
  #overtaken({ key, generation, asked }: Pending, now: number): boolean {
    if (this.#generations.voidSince(key, generation) || this.#generations.doubtfulSince(generation)) return true
    // Longer than a lookup can take: this process stood still with the answer before its door.
    return now - asked > this.#mapping.lookupTimeout && this.#outlived(asked, now)
  }

  #answer(pending: Pending, route: Route): void {
    this.#pending.delete(pending.key)
    for (const give of pending.waiters) this.#give(give, route)
  }

  #give(give: (route: Route) => void, route: Route): void {
    if (route.kind !== 'unavailable' && route.source === 'stale') this.#staleServed++
    give(route)
  }

  /** The source can't be asked: a doubtful route if there is one, never a void one; the unknown as configured. */
  #withoutSource(key: string, now: number): Route {
    const slot = this.#cache.find(key)
    if (slot < 0) {
      // Of an account that was invalidated a route was known, even where its entry had no room in the cache.
      if (this.#mapping.onFailure === 'default' && !this.#generations.remembers(key)) {
        return this.#route(key, NO_MAPPING, { at: now, source: 'stale' })
      }
      return unavailable('the mapping source cannot be asked')
    }
    if (this.#state(slot, now) === 'void') return unavailable('the mapping has changed and its source cannot be asked')
    const age = now - this.#cache.storedAt(slot)
    if (age > this.#life(this.#cache.destination(slot)) + this.#mapping.staleTtl) {
      return unavailable('the mapping source cannot be asked and the last known route is too old')
    }
    return this.#route(key, this.#cache.destination(slot), { at: now, source: 'stale' })
  }

  #state(slot: number, now: number): 'fresh' | 'doubtful' | 'void' {
    const destination = this.#cache.destination(slot)
    const generation = this.#cache.generation(slot)
    if (destination === VOID || generation < this.#generations.allVoid) return 'void'
    const storedAt = this.#cache.storedAt(slot)
    if (now - storedAt >= this.#life(destination) || generation < this.#generations.allDoubtful) return 'doubtful'
    return this.#outlived(storedAt, now) ? 'doubtful' : 'fresh'
  }

  /**
   * Whether what was known at the clock time `since` is too old to be used, since changes may not be heard of: the bus is
   * down, or the primary, which would tell, is silent. Looked at when it is to be used, so that a process that stood still
   * finds out before it does anything else.
   */
  #outlived(since: number, now: number): boolean {
    if (this.#busUp && now - this.#beat <= this.#options.patience) return false
    return now - since >= this.#options.busDownTtl
  }

  #life(destination: number): number {
    return destination === NO_MAPPING ? this.#mapping.negativeTtl : this.#mapping.positiveTtl
  }

  #keep(key: string, destination: number, now: number, generation: number): void {
    if (this.#generations.settling(key, now, this.#mapping.settle)) return
    this.#cache.store(key, destination, now, generation)
  }

  #route(identifier: string, destination: number, origin: Pick<OpenRoute, 'at' | 'source'>, generation = this.#generations.current): OpenRoute {
    const { at, source } = origin
    return destination === NO_MAPPING
      ? { kind: 'default', identifier, destination: this.#options.defaultDestination(), generation, at, source }
      : { kind: 'mapped', identifier, destination, generation, at, source }
  }

  #numberOf(key: string, name: string | undefined): number {
    if (name === undefined) return NO_MAPPING
    const id = this.#options.destinationId(name)
    if (id !== undefined) return id
    this.#options.report.undeclared(key, name)
    return NO_MAPPING
  }

  #nameOf(destination: number): string {
    return destination === NO_MAPPING ? 'none' : (this.#options.destinationName(destination) ?? 'unknown')
  }

  #invalidate(identifiers: readonly string[]): void {
    const now = this.#clock.now()
    for (const key of identifiers) {
      this.#invalidations++
      this.#generations.invalidate(key, now)
      this.#failed.forget(key)
      const slot = this.#cache.peek(key)
      if (slot >= 0) this.#cache.void(slot)
      // Where the unknown go to the default while the source fails, it must be remembered that this one is not unknown;
      // not at the price of a route, though, or an import would empty the cache: beyond that the generations remember.
      else if (this.#mapping.onFailure === 'default' && this.#cache.size < this.#mapping.cacheMaxEntries) {
        this.#cache.store(key, VOID, now, this.#generations.current)
      }
    }
  }

  #invalidateAll(): void {
    this.#invalidations++
    this.#generations.invalidateAll(this.#clock.now())
    this.#failed.forgetAll()
  }

  /** What is doubtful must be asked for, whatever failed before. */
  #doubtAll(): void {
    this.#generations.doubtAll()
    this.#failed.forgetAll()
  }

  #bus(up: boolean): void {
    if (up && !this.#busUp) this.#doubtAll()
    this.#busUp = up
  }

  #audit(): void {
    const key = this.#cache.sample(this.#options.random())
    if (key === undefined) return
    const slot = this.#cache.peek(key)
    if (slot < 0 || this.#state(slot, this.#clock.now()) !== 'fresh') return
    const generation = this.#generations.current
    const asked = this.#clock.now()
    this.#options.source.lookup(key).then(
      (destination) => this.#options.self({ type: 'audited', key, generation, asked, destination }),
      // A lookup for a login will tell of the outage; an audit has nothing to compare with then.
      () => {},
    )
  }

  #compare({ key, generation, asked, destination }: Audited): void {
    this.#audited++
    const now = this.#clock.now()
    const slot = this.#cache.peek(key)
    if (slot < 0 || this.#state(slot, now) !== 'fresh') return
    if (this.#generations.voidSince(key, generation) || this.#generations.doubtfulSince(generation)) return
    // What was looked up since may be newer than the audit's answer.
    if (this.#cache.storedAt(slot) > asked) return
    const stored = this.#numberOf(key, destination)
    const cached = this.#cache.destination(slot)
    if (stored === cached) return
    this.#auditStale++
    this.#options.report.auditStale(key, this.#nameOf(cached), this.#nameOf(stored))
    this.#invalidate([key])
  }

  /** Takes in another [mapping]: TTLs and capacity apply from now on. */
  reconfigure(mapping: MappingConfig): void {
    const resized = mapping.cacheMaxEntries !== this.#mapping.cacheMaxEntries
    this.#mapping = mapping
    // The routes stay: a reload during an outage of the source must not make all accounts unknown.
    if (resized) this.#cache = this.#cache.resized(mapping.cacheMaxEntries)
  }
}

function unavailable(message: string): Route {
  return { kind: 'unavailable', error: new SignalboxError('ROUTE_UNAVAILABLE', message) }
}
