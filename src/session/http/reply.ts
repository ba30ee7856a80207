/**
 * What the client gets: the backend's answer as it comes, with back-pressure, or a refusal of ours. It is told where the
 * connection ends behind it.
 */
import { STATUS_CODES } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Writable } from 'node:stream'
import { SignalboxError } from '../../errors.ts'
import { answer, type AnswerStatus } from '../../protocol/http/answer.ts'
import { members, passingTrailers, type Fields } from '../../protocol/http/fields.ts'
import { faultOf, responseFields } from '../../protocol/http/messages.ts'
import type { ClientSide } from './client-side.ts'
import type { PendingRequest } from './pending-request.ts'

export interface ReplyOptions {
  readonly client: ClientSide
  /** The connection ends behind this response. */
  readonly last: () => boolean
  /** The client was told so. */
  readonly closing: () => void
}

/** A reason phrase (RFC 9112 §4): the parser takes controls in it as well. */
const PHRASE = /^[\t\x20-\x7e\x80-\xff]*$/

/** A head of which it is not said yet whether it is the last one. */
interface Head {
  readonly status: number
  readonly message: string
  readonly fields: Fields
  readonly bodiless: boolean
}

export class Reply {
  readonly #options: ReplyOptions
  #status: number | undefined

  constructor(options: ReplyOptions) {
    this.#options = options
  }

  /** What the client was told; undefined: nothing yet. */
  get status(): number | undefined {
    return this.#status
  }

  /** The client was told to speak another protocol. */
  switched(): void {
    this.#status = 101
  }

  /** The backend's answer to its last byte. Rejects with BACKEND_CLOSED where that never comes, or with why the request was ended. */
  async relay(pending: PendingRequest, response: IncomingMessage): Promise<void> {
    const { client, halt, head, services, traffic } = pending
    const { statusCode: status = 502, statusMessage: message = '' } = response
    // It broke off before anybody listened, together with its head.
    if (response.errored !== null) throw new SignalboxError('BACKEND_CLOSED', response.errored.message, { cause: response.errored })
    const fault = faultOf(status, response.httpVersion, response.rawHeaders)
    if (fault !== undefined) throw new SignalboxError('BACKEND_PROTOCOL', fault)
    if (members(response.rawHeaders, 'content-type').some((type) => type.startsWith('text/event-stream'))) traffic.watch(services.server.bridgeIdle)
    const bodiless = head.method === 'HEAD' || status === 204 || status === 304
    const sink = this.#begin({ status, message: PHRASE.test(message) ? message : '', fields: responseFields(response.rawHeaders, status), bodiless }, this.#unread(pending))
    await halt.step<void>((resolve, reject) => {
      response.on('error', (error) => reject(new SignalboxError('BACKEND_CLOSED', error.message, { cause: error })))
      response.on('data', (chunk: Buffer) => {
        traffic.returned(chunk.length)
        if (!bodiless && !sink.write(chunk)) response.pause()
      })
      sink.on('drain', () => {
        traffic.moved()
        response.resume()
      })
      response.on('end', resolve)
      return () => {}
    })
    if (!bodiless || client.raw.version !== '2') client.finish(passingTrailers(response.rawTrailers))
  }

  /** @param last no further request is read, whatever the connection could carry */
  refuse(status: AnswerStatus, pending: PendingRequest | undefined, last = false): void {
    const { client } = this.#options
    const { fields, body } = answer(status)
    const bodiless = client.raw.method === 'HEAD'
    const sink = this.#begin({ status, message: STATUS_CODES[status] ?? '', fields, bodiless }, last || this.#unread(pending))
    if (!bodiless) sink.write(body)
    if (!bodiless || client.raw.version !== '2') client.finish([])
  }

  #begin(head: Head, last: boolean): Writable {
    const { client, closing } = this.#options
    this.#status = head.status
    const ending = last || this.#options.last()
    if (ending) closing()
    return client.respond({ ...head, last: ending })
  }

  /** A client that waits for a go-ahead may never send its body: what came next on the connection would be ambiguous. */
  #unread(pending: PendingRequest | undefined): boolean {
    return pending?.head.expectsContinue === true && !pending.continued && !pending.body.complete
  }
}
