/**
 * The grammar of IMAP responses (RFC 9051 §7), incremental: bytes of a backend go in, whole responses come out, with
 * their literals in place. Status responses and lines under a tag end with free text, so a `{n}` there is text and no
 * literal. Every line is bounded; what a backend says beyond that is trouble.
 */
import { BACKEND_LINE, BACKEND_PREAMBLE } from '../../limits.ts'
import { LineReader } from '../line-reader.ts'
import { literalAtEnd } from './wire.ts'

/** Bits for what matters to a replay. */
export const CAPABILITY = {
  'STARTTLS': 1,
  'SASL-IR': 2,
  'LITERAL+': 4,
  'LITERAL-': 8,
  'LOGINDISABLED': 16,
  'AUTH=PLAIN': 32,
  'AUTH=LOGIN': 64,
  'AUTH=OAUTHBEARER': 128,
  'AUTH=XOAUTH2': 256,
  'ID': 512,
} as const

export type CapabilityName = keyof typeof CAPABILITY

const BITS: ReadonlyMap<string, number> = new Map(Object.entries(CAPABILITY))
const ASTERISK = 0x2a
const PLUS = 0x2b
const LETTER_O = 0x4f
const LETTER_K = 0x4b
const SPACE = 0x20
const CODE = /^\[CAPABILITY ([^\]]*)\]/i
/** RFC 8437 lets a client log out of its account without closing: behind a proxy the next login could be anybody's. */
const UNAUTHENTICATE = / UNAUTHENTICATE(?=[ \]\r\n]|$)/gi

export type Response =
  /** `* …`: its first word in upper case (a number's response has the number), and what follows it. */
  | { readonly kind: 'untagged'; readonly word: string; readonly text: string; readonly raw: Buffer }
  /** `+ …` */
  | { readonly kind: 'continuation'; readonly text: string }
  /** A tagged status response. `status` is undefined when it is none of OK, NO, BAD. */
  | {
      readonly kind: 'tagged'
      readonly tag: string
      readonly status: 'OK' | 'NO' | 'BAD' | undefined
      /** Status word included. */
      readonly text: string
    }

export class ResponseReader {
  readonly bytes = new LineReader()
  #line = 0
  #text = 0

  /** The next whole response, a value of its own; 'more' when none is held; 'too-long' beyond the bounds. */
  next(): Response | 'more' | 'too-long' {
    for (;;) {
      const { bytes } = this
      if (this.#line > bytes.length) return 'more'
      const end = bytes.lineEnd(this.#line)
      // An unfinished line may end in the CR of its CRLF.
      const textEnd = end < 0 ? bytes.length - 1 : bytes.textEnd(this.#line, end)
      const text = this.#text + textEnd - this.#line
      if (text > BACKEND_LINE) return 'too-long'
      if (end < 0) return 'more'
      const literal = mayHoldLiterals(bytes) ? literalAtEnd(bytes.view(this.#line, textEnd)) : undefined
      if (literal === undefined) {
        const response = parse(bytes.view(0, textEnd), bytes.view(0, end))
        bytes.consume(end)
        this.#line = this.#text = 0
        return response
      }
      if (literal.size > BACKEND_PREAMBLE) return 'too-long'
      this.#text = text
      this.#line = end + literal.size
    }
  }
}

/** Untagged data may; status responses (`* OK`, `* NO`, `* BAD`, `* BYE`, `* PREAUTH`), tagged ones and `+` hold text. */
function mayHoldLiterals(bytes: LineReader): boolean {
  if (bytes.at(0) !== ASTERISK) return false
  // The usual one, without a look at its text.
  if (bytes.at(2) === LETTER_O && bytes.at(3) === LETTER_K && bytes.at(4) === SPACE) return false
  const begin = bytes.view(0, Math.min(bytes.length, 10)).toString('latin1')
  return !/^\* (?:OK|NO|BAD|BYE|PREAUTH)[ \r\n]/i.test(begin)
}

function parse(line: Buffer, withEnd: Buffer): Response {
  const text = line.toString('latin1')
  if (line[0] === PLUS && (line.length === 1 || line[1] === SPACE)) return { kind: 'continuation', text: text.slice(2) }
  const [first, rest] = cut(text)
  const [word, behind] = cut(rest)
  const upper = word === 'OK' ? word : word.toUpperCase()
  if (first === '*') return { kind: 'untagged', word: upper, text: behind, raw: Buffer.from(withEnd) }
  const status = upper === 'OK' || upper === 'NO' || upper === 'BAD' ? upper : undefined
  return { kind: 'tagged', tag: first, status, text: rest }
}

/** The first word, and what stands behind the space after it. */
function cut(text: string): readonly [string, string] {
  const space = text.indexOf(' ')
  return space < 0 ? [text, ''] : [text.slice(0, space), text.slice(space + 1)]
}

/** Lists seen lately: a backend says the same to every login. */
const seen = new Map<string, number>()
const SEEN = 64

/** The bits of a capability list. */
export function capabilityBits(list: string): number {
  const known = seen.get(list)
  if (known !== undefined) return known
  let bits = 0
  for (const word of list.toUpperCase().split(' ')) bits |= BITS.get(word) ?? 0
  if (seen.size >= SEEN) seen.clear()
  seen.set(list, bits)
  return bits
}

/** The list in a `[CAPABILITY …]` code at the beginning of a status response's text; undefined: there is none. */
export function capabilityCode(text: string): string | undefined {
  return CODE.exec(text)?.[1]
}

/** Takes UNAUTHENTICATE off a capability list or a line with one. Everything else stays as it is. */
export function withoutUnauthenticate(line: string): string {
  return line.replace(UNAUTHENTICATE, '')
}

/** The response code's name at the beginning of a status response's text, in upper case; undefined: none. */
export function responseCode(text: string): string | undefined {
  return /^\[([^\] ]+)[\] ]/.exec(text)?.[1]?.toUpperCase()
}
