/**
 * Where a worker's sessions take the places that are counted for the whole instance: the primary is asked, but only
 * where a limit is configured. A primary that doesn't answer in time turns nobody away; what it counts late is given
 * back in order all the same.
 */
import type { ActorRef } from '../actor/message.ts'
import type { Config } from '../config/config.ts'
import type { LimitsMessage } from '../primary/limits.ts'
import type { PlaceDesk } from '../session/place.ts'

const DEADLINE_MS = 1_000

export function placeDesk(worker: number, config: Config, limits: ActorRef<LimitsMessage>): PlaceDesk {
  const limited = new Set(config.destinations.filter(({ maxConnections }) => maxConnections > 0).map(({ name }) => name))
  return {
    take(place, session) {
      const counted = place.of === 'account' ? config.limits.maxSessionsPerAccount > 0 : limited.has(place.name)
      return counted ? limits.ask({ type: 'take', place, holder: { worker, session } }, DEADLINE_MS).catch(() => true) : true
    },
    giveBack: (place, session) => limits.tell({ type: 'give-back', place, session }),
  }
}
