/**
 * The mappings as a whole: pages, counts, export and import. An import has its own status while it is read and checked;
 * from then on it is 200 and the rest is told line by line, the last of which says what came of it.
 */
import type { Clock } from '../clock.ts'
import { SignalboxError } from '../errors.ts'
import { ADMIN_PROGRESS_MS, MAPPING_BATCH } from '../limits.ts'
import { mistakesOf } from '../mapping/mistakes.ts'
import type { Mapping } from '../mapping/source.ts'
import { formatMappings } from '../mapping/tsv.ts'
import type { TsvCount } from '../mapping/tsv.ts'
import { data, failure, streamed } from './answer.ts'
import type { Answer } from './answer.ts'
import type { BulkImportOptions, BulkImportResult } from './bulk-operations.ts'
import { changed } from './confirmation.ts'
import type { Exchange } from './exchange.ts'
import type { Operations } from './operations.ts'
import { choice, destinationName, identifier, optional, text, wholeNumber } from './parameters.ts'
import { refusal } from './refusal.ts'
import { CONFIRMATION, objectOf, route } from './route.ts'
import type { Route } from './route.ts'

const PAGE = 100
const mapping = objectOf({ identifier: { type: 'string' }, destination: { type: 'string' } })
const unlistable = { 501: { description: 'The source can look mappings up but not list them (SQL without `list_query`).' } }
const unavailable = { 503: { description: 'The mapping source could not be asked.' } }
const prefix = {
  ...optional(identifier),
  description: 'Only identifiers that begin so; normalised as they are.',
}
const only = { ...optional(destinationName), description: 'Only accounts mapped to this destination, declared or not.' }
const mistakes = { type: 'array', items: objectOf({ line: { type: 'integer' }, message: { type: 'string' } }) }

