/**
 * FETCH of the demo's mail servers (RFC 9051 §6.4.5, §7.5.2): from attributes asked for to the bytes of an answer.
 * Messages are shown as one part each: a multipart one is presented as its source, not taken apart.
 */
import type { Argument } from './imap-wire.ts'
import { quote, SyntaxProblem } from './imap-wire.ts'
import type { Message } from './mailbox.ts'

const MACROS: Readonly<Record<string, readonly string[]>> = {
  FAST: ['FLAGS', 'INTERNALDATE', 'RFC822.SIZE'],
  ALL: ['FLAGS', 'INTERNALDATE', 'RFC822.SIZE', 'ENVELOPE'],
  FULL: ['FLAGS', 'INTERNALDATE', 'RFC822.SIZE', 'ENVELOPE', 'BODY'],
}
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

export interface FetchPlan {
  /** Whether the answer gives the message its \Seen flag. */
  readonly marksSeen: boolean
  /** The parenthesised answer for one message. */
  render(message: Message): Buffer
}

/** @throws SyntaxProblem for attributes that this server doesn't know */
export function planFetch(attributes: readonly Argument[], tag: string, byUid: boolean): FetchPlan {
  const names: string[] = []
  for (const attribute of attributes) {
    if (attribute.kind !== 'atom') throw new SyntaxProblem('expected FETCH attributes', tag)
    names.push(...(MACROS[attribute.text.toUpperCase()] ?? [attribute.text]))
  }
  if (names.length === 0) throw new SyntaxProblem('expected FETCH attributes', tag)
  if (byUid && !names.some((name) => name.toUpperCase() === 'UID')) names.unshift('UID')
  const items = names.map((name) => planItem(name, tag))
  return {
    marksSeen: items.some((item) => item.marksSeen),
    render(message) {
      const pieces = items.flatMap((item, index) => [Buffer.from(index === 0 ? '(' : ' '), item.render(message)])
      return Buffer.concat([...pieces, Buffer.from(')')])
    },
  }
}

function planItem(written: string, tag: string): FetchPlan {
  const name = written.toUpperCase()
  const plain = (render: (message: Message) => string): FetchPlan => ({
    marksSeen: false,
    render: (message) => Buffer.from(`${name} ${render(message)}`, 'latin1'),
  })
  switch (name) {
    case 'UID': return plain((message) => String(message.uid))
    case 'FLAGS': return plain((message) => `(${[...message.flags].join(' ')})`)
    case 'INTERNALDATE': return plain((message) => `"${internalDate(message.received)}"`)
    case 'RFC822.SIZE': return plain((message) => String(message.raw.length))
    case 'ENVELOPE': return plain((message) => envelope(message.raw))
    case 'BODY':
    case 'BODYSTRUCTURE': return plain((message) => bodyStructure(message.raw))
    case 'RFC822': return section('RFC822', '', undefined, true)
    case 'RFC822.HEADER': return section('RFC822.HEADER', 'HEADER', undefined, false)
    case 'RFC822.TEXT': return section('RFC822.TEXT', 'TEXT', undefined, true)
  }
  const body = /^BODY(\.PEEK)?\[([^\]]*)\](?:<(\d{1,10})(?:\.(\d{1,10}))?>)?$/.exec(name)
  if (body === null || !isSection(body[2] ?? '')) throw new SyntaxProblem(`unknown FETCH attribute ${name}`, tag)
  const range = body[3] === undefined ? undefined : { from: Number(body[3]), count: Number(body[4] ?? 2 ** 31) }
  const label = `BODY[${body[2] ?? ''}]${range === undefined ? '' : `<${range.from}>`}`
  return section(label, body[2] ?? '', range, body[1] === undefined)
}

function isSection(text: string): boolean {
  return /^(?:|1|TEXT|HEADER|HEADER\.FIELDS(?:\.NOT)? \([^()]+\))$/.test(text)
}

function section(label: string, what: string, range: { from: number; count: number } | undefined, marksSeen: boolean): FetchPlan {
  return {
    marksSeen,
    render(message) {
      const whole = sectionOf(message.raw, what)
      const bytes = range === undefined ? whole : whole.subarray(range.from, range.from + range.count)
      return Buffer.concat([Buffer.from(`${label} {${bytes.length}}\r\n`), bytes])
    },
  }
}

