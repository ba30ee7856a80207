/** A resolver with a clock that stands still, and a source that answers when and what a test says. */
import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { spawn } from '../../src/actor/actor.ts'
import type { RunningActor } from '../../src/actor/actor.ts'
import type { MappingConfig } from '../../src/config/config.ts'
import type { SignalboxError } from '../../src/errors.ts'
import { SignalboxError as Failure } from '../../src/errors.ts'
import type { MappingLookup } from '../../src/mapping/source.ts'
import { Resolver } from '../../src/resolver/resolver.ts'
import type { ResolverMessage, ResolverOptions } from '../../src/resolver/resolver.ts'
import type { Route } from '../../src/resolver/route.ts'
import { testConfig } from '../support/config.ts'
import { FakeClock } from '../support/fake-clock.ts'

/** A lookup that the source was asked for and has not answered. */
export interface OpenLookup {
  readonly identifier: string
  answer(destination: string | undefined): Promise<void>
  fail(): Promise<void>
}

export class ScriptedSource implements MappingLookup {
  readonly open: OpenLookup[] = []
  /** Lookups begun since the start. */
  asked = 0
  /** Called when a lookup begins, within the resolver's handler. */
  onLookup: ((identifier: string) => void) | undefined

  lookup(identifier: string): Promise<string | undefined> {
    this.asked++
    this.onLookup?.(identifier)
    return new Promise((resolve, reject) => {
      const settle = async (how: () => void): Promise<void> => {
        this.open.splice(this.open.indexOf(lookup), 1)
        how()
        await turn()
      }
      const lookup: OpenLookup = {
        identifier,
        answer: (destination) => settle(() => resolve(destination)),
        fail: () => settle(() => reject(new Failure('SOURCE_UNAVAILABLE', 'away'))),
      }
      this.open.push(lookup)
    })
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  /** Answers the oldest open lookup, which must be of this identifier. */
  async answer(identifier: string, destination: string | undefined): Promise<void> {
    await this.#oldest(identifier).answer(destination)
  }

  async fail(identifier: string): Promise<void> {
    await this.#oldest(identifier).fail()
  }

  #oldest(identifier: string): OpenLookup {
    const [oldest] = this.open
    assert.equal(oldest?.identifier, identifier, 'the lookup that is under way')
    assert.ok(oldest)
    return oldest
  }
}

/** Numbers of the declared destinations; the default one is number 0. */
export const DESTINATIONS = ['legacy', 'one', 'two', 'three']

export interface Scripted {
  readonly clock: FakeClock
  readonly source: ScriptedSource
  readonly resolver: Resolver
  readonly actor: RunningActor<ResolverMessage>
  /** What was reported, in order. */
  readonly told: string[]
  /** Asks for a route; `outcome` is set once it has come. */
  ask(identifier: string): Asked
  /** Asks, answers the one lookup, and gives the route in brief. */
  look(identifier: string, destination: string | undefined): Promise<string>
  invalidate(...identifiers: string[]): void
}

export interface Asked {
  readonly promise: Promise<Route>
  readonly cancel: AbortController
  /** `one store`, `legacy(default) cache`, `two stale`, or the error's code; undefined while it is awaited. */
  outcome: string | undefined
}

export function inBrief(route: Route): string {
  if (route.kind === 'unavailable') return route.error.code
  return `${DESTINATIONS[route.destination]}${route.kind === 'default' ? '(default)' : ''} ${route.source}`
}

export interface ScriptedOptions extends Partial<ResolverOptions> {
  readonly with?: Partial<MappingConfig>
  readonly bound?: number
}

export function scripted({ with: mapping, bound, ...rest }: ScriptedOptions = {}): Scripted {
  const clock = new FakeClock()
  const source = new ScriptedSource()
  const told: string[] = []
  const resolver = new Resolver({
    mapping: { ...testConfig().mapping, ...mapping },
    clock,
    source,
    destinationId: (name) => {
      const id = DESTINATIONS.indexOf(name)
      return id < 0 ? undefined : id
    },
    destinationName: (id) => DESTINATIONS[id],
    defaultDestination: () => 0,
    loginHoldMax: 3,
    busDownTtl: 5_000,
    patience: Number.POSITIVE_INFINITY,
    self: (message) => actor.ref.tell(message),
    random: () => 0,
    report: {
      undeclared: (identifier, destination) => told.push(`undeclared ${identifier} ${destination}`),
      auditStale: (identifier, cached, stored) => told.push(`stale ${identifier} ${cached} ${stored}`),
      sourceFailed: ({ code }) => told.push(`failed ${code}`),
      sourceAnswered: () => told.push('answered'),
    },
    ...rest,
  })
  const actor = spawn<ResolverMessage>(resolver, { name: 'resolver', clock, ...(bound === undefined ? {} : { bound }) })
  const ask = (identifier: string): Asked => {
    const cancel = new AbortController()
    const promise = actor.ref.ask({ type: 'resolve', identifier }, 1_000_000_000, cancel.signal)
    const asked: Asked = { promise, cancel, outcome: undefined }
    promise.then(
      (route) => (asked.outcome = inBrief(route)),
      (error: SignalboxError) => (asked.outcome = error.code),
    )
    return asked
  }
  return {
    clock,
    source,
    resolver,
    actor,
    told,
    ask,
    async look(identifier, destination) {
      const { promise } = ask(identifier)
      await source.answer(identifier, destination)
      return inBrief(await promise)
    },
    invalidate: (...identifiers) => actor.ref.tell({ type: 'invalidate', identifiers }),
  }
}