export const bulkRoutes: readonly Route[] = [
  route({
    method: 'GET',
    path: '/mappings/list',
    summary: 'A page of mappings, ordered by identifier.',
    parameters: {
      destination: only,
      prefix,
      cursor: { ...optional(text), description: 'Begins behind this identifier: the `cursor` of the page before.' },
      limit: optional(wholeNumber(1, MAPPING_BATCH, `Mappings at most; ${PAGE} unless it is given.`)),
    },
    answers: {
      200: {
        description: 'The page; `cursor` is null on the last one.',
        text: false,
        json: objectOf({ mappings: { type: 'array', items: mapping }, cursor: { type: ['string', 'null'] } }),
      },
      ...unlistable,
      ...unavailable,
    },
    async handle({ destination, prefix: begin, cursor, limit = PAGE }, { bulk }) {
      const found: Mapping[] = []
      // One more than asked for tells whether there is another page.
      for await (const one of bulk.list({ ...filterOf(begin, destination), ...(cursor === undefined ? {} : { after: cursor }), limit: limit + 1 })) {
        found.push(one)
      }
      const page = found.slice(0, limit)
      return data({ mappings: page, cursor: found.length > limit ? (page.at(-1)?.identifier ?? null) : null })
    },
  }),
  route({
    method: 'GET',
    path: '/mappings/summary',
    summary: 'How many accounts are mapped to each destination.',
    parameters: {},
    answers: {
      200: {
        description: 'Every declared destination, and whatever else stands in the source.',
        text: false,
        json: objectOf({
          source: { type: 'string', enum: ['file', 'redis', 'sql'] },
          accounts: { type: 'integer' },
          destinations: {
            type: 'array',
            items: objectOf({ destination: { type: 'string' }, accounts: { type: 'integer' }, declared: { type: 'boolean' } }),
          },
        }),
      },
      ...unlistable,
      ...unavailable,
    },
    handle: async (_, operations) => data(await summarised(operations)),
  }),
  route({
    method: 'GET',
    path: '/mappings/export',
    summary: 'All mappings in the format of a mapping file.',
    parameters: { destination: only, prefix },
    answers: {
      200: { description: 'A mapping a line: identifier, tab, destination.', stream: 'text/tab-separated-values' },
      ...unlistable,
      ...unavailable,
    },
    handle: ({ destination, prefix: begin }, { bulk }) => {
      return streamed('text/tab-separated-values', formatMappings(bulk.list(filterOf(begin, destination))))
    },
  }),
  route({
    method: 'POST',
    path: '/mappings/import',
    summary: 'Takes in mappings in the format of a mapping file: all of them, or none.',
    change: 'mapping_import',
    streams: true,
    parameters: {
      mode: optional(choice(['merge', 'replace'], '`merge` (unless it is given) leaves what the import lacks, `replace` removes it.')),
      dry_run: optional(choice(['true', 'false'], '`true`: everything but the change.')),
    },
    answers: {
      200: {
        description: 'Everything has come and is in order; lines of progress, then one with the outcome.',
        stream: 'application/x-ndjson',
        json: {
          type: 'object',
          properties: {
            phase: { type: 'string', enum: ['checked', 'writing'] },
            lines: { type: 'integer' },
            mappings: { type: 'integer' },
            bytes: { type: 'integer' },
            further_fields: { type: 'integer' },
            done: { type: 'integer' },
            result: { type: 'string' },
            error: { type: 'string' },
            code: { type: 'string' },
            mode: { type: 'string', enum: ['merge', 'replace'] },
            dry_run: { type: 'boolean' },
            added: { type: 'integer' },
            changed: { type: 'integer' },
            removed: { type: 'integer' },
            unchanged: { type: 'integer' },
            ...CONFIRMATION,
          },
        },
      },
      409: { description: 'Another import is under way, or a live peer lacks a destination.' },
      415: { description: 'The body is compressed.' },
      422: {
        description: 'Lines with mistakes; nothing has changed.',
        json: objectOf({ error: { type: 'string' }, code: { type: 'string' }, mistakes, more: { type: 'integer' } }),
      },
      501: { description: 'The source is read-only, or `replace` needs a list that it cannot give.' },
      503: { description: 'The mapping source could not be asked, or the instance is shutting down.' },
      507: { description: 'No room on the disk for what came; nothing has changed.' },
    },
    handle: ({ mode = 'merge', dry_run }, operations, exchange) => imported(operations, exchange, { mode, dryRun: dry_run === 'true' }),
  }),
]

function filterOf(prefix: { readonly normalized: string } | undefined, destination: string | undefined): { prefix?: string; destination?: string } {
  return { ...(prefix === undefined ? {} : { prefix: prefix.normalized }), ...(destination === undefined ? {} : { destination }) }
}

async function summarised(operations: Operations): Promise<object> {
  const counts = await operations.bulk.summary()
  const declared = operations.destinationNames()
  const others = [...counts.keys()].filter((name) => !declared.includes(name))
  const destinations = [...declared, ...others].map((destination) => ({
    destination,
    accounts: counts.get(destination) ?? 0,
    declared: declared.includes(destination),
  }))
  return { source: operations.bulk.source, accounts: destinations.reduce((sum, { accounts }) => sum + accounts, 0), destinations }
}

type Manner = Pick<BulkImportOptions, 'mode' | 'dryRun'>

/** Resolves when it is clear that the import is in order; what follows is told by the stream. */
async function imported({ bulk, draining }: Operations, exchange: Exchange, manner: Manner): Promise<Answer> {
  const { contentEncoding = 'identity' } = exchange
  if (contentEncoding.toLowerCase() !== 'identity') return failure(415, 'UNSUPPORTED', 'the body must not be compressed')
  const checked = Promise.withResolvers<TsvCount>()
  const told = { done: 0 }
  const importing = bulk.import(unlessAborted(exchange.body(), draining), {
    ...manner,
    checked: checked.resolve,
    progress: (done) => (told.done = done),
  })
  let count: TsvCount
  try {
    count = await Promise.race([checked.promise, importing.then(neverFirst)])
  } catch (thrown) {
    return refusedImport(thrown)
  }
  // From here on it runs to its end whether anybody listens or not, and the audit has it either way.
  const outcome = importing.then(
    (result) => doneAnswer(result, manner),
    (thrown: unknown) => exchange.failed(thrown),
  )
  void outcome.then(({ status, audit }) => exchange.audit({ status, outcome: audit?.outcome ?? 'ok', ...audit }))
  return streamed('application/x-ndjson', lines(count, told, outcome, exchange.clock))
}

