/**
 * What a route answers, as a value: a status, a line for people and scripts, and the same with more in it as JSON. Which
 * of the two is sent is decided in one place by what the client accepts. Answers never hold what a client may not see:
 * no stack, no secret, and a client's own words only as printable text.
 */
import { printable } from '../observe/redaction.ts'
import type { Confirmation } from './operations.ts'

/** Closed list of the API's own codes; beside them `code` may be one of SignalboxError's. */
export type ApiCode =
  | 'BAD_PARAMETER'
  | 'BAD_REQUEST'
  | 'UNAUTHORIZED'
  | 'LOCKED_OUT'
  | 'NOT_FOUND'
  | 'METHOD_NOT_ALLOWED'
  | 'NOT_LOST'
  | 'BODY_TOO_LARGE'
  | 'UNSUPPORTED'
  | 'NO_ROOM'
  | 'NOT_CONFIRMED'
  | 'CUTOVER_FAILED'
  | 'CUTOVER_UNDER_WAY'
  | 'NOT_READY'
  | 'INTERNAL'

export interface Answer {
  readonly status: number
  /** Without line break at its end. */
  readonly text: string
  readonly json: Readonly<Record<string, unknown>>
  /** JSON whatever the client accepts. */
  readonly alwaysJson?: boolean
  readonly headers?: Readonly<Record<string, string>>
  /** Instead of text and JSON: sent as it is made, no faster than the client reads; left where it stands when the client goes. */
  readonly stream?: { readonly type: StreamType; readonly pieces: AsyncIterable<string | Uint8Array> }
  /** For the audit: who has confirmed, what came of it, and further facts. */
  readonly audit?: {
    readonly outcome: string
    readonly confirmation?: Confirmation
    readonly facts?: Readonly<Record<string, string | number | boolean>>
  }
}

/** What an answer may be streamed as: a JSON value a line, a mapping a line, events, or what Prometheus reads. */
export type StreamType = 'application/x-ndjson' | 'text/tab-separated-values' | 'text/event-stream' | 'text/plain; version=0.0.4'

/** A mistake: `sentence` as text, `{error, code}` as JSON. */
export function failure(status: number, code: string, sentence: string, headers?: Record<string, string>): Answer {
  return {
    status,
    text: sentence,
    json: { error: sentence, code },
    ...(headers === undefined ? {} : { headers }),
    audit: { outcome: code },
  }
}

/** A missing or bad parameter; the sentence begins with its name. */
export function badParameter(name: string, what: string): Answer {
  const sentence = `${shown(name)}: ${what}`
  return {
    status: 400,
    text: sentence,
    json: { error: sentence, code: 'BAD_PARAMETER', parameter: shown(name) },
    audit: { outcome: 'BAD_PARAMETER' },
  }
}

/** Data that is JSON for every client. */
export function data(json: object): Answer {
  return { status: 200, text: '', json: { ...json }, alwaysJson: true }
}

/**
 * An answer made while it is sent. Resolves once the first piece is there, so that what fails before it gets a status of
 * its own; a later failure breaks the connection, so that half an answer isn't taken for a whole one.
 */
export async function streamed(type: StreamType, pieces: AsyncIterable<string | Uint8Array>): Promise<Answer> {
  const iterator = pieces[Symbol.asyncIterator]()
  const first = await iterator.next()
  async function* all(): AsyncGenerator<string | Uint8Array> {
    try {
      let { done, value } = first
      while (done !== true) {
        yield value
        ;({ done, value } = await iterator.next())
      }
    } finally {
      await iterator.return?.()
    }
  }
  return { status: 200, text: '', json: {}, stream: { type, pieces: all() } }
}

/** A client's own words, fit for a sentence: printable and short. */
export function shown(text: string): string {
  const safe = printable(text)
  return safe.length <= 80 ? safe : `${safe.slice(0, 80)}…`
}

/** Whether Accept names application/json; ranges such as a star don't, `;q=0` takes it back. */
export function namesJson(accept: string | undefined): boolean {
  if (accept === undefined) return false
  return accept.split(',').some((range) => {
    const [type, ...parameters] = range.split(';').map((part) => part.trim().toLowerCase())
    return type === 'application/json' && !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter))
  })
}
