/**
 * What happens, as it happens: server-sent events (WHATWG HTML §9.2). A listener hears of this instance alone, and of changes
 * that were made elsewhere when they come into force here.
 */
import { EVENTS_ALIVE_MS, EVENTS_LISTENERS } from '../limits.ts'
import { HAPPENINGS } from '../observe/happenings.ts'
import type { Happening, HappeningName } from '../observe/happenings.ts'
import { failure } from './answer.ts'
import type { Parameter } from './parameters.ts'
import { route } from './route.ts'
import type { Route } from './route.ts'

const CHOICES = HAPPENINGS.filter((name) => name !== 'lost')

const only: Parameter<ReadonlySet<HappeningName>> = {
  description: `What to hear of, with commas between: ${CHOICES.join(', ')}. Everything unless it is given.`,
  schema: { type: 'string', pattern: `^(${CHOICES.join('|')})(,(${CHOICES.join('|')}))*$` },
  required: false,
  read(text) {
    if (text === undefined) return { ok: true, value: new Set(CHOICES) }
    const names = text.split(',').map((name) => CHOICES.find((choice) => choice === name))
    if (names.includes(undefined)) return { ok: false, mistake: `must be one or several of ${CHOICES.join(', ')}, with commas between` }
    return { ok: true, value: new Set(names.filter((name) => name !== undefined)) }
  },
}

export const eventRoutes: readonly Route[] = [
  route({
    method: 'GET',
    path: '/events',
    summary: 'What happens in this instance, as server-sent events.',
    parameters: { only },
    answers: {
      200: { description: 'Events until one side ends the connection.', stream: 'text/event-stream' },
      503: { description: 'Too many listen already, or the instance is shutting down.' },
    },
    handle(values, operations, { gone }) {
      const { happenings, quiet } = operations.events
      if (happenings.listeners >= EVENTS_LISTENERS) {
        return failure(503, 'DRAINING', `${EVENTS_LISTENERS} readers of events are connected already`)
      }
      if (operations.state() === 'draining') return failure(503, 'DRAINING', 'the instance is shutting down')
      const batches = happenings.listen(values.only, gone, () => quiet(EVENTS_ALIVE_MS))
      return { status: 200, text: '', json: {}, stream: { type: 'text/event-stream', pieces: written(batches) } }
    },
  }),
]

/** The head of the answer goes out at once, with a comment that tells the reader when to come back. */
async function* written(batches: AsyncIterable<readonly Happening[]>): AsyncGenerator<string> {
  yield 'retry: 5000\n\n'
  for await (const batch of batches) {
    yield batch.length === 0 ? ':\n\n' : batch.map(({ event, data }) => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`).join('')
  }
}
