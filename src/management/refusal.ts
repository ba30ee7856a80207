/**
 * From a SignalboxError to an answer. The table is closed: a code that isn't in it is a mistake of ours and becomes a 500
 * whose sentence says nothing but an id to look for in the log. What our own errors say is shown, with URLs' passwords
 * taken out, because only authenticated operators get this far and "503" alone helps nobody.
 */
import { randomUUID } from 'node:crypto'
import { SignalboxError } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import { printable, redactUrls } from '../observe/redaction.ts'
import { failure } from './answer.ts'
import type { Answer } from './answer.ts'

/** code → status. Where a change may have been committed nevertheless, the words of the error say so. */
const STATUS: Partial<Record<ErrorCode, number>> = {
  CLIENT_BAD_IDENTIFIER: 400,
  CLIENT_CLOSED: 400,
  CLIENT_PROTOCOL: 400,
  CLIENT_TIMEOUT: 408,
  CLIENT_BUFFER: 413,
  CONFIG_INVALID: 400,
  SOURCE_CONFLICT: 409,
  SOURCE_INVALID: 422,
  SOURCE_READ_ONLY: 501,
  SOURCE_UNAVAILABLE: 503,
  SOURCE_TIMEOUT: 503,
  SOURCE_WRITE: 503,
  SOURCE_NOT_REPLICATED: 503,
  ROUTE_UNAVAILABLE: 503,
  ROUTE_VOID: 503,
  BUS_DOWN: 503,
  BUS_PEER_LACKS: 409,
  ACTOR_MAILBOX_FULL: 503,
  ACTOR_DEADLINE: 503,
  ACTOR_GONE: 503,
  DRAINING: 503,
}

/** The answer to an expected failure; undefined for everything that isn't one. */
export function refusal(thrown: unknown): Answer | undefined {
  if (!(thrown instanceof SignalboxError)) return undefined
  const status = STATUS[thrown.code]
  if (status === undefined) return undefined
  return failure(status, thrown.code, printable(redactUrls(thrown.message)).slice(0, 500) || thrown.code)
}

/** The answer to a mistake of ours, and the id that its log line carries. */
export function internalError(): { readonly id: string; readonly answer: Answer } {
  const id = randomUUID().slice(0, 8)
  const sentence = `internal error, see the log for ${id}`
  return {
    id,
    answer: { ...failure(500, 'INTERNAL', sentence), json: { error: sentence, code: 'INTERNAL', id } },
  }
}
