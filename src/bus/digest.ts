/**
 * The configuration digest: equal on two instances that look up the same name under the same identifier at the same place
 * and know the same destinations. Peers compare it in every heartbeat; a difference is a warning. No secret goes in, so
 * that a password that is changed on one instance after the other makes no difference, and none can be guessed from it.
 */
import { createHash } from 'node:crypto'
import type { Config, MappingConfig } from '../config/config.ts'
import { parseRedisUrl } from '../config/redis-url.ts'

/** 16 hex digits over normalisation, separators, source with its place and prefix, names of destinations. */
export function configurationDigest(config: Config): string {
  const parts = [
    config.mapping.normalize,
    // The first occurrence of any of them cuts: their order means nothing.
    [...new Set(config.routing.masterUserSeparators)].sort(),
    place(config.mapping),
    config.destinations.map(({ name }) => name).sort(),
  ]
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16)
}

function place({ source, file, redis, sql }: MappingConfig): readonly (string | boolean | undefined)[] {
  switch (source) {
    case 'file':
      // One that isn't shared is a place of its own on every host, wherever it lies.
      return [source, file?.shared === true ? file.path : undefined]
    case 'redis':
      return [source, redis === undefined ? undefined : parseRedisUrl(redis.url).text, redis?.keyPrefix]
    case 'sql':
      return [source, sql === undefined ? undefined : withoutUser(sql.url), sql?.query]
  }
}

/** Scheme, host and path: what follows a "?" may hold a password as well. */
function withoutUser(url: string): string {
  const [place = ''] = url.split(/[?#]/, 1)
  return place.replace(/^([a-z0-9+]+:\/\/)(?:[^/]*@)?/i, '$1')
}
