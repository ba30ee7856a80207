/** What Prometheus reads. Without token where `admin.metrics_open` says so: it names destinations and peers, never an account. */
import { route } from './route.ts'
import type { Route } from './route.ts'

export const metricsRoutes: readonly Route[] = [
  route({
    method: 'GET',
    path: '/metrics',
    summary: 'Metrics of this instance, in the text format of Prometheus.',
    openWhen: ({ metricsOpen }) => metricsOpen,
    parameters: {},
    answers: {
      200: { description: 'All metrics; docs/metrics.md explains each.', stream: 'text/plain; version=0.0.4' },
      503: { description: 'A room of this instance could not be asked.' },
    },
    async handle(_, operations) {
      const text = await operations.metrics()
      return { status: 200, text: '', json: {}, stream: { type: 'text/plain; version=0.0.4', pieces: once(text) } }
    },
  }),
]

async function* once(text: string): AsyncGenerator<string> {
  yield text
}
