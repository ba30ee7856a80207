/**
 * IMAP grammar for the demo's mail servers: cuts a byte stream into commands (RFC 9051 §2.2, §4), literals included,
 * and their arguments into atoms, strings and lists. It knows no server. The proxy has a grammar of its own for what
 * comes before a login; this one must also read what comes after it (APPEND, FETCH), so its bounds are larger.
 */

/** A line without its literals. */
const LINE = 65_536
/** Literals of one command: an APPEND of a large message. */
const LITERALS = 64 * 1024 * 1024
/** Lists within lists. */
const DEPTH = 16

export type Argument =
  | { readonly kind: 'atom'; readonly text: string }
  | { readonly kind: 'string'; readonly bytes: Buffer }
  | { readonly kind: 'list'; readonly items: readonly Argument[] }

export interface Command {
  readonly tag: string
  /** Upper case. */
  readonly name: string
  readonly args: readonly Argument[]
}

/** What can't be read. With a tag the dialogue may go on (BAD); without one it ends (BYE). */
export class SyntaxProblem extends Error {
  readonly tag: string | undefined

  constructor(message: string, tag?: string) {
    super(message)
    this.tag = tag
  }
}

/** Collects bytes; `command` and `line` take whole ones from the front. */
export class CommandReader {
  #chunks: Buffer[] = []
  #length = 0
  /** Finished parts of the command that is being read: text and literals in turn. */
  #parts: Buffer[] = []
  #literals = 0
  #wanted: number | undefined
  readonly #goAhead: () => void

  /** @param goAhead called when the client waits for leave to send a literal */
  constructor(goAhead: () => void) {
    this.#goAhead = goAhead
  }

  feed(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#length += chunk.length
  }

  /** Forgets everything: what came before a TLS upgrade is never used after it. */
  clear(): void {
    this.#chunks = []
    this.#length = 0
    this.#parts = []
    this.#literals = 0
    this.#wanted = undefined
  }

  /** The next line without its CRLF, or undefined until it is whole. Throws SyntaxProblem when it is too long. */
  line(): Buffer | undefined {
    const all = this.#joined()
    const end = all.indexOf(10)
    if (end < 0 || end > LINE) {
      if (all.length > LINE) throw new SyntaxProblem('line too long')
      return undefined
    }
    this.#take(end + 1)
    return all.subarray(0, end > 0 && all[end - 1] === 13 ? end - 1 : end)
  }

