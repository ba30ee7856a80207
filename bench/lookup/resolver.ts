/** A resolver as a worker has it, without what surrounds it there: every destination is "backend", nothing settles, nothing is held. */
import { spawn } from '../../src/actor/actor.ts'
import type { RunningActor } from '../../src/actor/actor.ts'
import { systemClock } from '../../src/clock.ts'
import { Resolver } from '../../src/resolver/resolver.ts'
import type { ResolverMessage, ResolverOptions } from '../../src/resolver/resolver.ts'
import { testConfig } from '../../test/support/config.ts'

export function startResolver(entries: number, source: ResolverOptions['source']): { readonly resolver: Resolver; readonly actor: RunningActor<ResolverMessage> } {
  const resolver = new Resolver({
    mapping: testConfig({ mapping: { cacheMaxEntries: entries, settle: 0 } }).mapping,
    clock: systemClock,
    source,
    destinationId: () => 0,
    destinationName: () => 'backend',
    defaultDestination: () => 0,
    loginHoldMax: 1,
    busDownTtl: 1,
    patience: Number.POSITIVE_INFINITY,
    self: (message) => actor.ref.tell(message),
    random: Math.random,
    report: { undeclared() {}, auditStale() {}, sourceFailed() {}, sourceAnswered() {} },
  })
  const actor = spawn(resolver, { name: 'resolver', clock: systemClock })
  return { resolver, actor }
}
