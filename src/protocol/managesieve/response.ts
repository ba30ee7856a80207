/**
 * What a ManageSieve backend says (RFC 5804 §1.3, §1.7, §2.1, §4 `response`): lines of strings (capabilities, challenges), and
 * status lines with a response code or none. Every line is bounded; what a backend says beyond
 * that is trouble.
 */
import { BACKEND_LINE, BACKEND_PREAMBLE } from '../../limits.ts'
import type { LineReader } from '../line-reader.ts'
import { SieveReader, readStrings } from './wire.ts'

const LIMITS = { line: BACKEND_LINE, literals: BACKEND_PREAMBLE, total: BACKEND_PREAMBLE }
const STATUS = /^(OK|NO|BYE)(?: \(([A-Z][A-Z0-9/-]*)[ )])?/i
const STATUS_END = /^(?:OK|NO|BYE)(?: |$)/i

export type Response =
  /** A capability and its value, or a challenge. */
  | { readonly kind: 'strings'; readonly values: readonly Buffer[] }
  | {
      readonly kind: 'status'
      readonly status: 'OK' | 'NO' | 'BYE'
      /** The response code's name, in upper case; undefined: none. */
      readonly code: string | undefined
      /** All of it as it came, literals included, without the last line end. */
      readonly raw: Buffer
    }

export class ResponseReader {
  readonly #reader = new SieveReader('server')

  get bytes(): LineReader {
    return this.#reader.bytes
  }

  /** The next whole response, a value of its own; 'more' when none is held; 'too-long' beyond the bounds; 'malformed': no ManageSieve. */
  next(): Response | 'more' | 'too-long' | 'malformed' {
    const event = this.#reader.next(LIMITS)
    if (event === 'more') return 'more'
    if (event !== 'whole') return 'too-long'
    const whole = Buffer.from(this.#reader.whole)
    this.#reader.take()
    return parse(whole)
  }
}

function parse(whole: Buffer): Response | 'malformed' {
  const begin = whole.toString('latin1', 0, Math.min(whole.length, 64))
  if (!STATUS_END.test(begin)) {
    const values = readStrings(whole, 2)
    return values === undefined ? 'malformed' : { kind: 'strings', values }
  }
  const [, status = '', code] = STATUS.exec(begin) ?? []
  const upper = status.toUpperCase()
  return { kind: 'status', status: upper === 'OK' || upper === 'NO' ? upper : 'BYE', code: code?.toUpperCase(), raw: whole }
}

/** A capability block: names in upper case, each with its value as written. */
export type Capabilities = ReadonlyMap<string, string>

/** The words of a capability's value, in upper case; empty where it isn't named. */
export function wordsOf(capabilities: Capabilities, name: string): readonly string[] {
  return (capabilities.get(name) ?? '').toUpperCase().split(' ').filter((word) => word !== '')
}
