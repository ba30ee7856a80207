/**
 * How an Answer becomes bytes: JSON when the client names it or the route has nothing else, otherwise one line of text.
 * Nothing may be cached, and no browser may take text for something else.
 */
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Clock } from '../clock.ts'
import { ADMIN_BODY, ADMIN_LINGER_MS } from '../limits.ts'
import { failure, namesJson } from './answer.ts'
import type { Answer } from './answer.ts'

/** Sends the answer in the form that the request accepts. */
export function send(request: IncomingMessage, reply: FastifyReply, answer: Answer): FastifyReply {
  if (answer.stream !== undefined) return sendStream(request, reply, answer, answer.stream)
  const json = answer.alwaysJson === true || namesJson(request.headers.accept)
  reply
    .code(answer.status)
    .headers({ 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff', ...answer.headers })
    .type(json ? 'application/json; charset=utf-8' : 'text/plain; charset=utf-8')
  if (answer.alwaysJson !== true) reply.header('Vary', 'Accept')
  return reply.send(json ? answer.json : `${answer.text}\n`)
}

function sendStream(request: IncomingMessage, reply: FastifyReply, answer: Answer, stream: NonNullable<Answer['stream']>): FastifyReply {
  reply
    .code(answer.status)
    .headers({ 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff', ...answer.headers })
    .type(`${stream.type}; charset=utf-8`)
  if (request.method !== 'HEAD') return reply.send(Readable.from(stream.pieces))
  // Fastify would read all of it to throw it away.
  void stream.pieces[Symbol.asyncIterator]().return?.()
  return reply.send('')
}

/**
 * Sends an answer while the request's body is still coming in. The whole answer goes out first; then what comes is thrown
 * away for a while: a connection closed with bytes unread is reset, and the reset would take the answer with it.
 */
export function sendEarly(request: IncomingMessage, reply: FastifyReply, answer: Answer, clock: Clock): FastifyReply {
  const json = answer.alwaysJson === true || namesJson(request.headers.accept)
  const text = json ? JSON.stringify(answer.json) : `${answer.text}\n`
  reply.hijack()
  const { raw } = reply
  raw.writeHead(answer.status, {
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    ...answer.headers,
    'Content-Type': json ? 'application/json; charset=utf-8' : 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(text),
    Connection: 'close',
  })
  raw.write(text)
  const timer = clock.after(ADMIN_LINGER_MS, () => raw.end())
  const end = (): void => {
    timer.cancel()
    raw.end()
  }
  request.once('end', end).once('close', end).once('error', end).resume()
  return reply
}

/** The answer to a body that did not come in time; the connection can't be used again. */
export function tooSlow(): Answer {
  return closing(failure(408, 'CLIENT_TIMEOUT', 'the body did not come in time'))
}

/** The answer to a body that is not read on; the connection can't be used again. */
export function tooLarge(): Answer {
  return closing(failure(413, 'BODY_TOO_LARGE', `the body is larger than ${ADMIN_BODY} bytes`))
}

/** The same answer, after which the connection is closed. */
export function closing(answer: Answer): Answer {
  return { ...answer, headers: { ...answer.headers, Connection: 'close' } }
}
