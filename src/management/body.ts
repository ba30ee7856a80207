/**
 * Bodies that nobody asked for. The requests of this API carry their parameters in the query; whatever a client sends as
 * a body is read to its end, so that the connection can be used again, and thrown away piece by piece: nothing is kept. A
 * body beyond ADMIN_BODY, or one that isn't whole ADMIN_REQUEST_MS after its head, is not read on. Routes that want theirs
 * have exchange.ts.
 */
import type { IncomingMessage } from 'node:http'
import type { Clock } from '../clock.ts'
import { ADMIN_BODY, ADMIN_REQUEST_MS } from '../limits.ts'

/** `complete`: read to its end. `too-large`: announced or sent too much. `too-slow`: the end did not come in time. `aborted`: the client went away before it. */
export type BodyEnd = 'complete' | 'too-large' | 'too-slow' | 'aborted'

/** Reads and discards. Resolves exactly once, also when the connection breaks; never rejects. */
export function discardBody(request: IncomingMessage, clock: Clock, limit = ADMIN_BODY): Promise<BodyEnd> {
  if (Number(request.headers['content-length'] ?? 0) > limit) return Promise.resolve('too-large')
  return new Promise((settle) => {
    let seen = 0
    const timer = clock.after(ADMIN_REQUEST_MS, () => settle('too-slow'))
    const resolve = (end: BodyEnd): void => {
      timer.cancel()
      settle(end)
    }
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
