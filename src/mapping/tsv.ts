/**
 * Mappings as text, in the format of mapping files (docs: identifier, white space, destination, one a line): read from
 * pieces of any size and written, in constant memory. Says of a line what the file source's own reader would say of it
 * (file/parser.ts, which is made for speed and keeps everything; a test holds the two together).
 */
import { asSignalboxError } from '../errors.ts'
import { normalizeIdentifier } from '../identity/identifier.ts'
import { MAPPING_LINE } from '../limits.ts'
import { entryMistake } from './entry.ts'
import { invalidMapping, MistakeList } from './mistakes.ts'
import type { Mapping } from './source.ts'

export interface TsvRules {
  readonly normalize: 'none' | 'lowercase'
  /** Names of the declared destinations. */
  readonly destinations: ReadonlySet<string>
}

/** What has been read so far. */
export interface TsvCount {
  lines: number
  mappings: number
  bytes: number
  /** Lines with more than two fields; the rest of each was ignored. */
  furtherFields: number
}

const LF = 10
const CR = 13
const BOM = '\ufeff'
const BOM_BYTES = Buffer.from(BOM)
/** Characters gathered before they are handed on. */
const PIECE = 65_536
/** BOM, a whole line, CR, and a byte that makes it too long. */
const KEPT = 3 + MAPPING_LINE + 2
/** Bytes without a line's end after which nothing more is read: whatever it is, it has no lines. */
const ENDLESS = 64 * MAPPING_LINE
/** Code units of a line that can't be too long, whatever they are in bytes. */
const SHORT = MAPPING_LINE / 3

/**
 * Yields every mapping, its identifier normalised. Reads on to the end after a mistake, but yields nothing more, and then
 * throws SOURCE_INVALID (its cause: which lines). `count` is kept up to date.
 */
export async function* parseMappings(
  pieces: AsyncIterable<Uint8Array>,
  rules: TsvRules,
  count: TsvCount = { lines: 0, mappings: 0, bytes: 0, furtherFields: 0 },
): AsyncGenerator<Mapping, void, undefined> {
  const mistakes = new MistakeList()
  const read = (line: string | undefined): Mapping | undefined => {
    count.lines++
    const mapping = line === undefined ? 'not valid UTF-8' : parseLine(line, rules, count)
    if (typeof mapping === 'string') mistakes.add(count.lines, mapping)
    else if (mapping !== undefined && mistakes.total === 0) {
      count.mappings++
      return mapping
    }
    return undefined
  }
  for await (const block of wholeLines(pieces, count)) {
    for (const line of textsOf(block, count.lines === 0)) {
      const mapping = read(line)
      if (mapping !== undefined) yield mapping
    }
  }
  if (mistakes.total > 0) throw invalidMapping('import', mistakes)
}

/** Blocks that end with a line's end, but for the last. A line too long to be one is cut where that is certain; one without end is the last. */
async function* wholeLines(pieces: AsyncIterable<Uint8Array>, count: TsvCount): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0)
  let open = 0
  for await (const piece of pieces) {
    count.bytes += piece.length
    let chunk = Buffer.from(piece.buffer, piece.byteOffset, piece.length)
    const first = chunk.indexOf(LF)
    if (rest.length >= KEPT && first !== 0) chunk = first < 0 ? chunk.subarray(0, 0) : chunk.subarray(first)
    const whole = chunk.lastIndexOf(LF) + 1
    if (whole > 0) {
      yield rest.length === 0 ? chunk.subarray(0, whole) : Buffer.concat([rest, chunk.subarray(0, whole)])
      rest = Buffer.alloc(0)
    }
    const end = piece.lastIndexOf(LF) + 1
    open = end > 0 ? piece.length - end : open + piece.length
    if (open > ENDLESS) {
      yield rest.length >= KEPT ? rest : Buffer.concat([rest, chunk.subarray(whole, whole + KEPT)])
      return
    }
    const tail = chunk.subarray(whole)
    if (tail.length > 0) rest = Buffer.concat([rest, tail]).subarray(0, KEPT)
  }
  if (rest.length > 0) yield rest
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The lines as texts; undefined: not valid UTF-8. */
function textsOf(block: Buffer, first: boolean): (string | undefined)[] {
  const ended = block.at(-1) === LF
  const body = ended ? block.subarray(0, -1) : block
  try {
    return decoder.decode(body).split('\n')
  } catch {
    return linesOf(body).map((line, index) => {
      const around = (line.at(-1) === CR ? 1 : 0) + (first && index === 0 && line.subarray(0, 3).equals(BOM_BYTES) ? 3 : 0)
      // Too long is what is wrong with it, wherever it was cut.
      if (line.length - around > MAPPING_LINE) return ' '.repeat(KEPT)
      try {
        return decoder.decode(line)
      } catch {
        return undefined
      }
    })
  }
}

