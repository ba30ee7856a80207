/**
 * What the proxy itself says to an HTTP client: short texts, one per status, from the code of what went wrong. Nothing of
 * a request is repeated in them.
 */
import { STATUS_CODES } from 'node:http'
import type { SignalboxError } from '../../errors.ts'

export type AnswerStatus = 400 | 404 | 405 | 408 | 413 | 431 | 500 | 502 | 503 | 504

export interface Answer {
  readonly status: AnswerStatus
  readonly fields: readonly string[]
  readonly body: Buffer
}

/** Seconds after which a client may come again. */
const RETRY_AFTER = '5'

export function answer(status: AnswerStatus): Answer {
  const body = Buffer.from(`${status} ${STATUS_CODES[status]}\n`)
  const fields = ['Content-Type', 'text/plain; charset=utf-8', 'Content-Length', String(body.length), 'Cache-Control', 'no-store']
  if (status === 503) fields.push('Retry-After', RETRY_AFTER)
  if (status === 405) fields.push('Allow', 'GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, PROPFIND, PROPPATCH, MKCOL, COPY, MOVE, LOCK, UNLOCK, REPORT')
  return { status, fields, body }
}

/** The same as bytes, for a connection whose parser gave up; it is closed behind them. */
export function lastAnswer(status: AnswerStatus): Buffer {
  const { fields, body } = answer(status)
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`]
  for (let at = 0; at + 1 < fields.length; at += 2) lines.push(`${fields[at]}: ${fields[at + 1]}`)
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\nConnection: close\r\n\r\n`), body])
}

/** What a client is told of a request that could not be carried out. */
export function statusOf({ code, side }: SignalboxError): AnswerStatus {
  switch (code) {
    case 'BACKEND_TIMEOUT':
    case 'BACKEND_REPLAY_TIMEOUT':
      return 504
    case 'BACKEND_DOWN':
    case 'BACKEND_FULL':
    case 'ACCOUNT_FULL':
    case 'ROUTE_UNAVAILABLE':
    case 'ROUTE_VOID':
    case 'KICKED':
    case 'DRAINING':
    case 'ACTOR_DEADLINE':
    case 'ACTOR_MAILBOX_FULL':
      return 503
    case 'CLIENT_TIMEOUT':
      return 408
    case 'CLIENT_BUFFER':
      return 413
    default:
      if (side === 'backend') return 502
      if (side === 'source' || side === 'bus') return 503
      return side === 'client' ? 400 : 500
  }
}
