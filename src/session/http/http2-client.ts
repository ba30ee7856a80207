/** A request in HTTP/2 (RFC 9113), over one of Node's streams. Framing and pseudo-fields were checked by nghttp2. */
import { constants } from 'node:http2'
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import type { Readable, Writable } from 'node:stream'
import { each, type Fields } from '../../protocol/http/fields.ts'
import type { RawHead } from '../../protocol/http/head.ts'
import { whenClosed, type ClientSide, type ResponseHead } from './client-side.ts'

export class Http2Client implements ClientSide {
  readonly raw: RawHead
  readonly ended: boolean
  readonly over: Promise<'answered' | 'gone'>
  readonly #stream: ServerHttp2Stream
  #trailers: Fields = []
  #last: Fields = []
  #finished = false

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: Fields, ended: boolean) {
    this.#stream = stream
    this.ended = ended
    this.raw = {
      version: '2',
      method: pseudo(headers, ':method') ?? '',
      target: pseudo(headers, ':path') ?? '',
      authority: pseudo(headers, ':authority'),
      fields: regular(rawHeaders),
    }
    stream.on('error', unheard)
    stream.on('trailers', (_: IncomingHttpHeaders, __: number, rawTrailers?: Fields) => {
      this.#trailers = rawTrailers ?? []
    })
    stream.on('wantTrailers', () => this.#sendTrailers())
    this.over = new Promise((resolve) => {
      if (stream.destroyed) resolve('gone')
      else stream.once('close', () => resolve(this.#finished && stream.rstCode === constants.NGHTTP2_NO_ERROR ? 'answered' : 'gone'))
    })
  }

  get body(): Readable {
    return this.#stream
  }

  get cut(): boolean {
    // Node ends the readable side of a stream that is reset, too.
    return this.#stream.aborted
  }

  get trailers(): Fields {
    return this.#trailers
  }

  get answered(): boolean {
    return this.#stream.headersSent
  }

  inform(status: number, fields: Fields): void {
    if (this.answered || this.#stream.destroyed) return
    try {
      this.#stream.additionalHeaders({ ':status': status, ...lowered(fields) })
    } catch {
      // Whoever called is in the midst of reading the backend. Such an answer may be left out (RFC 9110 §15.2).
    }
  }

  respond({ status, fields, bodiless }: ResponseHead): Writable {
    this.#stream.respond({ ':status': status, ...lowered(fields) }, bodiless ? { endStream: true } : { waitForTrailers: true })
    this.#finished = bodiless
    return this.#stream
  }

  finish(trailers: Fields): void {
    this.#last = trailers
    this.#finished = true
    this.#stream.end()
  }

  abort(): void {
    if (!this.#stream.destroyed) this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR)
  }

  whenClosed(callback: () => void): () => void {
    return whenClosed(this.#stream, callback)
  }

  /** Nobody stands above it who could hear of an error. */
  #sendTrailers(): void {
    if (this.#stream.destroyed) return
    try {
      this.#stream.sendTrailers(lowered(this.#last))
    } catch {
      this.abort()
    }
  }
}

function pseudo(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'string' ? value : undefined
}

function regular(raw: Fields): string[] {
  const fields: string[] = []
  for (const { name, value } of each(raw)) if (!name.startsWith(':')) fields.push(name, value)
  return fields
}

/** Names in lower case, as HTTP/2 wants them (§8.2); repetitions as lists. */
function lowered(fields: Fields): Record<string, string[]> {
  const values = new Map<string, string[]>()
  for (const { key, value } of each(fields)) {
    const known = values.get(key)
    if (known === undefined) values.set(key, [value])
    else known.push(value)
  }
  return Object.fromEntries(values)
}

function unheard(): void {}
