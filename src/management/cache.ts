/** Makes cached routes void by hand, for changes that were made behind the proxy's back. */
import { changed } from './confirmation.ts'
import { identifier, optional } from './parameters.ts'
import { changeAnswers, route } from './route.ts'
import type { Route } from './route.ts'

export const cacheRoutes: readonly Route[] = [
  route({
    method: 'POST',
    path: '/cache/invalidate',
    summary: "Makes one account's cached route, or all of them, void in the whole fleet.",
    change: 'cache_invalidate',
    parameters: { identifier: optional(identifier) },
    answers: changeAnswers('Void in every worker of this instance.', { identifier: { type: 'string' } }),
    async handle(values, operations) {
      const account = values.identifier?.normalized
      return changed('ok', await operations.invalidate(account), account === undefined ? {} : { identifier: account })
    },
  }),
]
