/**
 * The client's side of one request, the same for HTTP/1.1 and HTTP/2: a head and a body come in, informational answers and
 * one response go out. Fields are lists as on the wire.
 */
import type { Duplex, Readable, Writable } from 'node:stream'
import type { Fields } from '../../protocol/http/fields.ts'
import type { RawHead } from '../../protocol/http/head.ts'

export interface ClientSide {
  readonly raw: RawHead
  /** Nothing will come of a body (HTTP/2). */
  readonly ended: boolean
  /** Paused until somebody listens. */
  readonly body: Readable
  /** Asked where the body ends: the client has given up, and what came of it is not all. */
  readonly cut: boolean
  /** What stood behind the body, once that has ended. */
  readonly trailers: Fields
  /** The head of the response is out. */
  readonly answered: boolean
  /** The response was handed to the system to the last byte, or the client is gone. Never rejects. */
  readonly over: Promise<'answered' | 'gone'>
  /** An informational response (1xx); nothing once the response is out. */
  inform(status: number, fields: Fields): void
  /** Sends the head; what is written to the stream is the body, and `finish` ends it. */
  respond(response: ResponseHead): Writable
  finish(trailers: Fields): void
  /** Breaks the response off, so that the client sees that it is incomplete. */
  abort(): void
  /** Calls back when nothing more can come: its connection (HTTP/1.1) or stream is closed, or was already. Gives what ends the watch. */
  whenClosed(callback: () => void): () => void
}

export interface ResponseHead {
  readonly status: number
  /** The reason phrase, where the version has one. */
  readonly message: string
  readonly fields: Fields
  /** No further request on this connection, where that can be said. */
  readonly last: boolean
  /** No body follows, whatever the fields say (HEAD, 204, 304). */
  readonly bodiless: boolean
}

/** As ClientSide.whenClosed. */
export function whenClosed(stream: Duplex, callback: () => void): () => void {
  if (stream.destroyed || stream.closed) {
    callback()
    return () => {}
  }
  stream.once('close', callback)
  return () => stream.off('close', callback)
}
