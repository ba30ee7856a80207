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

/** @param config the one in force now */
export function placeDesk(worker: number, config: () => Config, limits: ActorRef<LimitsMessage>): PlaceDesk {
  let known: Config | undefined
  let limited: ReadonlySet<string> = new Set()
  return {
    take(place, session) {
      const now = config()
      if (now !== known) limited = limitedOf(now)
      known = now
      const counted = place.of === 'account' ? now.limits.maxSessionsPerAccount > 0 : limited.has(place.name)
      return counted ? limits.ask({ type: 'take', place, holder: { worker, session } }, DEADLINE_MS).catch(() => true) : true
    },
    giveBack: (place, session) => limits.tell({ type: 'give-back', place, session }),
  }
}

function limitedOf({ destinations }: Config): ReadonlySet<string> {
  return new Set(destinations.filter(({ maxConnections }) => maxConnections > 0).map(({ name }) => name))
}
