/** An account's live sessions and its logins to come. */
import { changed } from './confirmation.ts'
import { identifier, seconds } from './parameters.ts'
import { changeAnswers, route } from './route.ts'
import type { Route } from './route.ts'

const account = { type: 'string' }

export const connectionRoutes: readonly Route[] = [
  route({
    method: 'POST',
    path: '/connections/kick',
    summary: "Ends an account's sessions in the whole fleet.",
    change: 'connections_kick',
    parameters: { identifier },
    answers: changeAnswers('`kicked N`.', { identifier: account, kicked: { type: 'integer' } }),
    async handle(values, operations) {
      const { normalized } = values.identifier
      const { kicked, confirmation } = await operations.kick(normalized)
      return changed(`kicked ${kicked}`, confirmation, { identifier: normalized }, { kicked })
    },
  }),
  route({
    method: 'POST',
    path: '/connections/delay',
    summary: 'Holds new logins of an account for a while, in the whole fleet.',
    change: 'connections_delay',
    parameters: { identifier, seconds },
    answers: changeAnswers('Every worker of this instance holds.', { identifier: account, seconds: { type: 'integer' } }),
    async handle(values, operations) {
      const { normalized } = values.identifier
      const confirmation = await operations.delay(normalized, values.seconds)
      return changed('ok', confirmation, { identifier: normalized }, { seconds: values.seconds })
    },
  }),
]
