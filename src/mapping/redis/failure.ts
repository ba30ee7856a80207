/**
 * What a failure of Redis means to a mapping source. Errors of the client library carry the command with its arguments
 * (passwords and accounts among them), so none is passed on: a new error holds the server's words and nothing else.
 * The first word of an error reply is its code (RESP, "Simple errors"); that, not the prose, decides.
 */
import { ReplyError } from 'ioredis'
import { SignalboxError, type ErrorCode } from '../../errors.ts'

/** Codes of error replies that say more than "not now". */
const MEANINGS: Readonly<Record<string, ErrorCode>> = {
  WRONGTYPE: 'SOURCE_INVALID',
  READONLY: 'SOURCE_WRITE',
  NOREPLICAS: 'SOURCE_WRITE',
  MISCONF: 'SOURCE_WRITE',
  OOM: 'SOURCE_WRITE',
}

/** Whether the server itself answered with an error, as opposed to the connection failing. */
export function isReplyError(thrown: unknown): thrown is Error {
  return thrown instanceof ReplyError
}

/** The code of an error reply: NOPERM, WRONGTYPE, ERR …; empty for anything else. */
export function replyCode(thrown: unknown): string {
  return isReplyError(thrown) ? (/^[A-Z]+/.exec(thrown.message)?.[0] ?? '') : ''
}

/** The words of any failure, without what may be secret in them. */
export function plainWords(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  // Node collects the errors of several addresses without a message of its own.
  if (thrown instanceof AggregateError && message === '') return thrown.errors.map(plainWords).join('; ')
  return message.replace(/,? with args beginning with:.*$/s, '').slice(0, 300)
}

/** SOURCE_UNAVAILABLE unless the reply says more. `doing` completes "Redis: … ". Keeps a SignalboxError as it is. */
export function redisFailure(thrown: unknown, doing: string): SignalboxError {
  if (thrown instanceof SignalboxError) return thrown
  const code = MEANINGS[replyCode(thrown)] ?? 'SOURCE_UNAVAILABLE'
  return new SignalboxError(code, `Redis: ${doing}: ${plainWords(thrown)}`)
}
