/** The file source as a worker sees it: every lookup is a question to the primary's mapping actor, which holds the one table. */
import type { ActorRef } from '../actor/message.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import type { MappingMessage } from '../mapping/actor.ts'
import type { MappingLookup } from '../mapping/source.ts'

/** @param timeout mapping.lookup_timeout as it is now, milliseconds */
export function remoteLookup(mapping: ActorRef<MappingMessage>, timeout: () => number): MappingLookup {
  return {
    async lookup(identifier) {
      try {
        return (await mapping.ask({ type: 'lookup', identifier }, timeout())) ?? undefined
      } catch (thrown) {
        const error = asSignalboxError(thrown)
        if (error.side === 'source') throw error
        throw new SignalboxError(error.code === 'ACTOR_DEADLINE' ? 'SOURCE_TIMEOUT' : 'SOURCE_UNAVAILABLE', error.message, { cause: error })
      }
    },
    close: () => Promise.resolve(),
  }
}
