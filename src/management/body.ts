/**
 * Bodies that nobody asked for. The requests of this API carry their parameters in the query; whatever a client sends as
 * a body is read to its end, so that the connection can be used again, and thrown away piece by piece: nothing is kept. A
 * body beyond ADMIN_BODY is not read on.
 */
import type { IncomingMessage } from 'node:http'
import { ADMIN_BODY } from '../limits.ts'

/** `complete`: read to its end. `too-large`: announced or sent too much. `aborted`: the client went away before the end. */
export type BodyEnd = 'complete' | 'too-large' | 'aborted'

/** Reads and discards. Resolves exactly once, also when the connection breaks; never rejects. */
export function discardBody(request: IncomingMessage, limit = ADMIN_BODY): Promise<BodyEnd> {
  if (Number(request.headers['content-length'] ?? 0) > limit) return Promise.resolve('too-large')
  return new Promise((resolve) => {
    let seen = 0
    request.on('data', (chunk: Buffer) => {
      seen += chunk.length
      if (seen <= limit) return
      request.pause()
      resolve('too-large')
    })
    request.once('end', () => resolve('complete'))
    request.once('close', () => resolve('aborted'))
    // An error is followed by close; without a listener it would end the process.
    request.once('error', () => resolve('aborted'))
  })
}
