/**
 * The cutover of accounts: one, with everything that came of each step; or as many as a body lists, told line by line while
 * they are moved. A list that is broken off and sent again goes on where it was: accounts that were moved answer
 * `unchanged`.
 */
import { CUTOVER_FAILURES, CUTOVER_HOLD_SECONDS, CUTOVERS_AT_ONCE, DELAY_SECONDS } from '../limits.ts'
import { printable, redactUrls } from '../observe/redaction.ts'
import { badParameter, failure, shown, streamed } from './answer.ts'
import type { Answer } from './answer.ts'
import { unconfirmed, unconfirmedHeader } from './confirmation.ts'
import type { Exchange } from './exchange.ts'
import { readIdentifiers } from './identifier-list.ts'
import { workOff } from './many.ts'
import type { CutoverAnswer, CutoverRequest, Operations } from './operations.ts'
import { destination, identifier, optional, wholeNumber } from './parameters.ts'
import { CONFIRMATION, route } from './route.ts'
import type { Route, Schema } from './route.ts'

const text: Schema = { type: 'string' }
const count: Schema = { type: 'integer' }
const number: Schema = { type: 'number' }
const step: Schema = {
  type: 'object',
  required: ['step', 'outcome', 'ms'],
  properties: { step: text, outcome: { type: 'string', enum: ['ok', 'failed', 'unconfirmed'] }, ms: number, reason: text },
}
const facts = { from: { type: ['string', 'null'] }, sessions_ended: count, ms: number }
const whole = { identifier: text, destination: text, ...facts, steps: { type: 'array', items: step }, ...CONFIRMATION }
const putBack = { type: 'string', enum: ['done', 'not needed', 'left', 'failed'] }
const refused = { error: text, code: text }
const line: Schema = {
  type: 'object',
  properties: {
    identifier: text,
    status: count,
    result: text,
    ...facts,
    ...refused,
    warning: text,
    by: text,
    since: text,
    step: text,
    cause: text,
    put_back: putBack,
    done: { type: 'boolean' },
    accounts: count,
    moved: count,
    unchanged: count,
    failed: count,
    seconds: number,
  },
}

const failed: Schema = {
  type: 'object',
  required: [...Object.keys(refused), 'step', 'cause', 'put_back', ...Object.keys(whole)],
  properties: { ...refused, step: text, cause: text, put_back: putBack, ...whole, warning: text },
}

export const cutoverRoutes: readonly Route[] = [
  route({
    method: 'POST',
    path: '/accounts/cutover',
    summary: 'Moves an account as one act: hold, write, invalidate, kick, release; or every account of a list.',
    change: 'account_cutover',
    streams: true,
    parameters: {
      identifier: optional(identifier),
      destination,
      hold: optional(wholeNumber(1, DELAY_SECONDS, `Seconds that logins are held at most; ${CUTOVER_HOLD_SECONDS} unless it is given.`)),
    },
    answers: {
      200: {
        description: '`moved` or `unchanged`, in force everywhere. For a list: begun, and what came of each account a line.',
        json: { type: 'object', required: ['result', ...Object.keys(whole)], properties: { result: text, ...whole, warning: text } },
        lines: { type: 'application/x-ndjson', json: line },
      },
      409: {
        description: 'Somebody else is moving the account, or a live peer lacks the destination.',
        json: { type: 'object', required: Object.keys(refused), properties: { ...refused, by: text, since: text } },
      },
      415: { description: 'The body is compressed.' },
      501: { description: 'The source is read-only.' },
      502: {
        description: 'A step failed; the mapping was put back unless `put_back` says otherwise.',
        json: failed,
      },
      503: { description: 'The mapping source could not be asked, or a list while the instance is shutting down; nothing has changed.' },
    },
    async handle(values, operations, exchange) {
      const order = { destination: values.destination, hold: values.hold ?? CUTOVER_HOLD_SECONDS, client: exchange.client }
      const { contentEncoding = 'identity' } = exchange
      if (contentEncoding.toLowerCase() !== 'identity') return failure(415, 'UNSUPPORTED', 'the body must not be compressed')
      const listed = readIdentifiers(exchange.body())
      const first = await listed.next()
      if (values.identifier === undefined) {
        if (first.done === true) return badParameter('identifier', 'is missing, and the body lists none')
        if (operations.draining.aborted) return failure(503, DRAINING.code, DRAINING.error)
        return many(first.value, listed, order, operations, exchange)
      }
      if (first.done !== true) return badParameter('identifier', 'is given, and the body lists accounts: only one of both')
      const { normalized } = values.identifier
      return answerOf(normalized, values.destination, await operations.cutover({ ...order, identifier: normalized }))
    },
  }),
]

function answerOf(account: string, to: string, answer: CutoverAnswer): Answer {
  if (answer.result === 'busy') {
    const { who, since } = answer.holder
    const by = { by: printable(who), since: new Date(since).toISOString() }
    const busy = failure(409, 'CUTOVER_UNDER_WAY', `the account is being moved by ${by.by}, since ${by.since}`)
    return { ...busy, json: { ...busy.json, ...by } }
  }
  const { from, sessionsEnded, steps, ms, confirmation, warning } = answer
  const known = {
    identifier: account,
    destination: to,
    from,
    sessions_ended: sessionsEnded,
    ms,
    steps: steps.map(({ reason, ...one }) => ({ ...one, ...(reason === undefined ? {} : { reason: fit(reason) }) })),
    workers: confirmation.workers,
    workers_expected: confirmation.workersExpected,
    peers: confirmation.peers,
    unconfirmed: unconfirmed(confirmation),
    bus: confirmation.bus,
    ...(warning === undefined ? {} : { warning }),
  }
  const headers = unconfirmedHeader(confirmation)
  const audited = { confirmation, facts: { sessions_ended: sessionsEnded, ...(from === null ? {} : { from }) } }
  if (answer.result !== 'failed') {
    const { result } = answer
    return {
      status: 200,
      text: `${result}, ${sessionsEnded} sessions ended${warning === undefined ? '' : `; ${warning}`}`,
      json: { result, ...known },
      ...headers,
      audit: { outcome: 'ok', ...audited, facts: { result, ...audited.facts } },
    }
  }
  const { step: failed, error, putBack: back } = answer
  const refusal = failure(502, 'CUTOVER_FAILED', `${failed}: ${fit(error.message)}; ${BACK[back]}`)
  return {
    ...refusal,
    json: { ...refusal.json, step: failed, cause: error.code, put_back: back, ...known },
    ...headers,
    audit: { outcome: 'CUTOVER_FAILED', ...audited, facts: { step: failed, cause: error.code, put_back: back, ...audited.facts } },
  }
}

