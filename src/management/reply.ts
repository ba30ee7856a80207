/**
 * How an Answer becomes bytes: JSON when the client names it or the route has nothing else, otherwise one line of text.
 * Nothing may be cached, and no browser may take text for something else.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyReply } from 'fastify'
import { ADMIN_BODY } from '../limits.ts'
import { failure, namesJson } from './answer.ts'
import type { Answer } from './answer.ts'

/** Sends the answer in the form that the request accepts. */
export function send(request: IncomingMessage, reply: FastifyReply, answer: Answer): FastifyReply {
  const json = answer.alwaysJson === true || namesJson(request.headers.accept)
  reply
    .code(answer.status)
    .headers({ 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff', ...answer.headers })
    .type(json ? 'application/json; charset=utf-8' : 'text/plain; charset=utf-8')
  if (answer.alwaysJson !== true) reply.header('Vary', 'Accept')
  return reply.send(json ? answer.json : `${answer.text}\n`)
}

/** The answer to a body that is not read on; the connection can't be used again. */
export function tooLarge(): Answer {
  return closing(failure(413, 'BODY_TOO_LARGE', `the body is larger than ${ADMIN_BODY} bytes`))
}

/** The same answer, after which the connection is closed. */
export function closing(answer: Answer): Answer {
  return { ...answer, headers: { ...answer.headers, Connection: 'close' } }
}
