/**
 * One request under way, for the routes that need more of it than its parameters: a body read as it comes, whether the
 * client is still there, audit lines of their own. The body is bounded in time without progress and in size, never in
 * memory: nothing is read ahead of what the route has taken in.
 */
import type { IncomingMessage } from 'node:http'
import type { Clock } from '../clock.ts'
import { SignalboxError } from '../errors.ts'
import { ADMIN_BODY_SILENCE_MS, ADMIN_STREAM } from '../limits.ts'
import type { AuditEntry } from '../observe/audit.ts'
import type { Answer } from './answer.ts'

export interface Exchange {
  readonly clock: Clock
  /** As the client sent it. */
  readonly contentType: string | undefined
  readonly contentEncoding: string | undefined
  /** The operator's address. */
  readonly client: string
  /** Aborted when the connection is gone before the answer's end. */
  readonly gone: AbortSignal
  /**
   * The body of a route that says `streams`, piece by piece; empty for every other. May be read once. Throws
   * CLIENT_TIMEOUT (no byte for ADMIN_BODY_SILENCE_MS), CLIENT_BUFFER (more than `limit` bytes, announced or sent) or
   * CLIENT_CLOSED.
   * @param limit bytes, default ADMIN_STREAM
   */
  body(limit?: number): AsyncGenerator<Buffer, void, undefined>
  /** What is said of a failure while the answer is being streamed: the refusal, or a 500 that the log has more about. */
  failed(thrown: unknown): Answer
  /** A line in the audit log for a part of what is done: one account of many. Whole changes are written by the server. */
  audit(entry: Omit<AuditEntry, 'client' | 'change' | 'seconds'> & { readonly seconds?: number }): void
}

/** The body as it comes. See Exchange.body. */
export async function* readBody(request: IncomingMessage, clock: Clock, limit = ADMIN_STREAM): AsyncGenerator<Buffer, void, undefined> {
  const tooLarge = (): SignalboxError => new SignalboxError('CLIENT_BUFFER', `the body is larger than ${limit} bytes`)
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge()
  // Leaving early must not break the connection: there is an answer to send.
  const chunks: AsyncIterator<unknown> = request.iterator({ destroyOnReturn: false })
  let seen = 0
  while (true) {
    const chunk = await nextWithin(chunks, clock)
    if (chunk === undefined) return
    seen += chunk.length
    if (seen > limit) throw tooLarge()
    yield chunk
  }
}

/** The time runs only while we wait for the client: a slow disk of ours is not its fault. */
async function nextWithin(chunks: AsyncIterator<unknown>, clock: Clock): Promise<Buffer | undefined> {
  const silent = Promise.withResolvers<never>()
  const timer = clock.after(ADMIN_BODY_SILENCE_MS, () => {
    silent.reject(new SignalboxError('CLIENT_TIMEOUT', `nothing came of the body for ${ADMIN_BODY_SILENCE_MS / 1000} s`))
  })
  const next = chunks.next().catch((cause: unknown): never => {
    throw new SignalboxError('CLIENT_CLOSED', 'the client went away before the end of the body', { cause })
  })
  try {
    const { done, value } = await Promise.race([next, silent.promise])
    return done === true || !Buffer.isBuffer(value) ? undefined : value
  } finally {
    timer.cancel()
    // Whichever comes second is nobody's concern.
    next.catch(() => undefined)
    silent.promise.catch(() => undefined)
  }
}
