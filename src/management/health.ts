/** Liveness and readiness. Liveness says only that the process answers: it stays 200 while draining, or an orchestrator would kill sessions that are ending in peace. */
import { failure } from './answer.ts'
import { objectOf, route } from './route.ts'
import type { Route } from './route.ts'

const state = objectOf({ result: { type: 'string' }, state: { type: 'string', enum: ['starting', 'ready', 'draining'] } })

export const healthRoutes: readonly Route[] = [
  route({
    method: 'GET',
    path: '/healthz',
    summary: 'Whether the process answers; without token, never locked out.',
    open: true,
    parameters: {},
    answers: { 200: { description: 'It answers.', json: state } },
    handle: (_, operations) => ({ status: 200, text: 'ok', json: { result: 'ok', state: operations.state() } }),
  }),
  route({
    method: 'GET',
    path: '/readyz',
    summary: 'Whether clients should be sent here.',
    parameters: {},
    answers: {
      200: { description: 'Ready.', json: state },
      503: { description: 'Starting or draining.' },
    },
    handle(_, operations) {
      const now = operations.state()
      if (now === 'ready') return { status: 200, text: 'ok', json: { result: 'ok', state: now } }
      return { ...failure(503, 'NOT_READY', now), json: { error: now, code: 'NOT_READY', state: now } }
    },
  }),
]
