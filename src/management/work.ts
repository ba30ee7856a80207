/**
 * One request carried out: its parameters read, the route's work done, whatever was thrown turned into an answer, and the
 * audit line of a change written. From here on nothing rejects.
 */
import type { FastifyRequest } from 'fastify'
import type { Clock } from '../clock.ts'
import type { Audit } from '../observe/audit.ts'
import { managementFailed } from '../observe/events.ts'
import type { Logger } from '../observe/log.ts'
import { SignalboxError } from '../errors.ts'
import { addressText } from '../listener/address.ts'
import { badParameter, shown } from './answer.ts'
import type { Answer } from './answer.ts'
import { readBody } from './exchange.ts'
import type { Exchange } from './exchange.ts'
import type { Operations } from './operations.ts'
import { internalError, refusal } from './refusal.ts'
import type { Route } from './route.ts'

export interface WorkOptions {
  readonly operations: Operations
  readonly clock: Clock
  readonly log: Logger
  readonly audit: Audit
}

/** A request, as the routes and the audit need it. */
export interface Asked {
  readonly request: FastifyRequest
  /** As it was sent; the server replaces the header before fastify reads it. */
  readonly contentType: string | undefined
  /** Aborted when the connection is gone before the answer's end. */
  readonly gone: AbortSignal
}

function exchangeOf(route: Route, { request, contentType, gone }: Asked, begun: number, options: WorkOptions): Exchange {
  const { raw } = request
  return {
    clock: options.clock,
    client: addressText(raw.socket.remoteAddress),
    contentType,
    contentEncoding: raw.headers['content-encoding'],
    gone,
    failed: (thrown) => refusalOf(route, thrown) ?? mistake(thrown, request, options),
    body: (limit) => (route.streams === true ? readBody(raw, options.clock, limit) : nothing()),
    audit(entry) {
      options.audit({
        seconds: Math.round(options.clock.now() - begun) / 1000,
        ...entry,
        change: route.change ?? 'none',
        client: addressText(raw.socket.remoteAddress),
      })
    },
  }
}

async function* nothing(): AsyncGenerator<Buffer, void, undefined> {}

/** An account that the source can't hold is a bad parameter, though only the source could tell. */
function refusalOf({ parameters }: Route, thrown: unknown): Answer | undefined {
  const bad = thrown instanceof SignalboxError && thrown.code === 'CLIENT_BAD_IDENTIFIER' && 'identifier' in parameters
  return bad ? badParameter('identifier', shown(thrown.message)) : refusal(thrown)
}

/** Reads the parameters, carries out, and writes the audit line of a change. Never rejects. */
export async function carryOut(route: Route, asked: Asked, options: WorkOptions): Promise<Answer> {
  const { request } = asked
  const begun = options.clock.now()
  let account: string | undefined
  let destination: string | undefined
  let answer: Answer
  try {
    const prepared = route.prepare(request.raw.url ?? '', options.operations)
    account = prepared.account
    destination = prepared.destination
    answer = await prepared.carryOut(exchangeOf(route, asked, begun, options))
  } catch (thrown) {
    answer = refusalOf(route, thrown) ?? mistake(thrown, request, options)
  }
  // What is still being done while its answer is sent is told of by the route, line by line.
  if (route.change !== undefined && answer.stream === undefined) {
    const { outcome, confirmation, facts } = answer.audit ?? { outcome: 'ok' }
    options.audit({
      change: route.change,
      ...(account === undefined ? {} : { account }),
      ...(destination === undefined ? {} : { destination }),
      client: addressText(request.raw.socket.remoteAddress),
      outcome,
      status: answer.status,
      seconds: Math.round(options.clock.now() - begun) / 1000,
      ...(confirmation === undefined ? {} : { confirmation }),
      ...(facts === undefined ? {} : { facts }),
    })
  }
  return answer
}

/** The answer to a mistake of ours, which is logged with the route's path but without the request's query. */
export function mistake(error: unknown, request: FastifyRequest, options: WorkOptions): Answer {
  const { id, answer } = internalError()
  managementFailed(options.log, {
    error_id: id,
    method: request.method,
    route: request.routeOptions.url ?? 'none',
    client: addressText(request.raw.socket.remoteAddress),
    error,
  })
  return answer
}