function sectionOf(raw: Buffer, what: string): Buffer {
  const split = headerEnd(raw)
  if (what === '') return raw
  if (what === 'HEADER') return raw.subarray(0, split)
  if (what === 'TEXT' || what === '1') return raw.subarray(split)
  const wanted = new Set((/\(([^)]*)\)/.exec(what)?.[1] ?? '').toLowerCase().replaceAll('"', '').split(' '))
  const not = what.startsWith('HEADER.FIELDS.NOT')
  const kept = fields(raw).filter(([name]) => wanted.has(name) !== not)
  return Buffer.from(`${kept.map(([, , source]) => source).join('')}\r\n`, 'latin1')
}

/** Where the body begins. */
function headerEnd(raw: Buffer): number {
  const at = raw.indexOf('\r\n\r\n')
  return at < 0 ? raw.length : at + 4
}

/** Header fields in order: lower-case name, unfolded value, source with its line ends. */
function fields(raw: Buffer): (readonly [string, string, string])[] {
  const header = raw.toString('latin1', 0, headerEnd(raw))
  return [...header.matchAll(/^([!-9;-~]+):((?:[^\r\n]*\r\n)(?:[ \t][^\r\n]*\r\n)*)/gm)].map(([source, name = '', value = '']) => [
    name.toLowerCase(), value.replaceAll('\r\n', '').trim(), source,
  ])
}

function field(raw: Buffer, name: string): string | undefined {
  return fields(raw).find(([found]) => found === name)?.[1]
}

function envelope(raw: Buffer): string {
  const from = addresses(field(raw, 'from'))
  const or = (name: string): string => {
    const found = addresses(field(raw, name))
    return found === 'NIL' ? from : found
  }
  const text = (name: string): string => quote(field(raw, name))
  const others = ['to', 'cc', 'bcc'].map((name) => addresses(field(raw, name)))
  return `(${[text('date'), text('subject'), from, or('sender'), or('reply-to'), ...others, text('in-reply-to'), text('message-id')].join(' ')})`
}

/** An address list for ENVELOPE; display names in quotes may hold commas. */
function addresses(value: string | undefined): string {
  const found = [...(value ?? '').matchAll(/(?:"((?:[^"\\]|\\.)*)"|([^<>,"]*?))\s*<([^<>@\s]+)@([^<>@\s]+)>|([^<>@\s,]+)@([^<>@\s,]+)/g)]
  if (found.length === 0) return 'NIL'
  const one = found.map(([, quoted, plain, local, domain, bareLocal, bareDomain]) => {
    const name = quoted?.replaceAll(/\\(.)/g, '$1') ?? plain?.trim()
    return `(${quote(name === '' ? undefined : name)} NIL ${quote(local ?? bareLocal)} ${quote(domain ?? bareDomain)})`
  })
  return `(${one.join('')})`
}

function bodyStructure(raw: Buffer): string {
  const body = raw.subarray(headerEnd(raw))
  const encoding = field(raw, 'content-transfer-encoding') ?? '7BIT'
  const charset = /charset="?([^";\s]+)/i.exec(field(raw, 'content-type') ?? '')?.[1] ?? 'us-ascii'
  const lines = body.toString('latin1').split('\n').length - 1
  return `("TEXT" "PLAIN" ("CHARSET" ${quote(charset)}) NIL NIL ${quote(encoding.toUpperCase())} ${body.length} ${lines})`
}

/** RFC 9051 date-time, in UTC. */
function internalDate(date: Date): string {
  const two = (number: number): string => String(number).padStart(2, '0')
  const day = String(date.getUTCDate()).padStart(2, ' ')
  const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map(two).join(':')
  return `${day}-${MONTHS[date.getUTCMonth()] ?? 'Jan'}-${date.getUTCFullYear()} ${time} +0000`
}

/** The other way round; undefined when it isn't one. */
export function parseInternalDate(text: string): Date | undefined {
  const match = /^[ \d]?\d-([A-Za-z]{3})-\d{4} \d\d:\d\d:\d\d [+-]\d{4}$/.exec(text)
  if (match === null) return undefined
  const time = Date.parse(text.trim().replaceAll('-', (dash, at: number) => (at < 12 ? ' ' : dash)))
  return Number.isNaN(time) ? undefined : new Date(time)
}
