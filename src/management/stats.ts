/** Sums over this instance's workers. */
import { data } from './answer.ts'
import { objectOf, route } from './route.ts'
import type { Route } from './route.ts'

const count = { type: 'integer' }

export const statsRoutes: readonly Route[] = [
  route({
    method: 'GET',
    path: '/stats',
    summary: 'Counters of this instance, summed over its workers.',
    parameters: {},
    answers: {
      200: {
        description: 'The counters since the start.',
        text: false,
        json: objectOf({
          cache_hits: count,
          cache_misses: count,
          hit_rate_pct: { type: 'number' },
          cache_entries: count,
          active_connections: count,
          stale_served: count,
          lookup_failures: count,
          evictions: count,
          invalidations: count,
          audited: count,
          audit_stale: count,
          workers: count,
          instance: { type: 'string' },
          peers: { type: 'array', items: { type: 'string' } },
          bus: { type: 'string', enum: ['none', 'up', 'down'] },
          bus_invalid_frames: count,
          watch: { type: 'string', enum: ['off', 'on', 'unavailable'] },
          uptime_s: { type: 'number' },
          version: { type: 'string' },
        }),
      },
      503: { description: 'A worker could not be asked.' },
    },
    handle: async (_, operations) => data(await operations.stats()),
  }),
]
