/** The configuration, read again. */
import { printable } from '../observe/redaction.ts'
import type { Answer } from './answer.ts'
import type { ConfigReloadAnswer } from './operations.ts'
import { objectOf, route } from './route.ts'
import type { Route } from './route.ts'

const texts = { type: 'array', items: { type: 'string' } }
const inForce = {
  note: { type: 'string' },
  changed: texts,
  restart: texts,
  warnings: texts,
  rolling: { type: 'boolean' },
  workers: { type: 'integer' },
  workers_expected: { type: 'integer' },
}

export const configRoutes: readonly Route[] = [
  route({
    method: 'POST',
    path: '/config/reload',
    summary: 'Reads the configuration again, checks it as the start does, and puts it in force as a whole, or not at all.',
    change: 'config_reload',
    parameters: {},
    answers: {
      200: {
        description: 'In force in every worker; `restart` names the keys that differ and were left as they were.',
        text: false,
        json: objectOf({ reloaded: { type: 'boolean' }, ...inForce }),
      },
      400: {
        description: 'The configuration has mistakes, or an address cannot be listened on; nothing has changed.',
        json: objectOf({ error: { type: 'string' }, code: { type: 'string' }, mistakes: texts }),
      },
      503: { description: 'The instance is starting or shutting down.' },
      504: {
        description: 'In force in the primary, but not every worker has confirmed.',
        json: objectOf({ error: { type: 'string' }, code: { type: 'string' }, ...inForce }),
      },
    },
    handle: async (_, operations) => answerOf(await operations.reloadConfig()),
  }),
]

function answerOf(answer: ConfigReloadAnswer): Answer {
  if (!answer.ok) {
    const { length } = answer.mistakes
    // They quote the file, which may hold anything.
    const mistakes = answer.mistakes.map(printable)
    const error = `${length} ${length === 1 ? 'mistake' : 'mistakes'}, nothing has changed`
    return {
      status: 400,
      text: [error, ...mistakes].join('\n'),
      json: { error, code: 'CONFIG_INVALID', mistakes },
      audit: { outcome: 'CONFIG_INVALID', facts: { mistakes: length } },
    }
  }
  const { note, changed, restart, warnings, rolling, confirmation } = answer
  const { workers, workersExpected } = confirmation
  const facts = { note, changed, restart, warnings, rolling, workers, workers_expected: workersExpected }
  const confirmed = workers >= workersExpected
  const sentence = 'committed, not confirmed'
  return {
    status: confirmed ? 200 : 504,
    text: confirmed ? 'reloaded' : sentence,
    json: confirmed ? { reloaded: true, ...facts } : { error: sentence, code: 'NOT_CONFIRMED', ...facts },
    alwaysJson: true,
    audit: {
      outcome: confirmed ? 'ok' : 'NOT_CONFIRMED',
      confirmation,
      facts: { changed: changed.length, restart: restart.join(' '), rolling },
    },
  }
}
