/**
 * The grammar of IMAP commands (RFC 9051 §9, RFC 3501 §9, literals of RFC 7888), incremental: bytes go in, whole
 * commands come out, with their literals in place. It knows tags, atoms, strings and lists, and no command. A command
 * is read where it lies; nothing is copied before its arguments are taken. More lenient than the grammar in two
 * points: a bare LF ends a line, and an atom may hold `%`, `*`, `\` and bytes above 0x7f, because clients send
 * such names and passwords unquoted.
 */
import { IMAP_LINE, IMAP_LITERALS, IMAP_LITERAL_MINUS, IMAP_TAG, SASL_LINE } from '../../limits.ts'
import { LineReader } from '../line-reader.ts'

const SP = 0x20
const QUOTE = 0x22
const OPEN = 0x28
const CLOSE = 0x29
const BACKSLASH = 0x5c
const BRACE = 0x7b
const BRACE_CLOSE = 0x7d
const PLUS = 0x2b
/** The longest command name and argument-free mechanism name that mean anything. */
const NAME = 32
/** A line with AUTHENTICATE may hold a whole SASL message. */
const AUTHENTICATE_LINE = SASL_LINE + IMAP_TAG + 2 * NAME
const AUTHENTICATE = 'AUTHENTICATE'

/** 1: may stand in a tag; 2: may stand in an atom as we take it. */
const CLASS = new Uint8Array(256)
for (let byte = 0x21; byte < 256; byte++) {
  const char = String.fromCharCode(byte)
  if (byte === 0x7f || '(){"'.includes(char)) continue
  CLASS[byte] = byte < 0x7f && !'%*\\+'.includes(char) ? 3 : 2
}

/** A literal as announced at the end of a line. */
export interface LiteralAnnouncement {
  readonly size: number
  /** `{n}`: the client waits for a `+`; `{n+}`: it doesn't. */
  readonly synchronising: boolean
}

/** The announcement at the end of a line's text (without line end); undefined: none. Beyond 10 digits: Infinity. */
export function literalAtEnd(text: Buffer): LiteralAnnouncement | undefined {
  let at = text.length - 1
  if (at < 2 || text[at] !== BRACE_CLOSE) return undefined
  const synchronising = text[at - 1] !== PLUS
  if (!synchronising) at--
  const end = at
  let size = 0
  let scale = 1
  for (at--; at >= 0; at--) {
    const digit = (text[at] ?? 0) - 0x30
    if (digit < 0 || digit > 9) break
    size += digit * scale
    scale *= 10
  }
  if (at < 0 || at === end - 1 || text[at] !== BRACE) return undefined
  const before = at === 0 ? undefined : text[at - 1]
  if (before !== SP && before !== OPEN) return undefined
  return { size: end - at > 11 ? Infinity : size, synchronising }
}

export type CommandEvent =
  /** More bytes are needed. */
  | 'more'
  /** `command` is whole; call `next` again for the following one. */
  | 'command'
  /** A synchronising literal was announced: `grant` it, or `refuse` the command. `command` is what came so far. */
  | 'literal'
  /** As `literal`, but it is too large to be granted. */
  | 'literal-too-large'
  /** Beyond what can be refused politely: the connection must end. */
  | 'line-too-long'
  | 'non-synchronising-literal-too-large'

export interface CommandLimits {
  /** Whether non-synchronising literals may be as large as others (LITERAL+), not only 4096 bytes (LITERAL-). */
  readonly literalPlus: boolean
  /** `limits.preauth_buffer`: a whole command, literals included. */
  readonly total: number
}

export class CommandReader {
  readonly bytes = new LineReader()
  readonly #limits: CommandLimits
  /** Where the line now looked for begins: behind the last literal. */
  #line = 0
  /** Bytes of the command's lines so far, and of its literals. */
  #text = 0
  #literals = 0
  /** The size of the literal that waits for grant or refuse. */
  #announced = 0
  /** Where the command that was reported ends: with and without its line end. */
  #end = 0
  #textEnd = 0

  constructor(limits: CommandLimits) {
    this.#limits = limits
  }

