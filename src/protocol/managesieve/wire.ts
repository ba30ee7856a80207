/**
 * The grammar that both sides of ManageSieve share (RFC 5804 §4): lines with strings in them, quoted or as literals (`{n+}` from
 * a client, `{n}` from a server). Incremental: bytes go in, whole lines come out with their literals in place, and are
 * read where they lie. It knows strings and no command. A bare LF ends a line too.
 */
import { MANAGESIEVE_QUOTED } from '../../limits.ts'
import { LineReader } from '../line-reader.ts'

const SP = 0x20
const LF = 0x0a
const CR = 0x0d
const QUOTE = 0x22
const BACKSLASH = 0x5c
const BRACE = 0x7b
/** An announcement of a literal, with more digits than any bound has. */
const LITERAL = /(?:^|[ (])\{([0-9]{1,20})(\+?)\}$/
/** More of a line's end than an announcement and the byte before it can fill. */
const LONGEST_LITERAL = 32

export type Side = 'client' | 'server'

interface LiteralAnnouncement {
  readonly size: number
  /** `{n+}` */
  readonly plus: boolean
}

/** The announcement at the end of a line's text (without line end); undefined: none. */
function literalAtEnd(text: Buffer): LiteralAnnouncement | undefined {
  const from = Math.max(0, text.length - LONGEST_LITERAL)
  const match = LITERAL.exec(text.toString('latin1', from))
  return match === null ? undefined : { size: Number(match[1]), plus: match[2] === '+' }
}

export interface LineLimits {
  /** Bytes of the lines, line ends and literals excluded. */
  readonly line: number
  /** Bytes of all literals. */
  readonly literals: number
  /** Everything up to the last line end. */
  readonly total: number
}

export type LineEvent =
  /** More bytes are needed. */
  | 'more'
  /** `whole` is there; `take` it, then call `next` again. */
  | 'whole'
  /** Beyond what can be refused politely: the connection must end. */
  | 'line-too-long'
  | 'literal-too-large'
  /** `{n}` from a client: whether its bytes follow can't be known (RFC 5804 has no continuation), so the connection must end. */
  | 'literal-form'

export class SieveReader {
  readonly bytes = new LineReader()
  readonly #from: Side
  /** Where the line now looked for begins: behind the last literal. */
  #line = 0
  /** Bytes of the lines so far, and of the literals. */
  #text = 0
  #literals = 0
  /** Where what was reported ends: with and without its line end. */
  #end = 0
  #textEnd = 0

  /** @param from whose bytes are read */
  constructor(from: Side) {
    this.#from = from
  }

  /** What `next` reported, without its last line end. A view: good until the next feed or take. */
  get whole(): Buffer {
    return this.bytes.view(0, this.#textEnd)
  }

  next(limits: LineLimits): LineEvent {
    for (;;) {
      const { bytes } = this
      if (this.#line > bytes.length) return 'more'
      const end = bytes.lineEnd(this.#line)
      // An unfinished line may end in the CR of its CRLF.
      const textEnd = end < 0 ? Math.max(this.#line, bytes.length - 1) : bytes.textEnd(this.#line, end)
      const text = this.#text + textEnd - this.#line
      if (text > limits.line || textEnd > limits.total) return 'line-too-long'
      if (end < 0) return 'more'
      const literal = literalAtEnd(bytes.view(this.#line, textEnd))
      if (literal === undefined) {
        this.#end = end
        this.#textEnd = textEnd
        return 'whole'
      }
      if (this.#from === 'client' && !literal.plus) return 'literal-form'
      this.#literals += literal.size
      if (this.#literals > limits.literals || end + literal.size > limits.total) return 'literal-too-large'
      this.#text = text
      this.#line = end + literal.size
    }
  }

  /** Forgets what was reported: it was dealt with. */
  take(): void {
    this.bytes.consume(this.#end)
    this.#restart()
  }

  /** Forgets everything. */
  drop(): void {
    this.bytes.drop()
    this.#restart()
  }

  #restart(): void {
    this.#line = this.#text = this.#literals = this.#end = this.#textEnd = 0
  }
}

/** Walks over a whole line. A method that doesn't find what it is named for gives undefined or false. */
export class Scanner {
  readonly #bytes: Buffer
  #at = 0

  constructor(whole: Buffer) {
    this.#bytes = whole
  }

  /** Whether nothing is left. */
  get done(): boolean {
    return this.#at === this.#bytes.length
  }

  space(): boolean {
    if (this.#bytes[this.#at] !== SP) return false
    this.#at++
    return true
  }

  /** The bytes up to the next space or the end, at most `longest`; in upper case. */
  word(longest: number): string | undefined {
    const space = this.#bytes.indexOf(SP, this.#at)
    const end = space < 0 ? this.#bytes.length : space
    if (end === this.#at || end - this.#at > longest) return undefined
    const word = this.#bytes.toString('latin1', this.#at, end).toUpperCase()
    this.#at = end
    return word
  }

  /** Quoted string or literal: its value, a view where it lies so. */
  string(): Buffer | undefined {
    switch (this.#bytes[this.#at]) {
      case QUOTE:
        return this.#quoted()
      case BRACE:
        return this.#literal()
      default:
        return undefined
    }
  }

  #quoted(): Buffer | undefined {
    const begin = this.#at + 1
    let escapes = 0
    for (let at = begin; at < this.#bytes.length; at++) {
      const byte = this.#bytes[at]
      if (byte === QUOTE) {
        this.#at = at + 1
        const raw = this.#bytes.subarray(begin, at)
        return escapes === 0 ? raw : unescape(raw, escapes)
      }
      if (byte === BACKSLASH) {
        const escaped = this.#bytes[++at]
        if (escaped !== QUOTE && escaped !== BACKSLASH) return undefined
        escapes++
      } else if (byte === 0 || byte === CR || byte === LF) return undefined
    }
    return undefined
  }

  #literal(): Buffer | undefined {
    const lineEnd = this.#bytes.indexOf(LF, this.#at)
    if (lineEnd < 0) return undefined
    const literal = literalAtEnd(this.#bytes.subarray(this.#at, this.#bytes[lineEnd - 1] === CR ? lineEnd - 1 : lineEnd))
    const begin = lineEnd + 1
    if (literal === undefined || begin + literal.size > this.#bytes.length) return undefined
    this.#at = begin + literal.size
    return this.#bytes.subarray(begin, this.#at)
  }
}

/** Strings with one space between them, and nothing else, at most `most`: values, views. Undefined: something else. */
export function readStrings(whole: Buffer, most: number): readonly Buffer[] | undefined {
  const scanner = new Scanner(whole)
  const values: Buffer[] = []
  for (;;) {
    const value = scanner.string()
    if (value === undefined || values.length === most) return undefined
    values.push(value)
    if (scanner.done) return values
    if (!scanner.space()) return undefined
  }
}

/** A value as a string: quoted where that is allowed, else as the side's literal. Any bytes stay inside it. */
export function writeString(value: Buffer, by: Side): Buffer {
  if (value.length <= MANAGESIEVE_QUOTED && value.every((byte) => byte >= SP && byte < 0x7f)) {
    const escaped = value.toString('latin1').replace(/["\\]/g, '\\$&')
    if (escaped.length <= MANAGESIEVE_QUOTED) return Buffer.from(`"${escaped}"`, 'latin1')
  }
  return Buffer.concat([Buffer.from(`{${value.length}${by === 'client' ? '+' : ''}}\r\n`), value])
}

function unescape(raw: Buffer, escapes: number): Buffer {
  const value = Buffer.allocUnsafe(raw.length - escapes)
  let to = 0
  for (let from = 0; from < raw.length; from++) {
    if (raw[from] === BACKSLASH) from++
    value[to++] = raw[from] ?? 0
  }
  return value
}
