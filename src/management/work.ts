/**
 * One request carried out: its parameters read, the route's work done, whatever was thrown turned into an answer, and the
 * audit line of a change written. From here on nothing rejects.
 */
import type { FastifyRequest } from 'fastify'
import type { Clock } from '../clock.ts'
import type { Audit } from '../observe/audit.ts'
import { managementFailed } from '../observe/events.ts'
import type { Logger } from '../observe/log.ts'
import { addressText } from '../listener/address.ts'
import type { Answer } from './answer.ts'
import type { Operations } from './operations.ts'
import { internalError, refusal } from './refusal.ts'
import type { Route } from './route.ts'

export interface WorkOptions {
  readonly operations: Operations
  readonly clock: Clock
  readonly log: Logger
  readonly audit: Audit
}

/** Reads the parameters, carries out, and writes the audit line of a change. Never rejects. */
export async function carryOut(route: Route, request: FastifyRequest, options: WorkOptions): Promise<Answer> {
  const begun = options.clock.now()
  let account: string | undefined
  let destination: string | undefined
  let answer: Answer
  try {
    const prepared = route.prepare(request.raw.url ?? '', options.operations)
    account = prepared.account
    destination = prepared.destination
    answer = await prepared.carryOut()
  } catch (thrown) {
    answer = refusal(thrown) ?? mistake(thrown, request, options)
  }
  if (route.change !== undefined) {
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