  /** The command that `next` reported, without its last line end. A view: good until the next feed, take or refuse. */
  get command(): Buffer {
    return this.bytes.view(0, this.#textEnd)
  }

  next(): CommandEvent {
    for (;;) {
      if (this.#line > this.bytes.length) return 'more'
      const end = this.bytes.lineEnd(this.#line)
      const textEnd = end < 0 ? this.bytes.length : this.bytes.textEnd(this.#line, end)
      // An unfinished line may end in the CR of its CRLF.
      const text = this.#text + textEnd - this.#line - (end < 0 ? 1 : 0)
      if (text > this.#lineLimit(text) || textEnd - (end < 0 ? 1 : 0) > this.#limits.total) return 'line-too-long'
      if (end < 0) return 'more'
      this.#end = end
      this.#textEnd = textEnd
      const literal = literalAtEnd(this.bytes.view(this.#line, textEnd))
      if (literal === undefined) return 'command'
      this.#text = text
      this.#announced = literal.size
      const fits = this.#literals + literal.size <= IMAP_LITERALS && end + literal.size <= this.#limits.total
      if (literal.synchronising) return fits ? 'literal' : 'literal-too-large'
      if (!fits || (!this.#limits.literalPlus && literal.size > IMAP_LITERAL_MINUS)) {
        return 'non-synchronising-literal-too-large'
      }
      this.grant()
    }
  }

  /** The announced literal may come. */
  grant(): void {
    this.#literals += this.#announced
    this.#line = this.#end + this.#announced
  }

  /** Forgets the reported command: it was dealt with, or its literal refused. */
  take(): void {
    this.bytes.consume(this.#end)
    this.#line = this.#text = this.#literals = 0
  }

  /** Forgets everything. */
  drop(): void {
    this.bytes.drop()
    this.#line = this.#text = this.#literals = 0
  }

  #lineLimit(text: number): number {
    if (text <= IMAP_LINE || this.#literals > 0) return IMAP_LINE
    const head = readHead(this.bytes.view(0, Math.min(this.bytes.length, IMAP_TAG + NAME)))
    return head.kind === 'command' && head.name === AUTHENTICATE ? AUTHENTICATE_LINE : IMAP_LINE
  }
}

export type CommandHead =
  | { readonly kind: 'command'; readonly tag: string; /** Upper case. */ readonly name: string; readonly end: number }
  /** A tag with no command behind it. */
  | { readonly kind: 'tag-only'; readonly tag: string }
  /** No tag, one that is too long, or one with bytes that a tag may not have. */
  | { readonly kind: 'bad-tag' }

const BAD_TAG: CommandHead = { kind: 'bad-tag' }

/** Reads tag and name of a command. */
export function readHead(command: Buffer): CommandHead {
  let at = 0
  while (((CLASS[command[at] ?? 0] ?? 0) & 1) !== 0) at++
  if (at === 0 || at > IMAP_TAG || (at < command.length && command[at] !== SP)) return BAD_TAG
  const tag = command.toString('latin1', 0, at)
  const begin = at + 1
  let end = begin
  while (((CLASS[command[end] ?? 0] ?? 0) & 1) !== 0) end++
  if (end <= begin || end - begin > NAME || (end < command.length && command[end] !== SP)) {
    return { kind: 'tag-only', tag }
  }
  return { kind: 'command', tag, name: command.toString('latin1', begin, end).toUpperCase(), end }
}

/** Walks over a command's arguments. A method that doesn't find what it is named for gives undefined or false. */
export class ArgumentScanner {
  readonly #bytes: Buffer
  #at: number

  constructor(command: Buffer, at: number) {
    this.#bytes = command
    this.#at = at
  }

  /** Whether nothing is left. */
  get done(): boolean {
    return this.#at === this.#bytes.length
  }

  space(): boolean {
    return this.#byte(SP)
  }

  open(): boolean {
    return this.#byte(OPEN)
  }

  close(): boolean {
    return this.#byte(CLOSE)
  }

  /** Atom, quoted string or literal: its value, a view where it lies so. */
  astring(): Buffer | undefined {
    return this.string() ?? this.atom()
  }

  /** Quoted string or literal. */
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

  /** At least one atom character. */
  atom(): Buffer | undefined {
    const begin = this.#at
    let at = begin
    while ((CLASS[this.#bytes[at] ?? 0] ?? 0) !== 0) at++
    if (at === begin) return undefined
    this.#at = at
    return this.#bytes.subarray(begin, at)
  }

  #byte(byte: number): boolean {
    if (this.#bytes[this.#at] !== byte) return false
    this.#at++
    return true
  }

  #quoted(): Buffer | undefined {
    const begin = this.#at + 1
    let escapes = 0
    for (let at = begin; at < this.#bytes.length; at++) {
      const byte = this.#bytes[at] ?? 0
      if (byte === QUOTE) {
        this.#at = at + 1
        const raw = this.#bytes.subarray(begin, at)
        return escapes === 0 ? raw : unescape(raw, escapes)
      }
      if (byte === BACKSLASH) {
        const escaped = this.#bytes[++at]
        if (escaped !== QUOTE && escaped !== BACKSLASH) return undefined
        escapes++
      } else if (byte < SP || byte === 0x7f) return undefined
    }
    return undefined
  }

  #literal(): Buffer | undefined {
    const lineEnd = this.#bytes.indexOf(0x0a, this.#at)
    if (lineEnd < 0) return undefined
    const textEnd = this.#bytes[lineEnd - 1] === 0x0d ? lineEnd - 1 : lineEnd
    if (this.#bytes.lastIndexOf(BRACE, textEnd - 1) !== this.#at) return undefined
    // One byte more in front: an announcement stands behind a space or a parenthesis.
    const announced = literalAtEnd(this.#bytes.subarray(this.#at - 1, textEnd))
    const begin = lineEnd + 1
    if (announced === undefined || begin + announced.size > this.#bytes.length) return undefined
    this.#at = begin + announced.size
    return this.#bytes.subarray(begin, this.#at)
  }
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