/** What comes, until the instance begins to shut down: then it throws DRAINING, whether anything comes or not. */
async function* unlessAborted<T>(pieces: AsyncIterator<T>, signal: AbortSignal): AsyncGenerator<T, void, undefined> {
  const stopped = Promise.withResolvers<never>()
  const stop = (): void => stopped.reject(new SignalboxError('DRAINING', 'the instance is shutting down, nothing has changed'))
  stopped.promise.catch(() => undefined)
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  try {
    for (;;) {
      const next = await Promise.race([stopped.promise, pieces.next()])
      if (next.done === true) return
      yield next.value
    }
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

function neverFirst(): never {
  throw new SignalboxError('INTERNAL', 'an import was done before it was checked')
}

/** What is wrong with it, with the lines where lines are to blame. */
function refusedImport(thrown: unknown): Answer {
  const found = mistakesOf(thrown)
  if (found !== undefined && thrown instanceof SignalboxError) {
    const { mistakes: named, more } = found
    const error = `${named.length + more} ${named.length + more === 1 ? 'line is' : 'lines are'} wrong, nothing has changed`
    const tail = more === 0 ? [] : [`and ${more} more`]
    return {
      status: 422,
      text: [error, ...named.map(({ line, message }) => `line ${line}: ${message}`), ...tail].join('\n'),
      json: { error, code: thrown.code, mistakes: named, more },
      audit: { outcome: thrown.code, facts: { mistakes: named.length + more } },
    }
  }
  const answer = thrown instanceof SignalboxError && thrown.code === 'SOURCE_INVALID' ? refusal(thrown) : undefined
  // No line is to blame.
  if (answer !== undefined) return { ...answer, json: { ...answer.json, mistakes: [], more: 0 } }
  if (thrown instanceof SignalboxError && thrown.code === 'SOURCE_WRITE' && isDiskFull(thrown)) {
    return failure(507, 'NO_ROOM', 'no room on the disk for the import, nothing has changed')
  }
  throw thrown
}

function isDiskFull(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if ('code' in at && (at.code === 'ENOSPC' || at.code === 'EDQUOT')) return true
  }
  return false
}

function doneAnswer({ confirmation, ...counts }: BulkImportResult, { mode, dryRun }: Manner): Answer {
  const facts = { mode, dry_run: dryRun, ...counts }
  if (confirmation !== undefined) return changed('imported', confirmation, {}, facts)
  return { status: 200, text: 'ok', json: { result: 'would be imported', ...facts }, audit: { outcome: 'ok', facts } }
}

/** Progress now and then, so that nobody on the way takes the connection for dead; the outcome at the end. */
async function* lines(count: TsvCount, told: { readonly done: number }, outcome: Promise<Answer>, clock: Clock): AsyncGenerator<string> {
  const { furtherFields, ...rest } = count
  yield `${JSON.stringify({ phase: 'checked', ...rest, further_fields: furtherFields })}\n`
  while (true) {
    const pause = Promise.withResolvers<undefined>()
    const timer = clock.after(ADMIN_PROGRESS_MS, () => pause.resolve(undefined))
    const answer = await Promise.race([outcome, pause.promise])
    timer.cancel()
    if (answer !== undefined) {
      yield `${JSON.stringify(answer.json)}\n`
      return
    }
    yield `${JSON.stringify({ phase: 'writing', done: told.done, mappings: count.mappings })}\n`
  }
}