function linesOf(body: Buffer): Buffer[] {
  const lines: Buffer[] = []
  for (let start = 0; ; ) {
    const end = body.indexOf(LF, start)
    lines.push(body.subarray(start, end < 0 ? body.length : end))
    if (end < 0) return lines
    start = end + 1
  }
}

/** Undefined: a blank line or a comment. A text: what is wrong, without repeating the identifier. */
function parseLine(given: string, rules: TsvRules, count: TsvCount): Mapping | string | undefined {
  const { destinations } = rules
  // The form that files have which programs wrote: nothing around the two fields, one tab between them.
  const tab = given.indexOf('\t')
  if (tab > 0 && given.length < SHORT && destinations.has(given.slice(tab + 1)) && !given.startsWith('#') && count.lines > 1) {
    if (!given.includes(' ')) return mappingOf(given.slice(0, tab), given.slice(tab + 1), rules)
  }
  let line = count.lines === 1 && given.startsWith(BOM) ? given.slice(1) : given
  if (line.endsWith('\r')) line = line.slice(0, -1)
  if (line.length * 3 > MAPPING_LINE && Buffer.byteLength(line) > MAPPING_LINE) return `longer than ${MAPPING_LINE} bytes`
  const [identifier = '', destination = '', further] = line.split(/[ \t]+/).slice(/^[ \t]/.test(line) ? 1 : 0)
  if (identifier === '' || identifier.startsWith('#')) return undefined
  if (destination === '') return 'fewer than two fields'
  const mapping = mappingOf(identifier, destination, rules)
  if (typeof mapping !== 'string' && further !== undefined && further !== '') count.furtherFields++
  return mapping
}

function mappingOf(identifier: string, destination: string, { normalize, destinations }: TsvRules): Mapping | string {
  const name = nameOf(identifier, normalize)
  if (typeof name !== 'string') return name.mistake
  if (!destinations.has(destination)) return `destination ${quoted(destination)} is not declared`
  return { identifier: name, destination }
}

function nameOf(identifier: string, normalize: TsvRules['normalize']): string | { readonly mistake: string } {
  try {
    const name = normalizeIdentifier(identifier, { normalize, separators: [] })
    return writable(name) ?? name
  } catch (thrown) {
    const error = asSignalboxError(thrown)
    if (error.code !== 'CLIENT_BAD_IDENTIFIER') throw error
    return { mistake: error.message }
  }
}

/** What would not read back as it was written. */
function writable(name: string): { readonly mistake: string } | undefined {
  if (name.startsWith('#')) return { mistake: 'the name begins with "#", which a mapping file takes for a comment' }
  if (name.startsWith(BOM)) return { mistake: 'the name begins with a byte order mark, which a file does not keep' }
  return undefined
}

/** A name out of a stranger's file, fit for a message. */
function quoted(name: string): string {
  return JSON.stringify(Buffer.from(name).subarray(0, 64).toString()) + (Buffer.byteLength(name) > 64 ? ' …' : '')
}

/**
 * The mappings as lines, in pieces. What the format can't hold (a store is open to others, who may call their accounts what
 * they like) is left out and counted in a comment at the end.
 */
export async function* formatMappings(mappings: AsyncIterable<Mapping>): AsyncGenerator<string, void, undefined> {
  let text = ''
  let leftOut = 0
  for await (const mapping of mappings) {
    const { identifier, destination } = mapping
    if (entryMistake(mapping) !== undefined || writable(identifier) !== undefined) {
      leftOut++
      continue
    }
    text += `${identifier}\t${destination}\n`
    if (text.length < PIECE) continue
    yield text
    text = ''
  }
  if (leftOut > 0) text += `# ${leftOut} left out: this format cannot hold ${leftOut === 1 ? 'its name' : 'their names'}\n`
  if (text !== '') yield text
}
