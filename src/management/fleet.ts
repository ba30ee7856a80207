/** The instances of the fleet as this one sees them, and the forgetting of one that will not come back. */
import { data, failure, shown } from './answer.ts'
import type { Answer } from './answer.ts'
import type { InstanceStatus } from './operations.ts'
import { instance } from './parameters.ts'
import { objectOf, route } from './route.ts'
import type { Route } from './route.ts'

const status = objectOf({
  instance: { type: 'string' },
  state: { type: 'string', enum: ['self', 'live', 'lost'] },
  started: { type: 'string' },
  version: { type: 'string' },
  workers: { type: 'integer' },
  digest: { type: 'string' },
  digest_agrees: { type: 'boolean' },
  last_heard_s: { type: 'number' },
  sequence: { type: 'integer' },
  lag: { type: 'integer', nullable: true },
  gaps: { type: 'integer' },
})

const strangers = {
  ...objectOf({
    frames: { type: 'integer' },
    names: { type: 'array', items: { type: 'string' } },
    since: { type: 'string' },
    last: { type: 'string' },
    reason: { type: 'string' },
  }),
  nullable: true,
}

export const fleetRoutes: readonly Route[] = [
  route({
    method: 'GET',
    path: '/fleet',
    summary: 'This instance and its peers: live ones and lost ones.',
    parameters: {},
    answers: {
      200: {
        description: 'All instances that are known here, this one first.',
        text: false,
        json: objectOf({
          bus: { type: 'string', enum: ['none', 'up', 'down'] },
          instances: { type: 'array', items: status },
          strangers,
        }),
      },
      503: { description: 'The fleet could not be asked.' },
    },
    handle: async (_, operations) => data(await operations.fleet()),
  }),
  route({
    method: 'DELETE',
    path: '/fleet/{instance}',
    summary: 'Forgets a lost instance, so that no answer names it as unconfirmed any more.',
    change: 'fleet_forget',
    parameters: { instance },
    answers: {
      200: { description: '`forgotten`.', json: objectOf({ result: { type: 'string' }, instance: { type: 'string' } }) },
      404: { description: 'No instance of that name is known here.' },
      409: { description: 'It is live, or it is this instance: only a lost one is forgotten.' },
      503: { description: 'The fleet could not be asked.' },
    },
    async handle(values, operations) {
      const facts = { instance: values.instance }
      if (await operations.forget(values.instance)) {
        return { status: 200, text: 'forgotten', json: { result: 'forgotten', ...facts }, audit: { outcome: 'ok', facts } }
      }
      const { instances } = await operations.fleet()
      const answer = notForgotten(values.instance, instances.find((known) => known.instance === values.instance)?.state)
      return { ...answer, audit: { outcome: String(answer.json['code']), facts } }
    },
  }),
]

function notForgotten(name: string, state: InstanceStatus['state'] | undefined): Answer {
  const whose = `instance: "${shown(name)}"`
  switch (state) {
    case undefined:
      return failure(404, 'NOT_FOUND', `${whose} is not known here`)
    case 'self':
      return failure(409, 'NOT_LOST', `${whose} is this instance`)
    case 'live':
      return failure(409, 'NOT_LOST', `${whose} is live, only a lost one is forgotten`)
    case 'lost':
      // It wasn't when it should have been forgotten, and is now.
      return failure(409, 'NOT_LOST', `${whose} was live until this moment, ask again`)
  }
}
