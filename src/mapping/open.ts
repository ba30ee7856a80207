/**
 * From the [mapping] tables to a source: the primary's whole one, and for each worker the half that it can ask by itself.
 * Only the chosen source is loaded: the clients of the others would be half of a start.
 */
import type { Clock } from '../clock.ts'
import type { MappingConfig } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import { mappingWarning } from '../observe/events.ts'
import type { SourceLog } from './notice.ts'
import type { MappingLookup, MappingSource } from './source.ts'

export interface SourceSurroundings {
  readonly mapping: MappingConfig
  readonly clock: Clock
  readonly log: SourceLog
  /** What a log may say of an account. */
  readonly redact: (account: string) => string
}

export interface PrimarySurroundings extends SourceSurroundings {
  /** Names of the declared destinations. */
  readonly destinations: readonly string[]
  /** cluster.heartbeat, milliseconds: how often watches are looked after. */
  readonly heartbeat: number
}

/**
 * Opens the source as the primary needs it. Rejects with CONFIG_INVALID, SOURCE_INVALID (a bad file), and
 * SOURCE_UNAVAILABLE: unless on_failure was set, a store that is away is a reason not to start.
 */
export async function openSource(surroundings: PrimarySurroundings): Promise<MappingSource> {
  const { mapping, clock, log, redact, destinations, heartbeat } = surroundings
  const { file, redis, sql, lookupTimeout, normalize, onFailureSet: allowUnavailable } = mapping
  switch (mapping.source) {
    case 'file': {
      if (file === undefined) break
      const { openFileSource } = await import('./file/source.ts')
      return openFileSource({
        config: file,
        normalize,
        destinations,
        clock,
        warn: (warning) => mappingWarning(log, { warning }),
      })
    }
    case 'redis': {
      if (redis === undefined) break
      const { openRedisSource } = await import('./redis/source.ts')
      return openRedisSource({ ...redis, lookupTimeout, clock, log, redact, heartbeat, allowUnavailable })
    }
    case 'sql': {
      if (sql === undefined) break
      const { openSqlSource } = await import('./sql/source.ts')
      // The workers ask; the primary needs one connection to write and one for an operator's question.
      return openSqlSource({ ...sql, connections: 2, lookupTimeout, clock, log, redact, heartbeat, allowUnavailable })
    }
  }
  throw new SignalboxError('CONFIG_INVALID', `mapping.source is "${mapping.source}", but there is no [mapping.${mapping.source}]`)
}

/**
 * Opens what a worker asks by itself, with its share of the pool; undefined where it asks the primary (the file). A store
 * that is away doesn't keep a worker from starting: the primary has decided about that.
 */
export async function openLookup(surroundings: SourceSurroundings, workers: number): Promise<MappingLookup | undefined> {
  const { mapping, clock, log, redact } = surroundings
  const { redis, sql, lookupTimeout } = mapping
  const shared = { lookupTimeout, clock, log, redact, allowUnavailable: true }
  if (mapping.source === 'redis' && redis !== undefined) {
    const { openRedisLookup } = await import('./redis/lookup.ts')
    return openRedisLookup({ ...shared, url: redis.url, ca: redis.ca, keyPrefix: redis.keyPrefix, connections: share(redis.poolSize, workers) })
  }
  if (mapping.source === 'sql' && sql !== undefined) {
    const { openSqlLookup } = await import('./sql/lookup.ts')
    return openSqlLookup({ ...shared, url: sql.url, ca: sql.ca, query: sql.query, connections: share(sql.poolSize, workers) })
  }
  return undefined
}

/** A pool belongs to the instance; each worker has at least one connection of it. */
function share(poolSize: number, workers: number): number {
  return Math.max(1, Math.floor(poolSize / workers))
}
