/** Single mappings and the re-reading of the mapping file. */
import type { Answer } from './answer.ts'
import { data } from './answer.ts'
import { changed } from './confirmation.ts'
import type { ReloadAnswer } from './operations.ts'
import { destination, everyWorker, identifier } from './parameters.ts'
import { changeAnswers, objectOf, route } from './route.ts'
import type { Route } from './route.ts'

const account = { type: 'string' }
const lookup = {
  destination: { type: 'string' },
  routed_to_default: { type: 'boolean' },
  cached: { type: 'boolean' },
  source: { type: 'string', enum: ['cache', 'store', 'stale'] },
}
const writeRefusals = {
  409: { description: 'The source was changed by somebody else, or a live peer lacks the destination.' },
  501: { description: 'The source is read-only.' },
}
const mistakes = {
  type: 'array',
  items: objectOf({ line: { type: 'integer' }, message: { type: 'string' } }),
}

export const mappingRoutes: readonly Route[] = [
  route({
    method: 'GET',
    path: '/mappings',
    summary: 'Resolves an account without a session.',
    parameters: { identifier, workers: everyWorker },
    answers: {
      200: {
        description: 'Where a login of this account would go.',
        text: false,
        json: {
          type: 'object',
          properties: {
            identifier: account,
            normalized: account,
            ...lookup,
            workers: { type: 'array', items: objectOf({ worker: { type: 'integer' }, ...lookup }) },
          },
          required: ['identifier', 'normalized', ...Object.keys(lookup)],
        },
      },
      503: { description: 'The source cannot be asked and nothing is known of the account.' },
    },
    async handle(values, operations) {
      const { normalized } = values.identifier
      const { workers, ...answer } = await operations.lookup(normalized, values.workers)
      return data({ identifier: values.identifier.given, ...answer, normalized, ...(values.workers ? { workers } : {}) })
    },
  }),
  route({
    method: 'PUT',
    path: '/mappings',
    summary: 'Maps an account to a destination: committed in the source, then in force everywhere.',
    change: 'mapping_put',
    parameters: { identifier, destination },
    answers: {
      ...changeAnswers('In force in every worker of this instance.', { identifier: account, destination: { type: 'string' } }),
      ...writeRefusals,
    },
    async handle(values, operations) {
      const { normalized } = values.identifier
      const confirmation = await operations.put(normalized, values.destination)
      return changed('ok', confirmation, { identifier: normalized, destination: values.destination })
    },
  }),
  route({
    method: 'DELETE',
    path: '/mappings',
    summary: "Removes an account's mapping, so that it goes to the default destination.",
    change: 'mapping_delete',
    parameters: { identifier },
    answers: {
      ...changeAnswers('`removed`, or `absent` when there was none.', { identifier: account, removed: { type: 'boolean' } }),
      ...writeRefusals,
    },
    async handle(values, operations) {
      const { normalized } = values.identifier
      const { removed, confirmation } = await operations.delete(normalized)
      return changed(removed ? 'removed' : 'absent', confirmation, { identifier: normalized }, { removed })
    },
  }),
  route({
    method: 'POST',
    path: '/mappings/reload',
    summary: 'Re-reads the mapping file, checks it and swaps it in; nothing to do for other sources.',
    change: 'mapping_reload',
    parameters: {},
    answers: {
      ...changeAnswers('The counts of what differed.', {
        added: { type: 'integer' },
        changed: { type: 'integer' },
        removed: { type: 'integer' },
        warnings: { type: 'array', items: { type: 'string' } },
      }),
      422: {
        description: 'The file has mistakes; the mappings stay as they were.',
        json: objectOf({ error: { type: 'string' }, code: { type: 'string' }, mistakes }),
      },
    },
    handle: async (_, operations) => reloaded(await operations.reloadMappings()),
  }),
]

function reloaded(answer: ReloadAnswer): Answer {
  if (!answer.ok) {
    return {
      status: 422,
      text: [answer.message, ...answer.mistakes.map(({ line, message }) => `line ${line}: ${message}`)].join('\n'),
      json: { error: answer.message, code: 'SOURCE_INVALID', mistakes: answer.mistakes },
      audit: { outcome: 'SOURCE_INVALID', facts: { mistakes: answer.mistakes.length } },
    }
  }
  const { added, changed: other, removed, warnings, confirmation } = answer
  const result = changed('reloaded', confirmation, {}, { added, changed: other, removed })
  return { ...result, json: { ...result.json, warnings } }
}
