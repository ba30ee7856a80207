/** Live sessions of the whole fleet: which there are, how many, and the draining of a destination. */
import { durationText, parseDuration } from '../config/duration.ts'
import { DRAIN_DEFAULT_MS, DRAIN_SECONDS, SESSIONS_LISTED } from '../limits.ts'
import { data } from './answer.ts'
import { changed } from './confirmation.ts'
import { destinationName, identifier, optional } from './parameters.ts'
import type { Parameter } from './parameters.ts'
import { changeAnswers, objectOf, route } from './route.ts'
import type { Route } from './route.ts'

const text = { type: 'string' }
const count = { type: 'integer' }
const LISTED_BY_DEFAULT = 100

const session = objectOf({
  account: { type: ['string', 'null'] },
  protocol: text,
  destination: text,
  client: text,
  since: text,
  bytes_in: count,
  bytes_out: count,
  instance: text,
  worker: count,
})

const counted = objectOf({ instance: text, protocol: text, destination: text, sessions: count, bytes_in: count, bytes_out: count })
const unanswered = { type: 'array', items: text }

const limit: Parameter<number> = {
  description: `How many to list: 1 to ${SESSIONS_LISTED}; ${LISTED_BY_DEFAULT} unless it is given.`,
  schema: { type: 'integer', minimum: 1, maximum: SESSIONS_LISTED, default: LISTED_BY_DEFAULT },
  required: false,
  read(given) {
    if (given === undefined) return { ok: true, value: LISTED_BY_DEFAULT }
    const value = /^[0-9]{1,9}$/.test(given) ? Number(given) : 0
    if (value >= 1 && value <= SESSIONS_LISTED) return { ok: true, value }
    return { ok: false, mistake: `must be a whole number from 1 to ${SESSIONS_LISTED}` }
  },
}

/** Milliseconds. */
export const over: Parameter<number> = {
  description: `Over what time the sessions are ended: ${durationText(DRAIN_DEFAULT_MS)} unless it is given, at most 1h; 0s is at once.`,
  schema: { type: 'string', pattern: '^[0-9]+(ms|s|m|h)$', default: durationText(DRAIN_DEFAULT_MS) },
  required: false,
  read(given) {
    if (given === undefined) return { ok: true, value: DRAIN_DEFAULT_MS }
    const parsed = given.length <= 20 ? parseDuration(given) : { ok: false as const, reason: 'too long' }
    if (parsed.ok && parsed.value <= DRAIN_SECONDS * 1000) return parsed
    return { ok: false, mistake: 'must be a time such as 30s, at most 1h' }
  },
}

export const sessionRoutes: readonly Route[] = [
  route({
    method: 'GET',
    path: '/sessions',
    summary: 'Live sessions of the fleet, of an account, of a destination, or any.',
    parameters: { identifier: optional(identifier), destination: optional(destinationName), limit },
    answers: {
      200: {
        description: 'Those that are bridged to a destination now.',
        text: false,
        json: objectOf({ sessions: { type: 'array', items: session }, total: count, unanswered }),
      },
      503: { description: 'The fleet could not be asked.' },
    },
    handle: async (values, operations) =>
      data(
        await operations.sessions.list({ identifier: values.identifier?.normalized, destination: values.destination }, values.limit),
      ),
  }),
  route({
    method: 'GET',
    path: '/sessions/summary',
    summary: 'How many live sessions there are, by instance, protocol and destination.',
    parameters: {},
    answers: {
      200: {
        description: 'Those that are bridged to a destination now, counted.',
        text: false,
        json: objectOf({ total: count, counts: { type: 'array', items: counted }, unanswered }),
      },
      503: { description: 'The fleet could not be asked.' },
    },
    handle: async (_, operations) => data(await operations.sessions.summary()),
  }),
  route({
    method: 'DELETE',
    path: '/sessions',
    summary: 'Ends the live sessions of a destination in the whole fleet, spread over a time.',
    change: 'sessions_drain',
    parameters: { destination: destinationName, over },
    answers: changeAnswers('`draining N`: so many are being ended.', { destination: text, over: text, sessions: count }),
    async handle({ destination, over }, operations) {
      const { sessions, confirmation } = await operations.sessions.drain(destination, over)
      return changed(`draining ${sessions}`, confirmation, { destination }, { over: durationText(over), sessions })
    },
  }),
]
