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
  | 'NOT_CONFIRMED'
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
  /** For the audit: who has confirmed, what came of it, and further facts. */
  readonly audit?: {
    readonly outcome: string
    readonly confirmation?: Confirmation
    readonly facts?: Readonly<Record<string, string | number | boolean>>
  }
}

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
