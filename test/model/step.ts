/**
 * What may happen to a fleet: the alphabet of its models. A run is a list of steps, so that a failing one can be shrunk to
 * the few that matter.
 */
import fc from 'fast-check'

export const INSTANCES = ['a', 'b'] as const
export const KEYS = ['anna@example.com', 'ben@example.com', 'cleo@example.com'] as const

export type Step =
  /** By the management API of one instance. */
  | { readonly do: 'put' | 'delete' | 'invalidate'; readonly who: number; readonly key: number }
  | { readonly do: 'invalidate-all' | 'reload'; readonly who: number }
  /** By somebody's hand at the store. */
  | { readonly do: 'set' | 'del'; readonly key: number }
  | { readonly do: 'flush' }
  /** A lookup in every worker of every instance. */
  | { readonly do: 'look'; readonly key: number }
  | { readonly do: 'bus'; readonly who: number; readonly how: BusFault }
  /** The next frame to all that is on its way to it is lost. */
  | { readonly do: 'lose'; readonly who: number }
  | { readonly do: 'source'; readonly who: number; readonly how: SourceFault }
  /** Bus and source at once: what is looked up meanwhile fails, and is remembered. */
  | { readonly do: 'outage'; readonly who: number; readonly how: 'cut' | 'mend' }
  /** A primary, or with it all its workers, are stopped, and go on in any order. */
  | { readonly do: 'stop'; readonly who: number; readonly how: 'primary' | 'both' }
  | { readonly do: 'continue'; readonly who: number; readonly how: 'primary' | 'workers' | 'both' }
  | { readonly do: 'kill'; readonly who: number; readonly worker: number }
  | { readonly do: 'restart'; readonly who: number; readonly how: 'crash' | 'leave' }
  /** In quarters of a heartbeat. */
  | { readonly do: 'wait'; readonly quarters: number }

export type BusFault = 'cut' | 'deafen' | 'mute' | 'mend'
export type SourceFault = 'cut' | 'pause' | 'mend'

const who = fc.nat(INSTANCES.length - 1)
// Mostly one account: what happens to it from two sides is what matters.
const key = fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(KEYS.length - 1) })

export const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('put' as const), who, key }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('delete' as const, 'invalidate' as const), who, key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('invalidate-all' as const, 'reload' as const), who }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('set' as const, 'set' as const, 'del' as const), key }) },
  { weight: 10, arbitrary: fc.record({ do: fc.constant('look' as const), key }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('bus' as const), who, how: fc.constantFrom<BusFault[]>('cut', 'deafen', 'mute', 'mend', 'mend') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('lose' as const), who }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('source' as const), who, how: fc.constantFrom<SourceFault[]>('cut', 'pause', 'mend', 'mend') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('outage' as const), who, how: fc.constantFrom('cut' as const, 'mend' as const, 'mend' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('stop' as const), who, how: fc.constantFrom('primary' as const, 'both' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('continue' as const), who, how: fc.constantFrom('primary' as const, 'workers' as const, 'both' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('kill' as const), who, worker: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const), who, how: fc.constantFrom('crash' as const, 'leave' as const) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('wait' as const), quarters: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), quarters: fc.integer({ min: 12, max: 40 }) }) },
  { weight: 1, arbitrary: fc.constant({ do: 'flush' as const }) },
)
