/** Health of the destinations as this instance sees it, and the way to clear a breaker by hand. */
import { data, failure, shown } from './answer.ts'
import { destinationName } from './parameters.ts'
import { objectOf, route } from './route.ts'
import type { Route } from './route.ts'

const status = objectOf({
  destination: { type: 'string' },
  consecutive_failures: { type: 'integer' },
  failure_sources: { type: 'integer' },
  host_level_failure: { type: 'boolean' },
  down: { type: 'boolean' },
  down_until: { type: 'string', nullable: true },
  sessions: { type: 'integer' },
})

export const destinationRoutes: readonly Route[] = [
  route({
    method: 'GET',
    path: '/destinations',
    summary: 'Health of every destination.',
    parameters: {},
    answers: {
      200: { description: 'All destinations.', text: false, json: objectOf({ destinations: { type: 'array', items: status } }) },
      503: { description: 'A worker could not be asked.' },
    },
    handle: async (_, operations) => data({ destinations: await operations.destinations() }),
  }),
  route({
    method: 'POST',
    path: '/destinations/reset',
    summary: 'Clears the failures of a destination, so that it is up at once.',
    change: 'destination_reset',
    parameters: { destination: destinationName },
    answers: {
      200: { description: 'Cleared.', json: objectOf({ result: { type: 'string' }, destination: { type: 'string' } }) },
      404: { description: 'No such destination is declared.' },
    },
    async handle({ destination }, operations) {
      if (!(await operations.resetDestination(destination))) {
        return failure(404, 'NOT_FOUND', `destination: no destination "${shown(destination)}" is declared`)
      }
      return { status: 200, text: 'ok', json: { result: 'ok', destination }, audit: { outcome: 'ok' } }
    },
  }),
]
