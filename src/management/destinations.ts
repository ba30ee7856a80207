/** Health of the destinations as this instance sees it, and the way to clear a breaker by hand. */
import { data, failure, shown } from './answer.ts'
import { changed } from './confirmation.ts'
import { destinationName } from './parameters.ts'
import type { Parameter } from './parameters.ts'
import { changeAnswers, objectOf, route } from './route.ts'
import type { Route } from './route.ts'
import { over } from './sessions.ts'

const operatorState: Parameter<'up' | 'drain' | 'down'> = {
  description: '`down`: nobody new. `drain`: nobody new, and the sessions that are there are ended. `up`: as if nothing had been said.',
  schema: { type: 'string', enum: ['up', 'drain', 'down'] },
  required: true,
  read(text) {
    if (text === undefined) return { ok: false, mistake: 'is missing' }
    if (text === 'up' || text === 'drain' || text === 'down') return { ok: true, value: text }
    return { ok: false, mistake: 'must be up, drain or down' }
  },
}

const status = objectOf({
  destination: { type: 'string' },
  consecutive_failures: { type: 'integer' },
  failure_sources: { type: 'integer' },
  host_level_failure: { type: 'boolean' },
  down: { type: 'boolean' },
  down_until: { type: ['string', 'null'] },
  state: { type: 'string', enum: ['up', 'drain', 'down'] },
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
      503: { description: 'The health of this instance could not be asked.' },
    },
    async handle({ destination }, operations) {
      if (!(await operations.resetDestination(destination))) {
        return failure(404, 'NOT_FOUND', `destination: no destination "${shown(destination)}" is declared`)
      }
      return { status: 200, text: 'ok', json: { result: 'ok', destination }, audit: { outcome: 'ok' } }
    },
  }),
  route({
    method: 'PUT',
    path: '/destinations/state',
    summary: 'Takes a destination out by hand, or puts it back, in the whole fleet.',
    change: 'destination_state',
    parameters: { destination: destinationName, state: operatorState, over },
    answers: {
      ...changeAnswers('In force in every worker of this instance.', {
        destination: { type: 'string' },
        state: { type: 'string' },
        sessions: { type: 'integer' },
      }),
      404: { description: 'No such destination is declared.' },
    },
    async handle({ destination, state, over }, operations) {
      const done = await operations.sessions.setState(destination, state, over)
      if (done === undefined) return failure(404, 'NOT_FOUND', `destination: no destination "${shown(destination)}" is declared`)
      return changed('ok', done.confirmation, { destination }, { state, sessions: done.sessions })
    },
  }),
]