  /** The next command, or undefined until it is whole. Throws SyntaxProblem. */
  command(): Command | undefined {
    for (;;) {
      if (this.#wanted !== undefined) {
        if (this.#length < this.#wanted) return undefined
        this.#parts.push(this.#take(this.#wanted))
        this.#wanted = undefined
      }
      const line = this.line()
      if (line === undefined) return undefined
      this.#parts.push(line)
      const literal = /\{(\d{1,10})(\+?)\}$/.exec(line.subarray(-16).toString('latin1'))
      if (literal === null) break
      const size = Number(literal[1])
      this.#literals += size
      if (this.#literals > LITERALS) throw new SyntaxProblem('literal too large')
      this.#parts[this.#parts.length - 1] = line.subarray(0, line.length - literal[0].length)
      this.#wanted = size
      if (literal[2] === '') this.#goAhead()
    }
    const parts = this.#parts
    this.#parts = []
    this.#literals = 0
    return parseCommand(parts)
  }

  #joined(): Buffer {
    const [first] = this.#chunks
    if (first !== undefined && this.#chunks.length === 1) return first
    const all = Buffer.concat(this.#chunks)
    this.#chunks = [all]
    return all
  }

  #take(count: number): Buffer {
    const all = this.#joined()
    this.#chunks = count < all.length ? [all.subarray(count)] : []
    this.#length -= count
    return all.subarray(0, count)
  }
}

/** @param parts text and literals in turn, text first and last */
function parseCommand(parts: readonly Buffer[]): Command {
  const head = /^([^\s(){%*"\\+]{1,64}) ([A-Za-z]+)/.exec((parts[0] ?? Buffer.alloc(0)).toString('latin1'))
  if (head === null) throw new SyntaxProblem('expected a tag and a command')
  const [whole, tag = '', name = ''] = head
  const cursor = { parts, part: 0, at: whole.length, tag }
  const args = parseList(cursor, undefined, 0)
  return { tag, name: name.toUpperCase(), args }
}

interface Cursor {
  readonly parts: readonly Buffer[]
  part: number
  at: number
  readonly tag: string
}

/** Arguments up to `close`, or to the end of the command. */
function parseList(cursor: Cursor, close: string | undefined, depth: number): Argument[] {
  if (depth > DEPTH) throw new SyntaxProblem('lists too deep', cursor.tag)
  const items: Argument[] = []
  for (;;) {
    const text = cursor.parts[cursor.part] ?? Buffer.alloc(0)
    if (cursor.at >= text.length) {
      const literal = cursor.parts[cursor.part + 1]
      if (literal === undefined) {
        if (close !== undefined) throw new SyntaxProblem('list not closed', cursor.tag)
        return items
      }
      items.push({ kind: 'string', bytes: literal })
      cursor.part += 2
      cursor.at = 0
      continue
    }
    const char = String.fromCharCode(text[cursor.at] ?? 0)
    if (char === ' ') cursor.at++
    else if (char === close) {
      cursor.at++
      return items
    } else if (char === '(') {
      cursor.at++
      items.push({ kind: 'list', items: parseList(cursor, ')', depth + 1) })
    } else if (char === '"') items.push({ kind: 'string', bytes: parseQuoted(cursor, text) })
    else items.push({ kind: 'atom', text: parseAtom(cursor, text) })
  }
}

function parseQuoted(cursor: Cursor, text: Buffer): Buffer {
  const bytes: number[] = []
  for (let at = cursor.at + 1; at < text.length; at++) {
    const byte = text[at] ?? 0
    if (byte === 0x22) {
      cursor.at = at + 1
      return Buffer.from(bytes)
    }
    if (byte === 0x5c) at++
    bytes.push(text[at] ?? 0)
  }
  throw new SyntaxProblem('quoted string not closed', cursor.tag)
}

/** An atom; a section in brackets (`BODY[HEADER.FIELDS (DATE)]<0.100>`) belongs to it, spaces and all. */
function parseAtom(cursor: Cursor, text: Buffer): string {
  const match = /^(?:\[[^\]]*\]|[^\s()"[\]])+/.exec(text.toString('latin1', cursor.at))
  if (match === null) throw new SyntaxProblem('unexpected character', cursor.tag)
  cursor.at += match[0].length
  return match[0]
}

/** An argument as text (atoms and strings), or undefined for a list or nothing. */
export function textOf(argument: Argument | undefined): string | undefined {
  if (argument?.kind === 'atom') return argument.text
  if (argument?.kind === 'string') return argument.bytes.toString('utf8')
  return undefined
}

/** A list's items, or the argument itself as the only one. */
export function itemsOf(argument: Argument | undefined): readonly Argument[] {
  if (argument === undefined) return []
  return argument.kind === 'list' ? argument.items : [argument]
}

/** A string for the wire: quoted where that can carry it, else a literal. */
export function quote(value: string | undefined): string {
  if (value === undefined) return 'NIL'
  if (/^[\x20-\x7e]*$/.test(value)) return `"${value.replaceAll(/[\\"]/g, '\\$&')}"`
  const bytes = Buffer.from(value, 'utf8')
  return `{${bytes.length}}\r\n${bytes.toString('latin1')}`
}

/** Ranges of a sequence set (RFC 9051 §9), `*` standing for `last`; undefined when it isn't one. */
export function parseSet(text: string, last: number): readonly (readonly [number, number])[] | undefined {
  if (!/^(?:\d{1,10}|\*)(?::(?:\d{1,10}|\*))?(?:,(?:\d{1,10}|\*)(?::(?:\d{1,10}|\*))?)*$/.test(text)) return undefined
  return text.split(',').map((range): readonly [number, number] => {
    const [from = '*', to = from] = range.split(':')
    const a = from === '*' ? last : Number(from)
    const b = to === '*' ? last : Number(to)
    return a <= b ? [a, b] : [b, a]
  })
}

/** Whether a set of ranges holds a number. */
export function holds(set: readonly (readonly [number, number])[], number: number): boolean {
  return set.some(([from, to]) => number >= from && number <= to)
}