const BACK = {
  done: 'the mapping was put back',
  'not needed': 'the mapping is as it was',
  left: 'somebody else has changed the mapping meanwhile, it was left',
  failed: 'the mapping could not be put back',
} as const

function fit(message: string): string {
  return printable(redactUrls(message)).slice(0, 500)
}

/** Codes that the next account would get as well. */
const FOR_ALL: ReadonlySet<unknown> = new Set(['SOURCE_READ_ONLY', 'BUS_PEER_LACKS'])

const DRAINING = { error: 'the instance is shutting down', code: 'DRAINING' } as const

function many(first: string, rest: AsyncIterator<string>, order: Omit<CutoverRequest, 'identifier'>, operations: Operations, exchange: Exchange): Promise<Answer> {
  return streamed('application/x-ndjson', lines(first, rest, order, operations, exchange))
}

/** A line for each account, then one with the counts; it says `done` when the list came to its end. */
async function* lines(
  first: string,
  rest: AsyncIterator<string>,
  order: Omit<CutoverRequest, 'identifier'>,
  operations: Operations,
  exchange: Exchange,
): AsyncGenerator<string, void, undefined> {
  const began = exchange.clock.now()
  const counts = { accounts: 0, moved: 0, unchanged: 0, failed: 0 }
  let failuresInARow = 0
  let stopped: { readonly error: string; readonly code: string } | undefined
  const tell = (answer: Answer, account: string): string => {
    counts.accounts++
    const { json } = answer
    if (json['result'] === 'moved') counts.moved++
    else if (json['result'] === 'unchanged') counts.unchanged++
    else counts.failed++
    failuresInARow = answer.status >= 500 ? failuresInARow + 1 : 0
    if (FOR_ALL.has(json['code'])) stopped = { error: String(json['error']), code: String(json['code']) }
    else if (failuresInARow >= CUTOVER_FAILURES) stopped ??= { error: `${failuresInARow} accounts in a row failed`, code: 'CUTOVER_FAILED' }
    return `${JSON.stringify({ identifier: account, status: answer.status, ...short(json) })}\n`
  }
  const work = mover(order, operations, exchange)
  const stop = AbortSignal.any([exchange.gone, operations.draining])
  const enough = (): boolean => stop.aborted || stopped !== undefined
  const list = { ended: false }
  try {
    for await (const done of workOff({ items: startingWith(first, rest, list), work, most: CUTOVERS_AT_ONCE, enough, stop })) {
      yield done.map(({ answer, account }) => tell(answer, account)).join('')
    }
    if (!list.ended && operations.draining.aborted) stopped ??= DRAINING
  } catch (thrown) {
    const { json } = exchange.failed(thrown)
    stopped = { error: String(json['error']), code: String(json['code']) }
  }
  const seconds = Math.round(exchange.clock.now() - began) / 1000
  yield `${JSON.stringify({ done: stopped === undefined && !exchange.gone.aborted, ...counts, seconds, ...stopped })}\n`
}

/** What stands in a line: the steps only where one failed. */
function short(json: Answer['json']): object {
  const { result, from, sessions_ended, ms, error, code, warning, by, since, step: failed, cause, put_back } = json
  return { result, from, sessions_ended, ms, error, code, warning, by, since, step: failed, cause, put_back }
}

/** Moves one account of a list, and writes its audit line. Never rejects. An account that stands in the list twice is moved one time after the other. */
function mover(order: Omit<CutoverRequest, 'identifier'>, operations: Operations, exchange: Exchange) {
  const underWay = new Map<string, Promise<unknown>>()
  const move = async (account: string): Promise<Answer> => {
    try {
      return answerOf(account, order.destination, await operations.cutover({ ...order, identifier: account }))
    } catch (thrown) {
      return exchange.failed(thrown)
    }
  }
  return async (given: string): Promise<{ readonly answer: Answer; readonly account: string }> => {
    const reading = identifier.read(given, operations)
    if (!reading.ok) return { answer: badParameter('identifier', reading.mistake), account: shown(given) }
    const account = reading.value.normalized
    const began = exchange.clock.now()
    const before = underWay.get(account)
    const moving = before === undefined ? move(account) : before.then(() => move(account))
    underWay.set(account, moving)
    const answer = await moving
    if (underWay.get(account) === moving) underWay.delete(account)
    const seconds = Math.round(exchange.clock.now() - began) / 1000
    exchange.audit({ account, destination: order.destination, status: answer.status, seconds, ...(answer.audit ?? { outcome: 'ok' }) })
    return { answer, account }
  }
}

async function* startingWith<T>(first: T, rest: AsyncIterator<T>, list: { ended: boolean }): AsyncGenerator<T, void, undefined> {
  yield first
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value
  list.ended = true
}
