/**
 * A list of accounts in a request's body, read as it comes: a JSON array of strings when its first character is a `[`,
 * otherwise one account a line (blank lines are skipped, CRLF is fine). One account at a time is kept, so that the list may
 * have any length; what comes before a mistake has been given out by then.
 */
import { SignalboxError } from '../errors.ts'
import { IDENTIFIER } from '../limits.ts'

/** An account as JSON writes it at its longest: `\u` and four digits for each of its bytes. */
const LONGEST = IDENTIFIER * 6

/**
 * The accounts in their order, as they stand there. Throws CLIENT_PROTOCOL, naming the place, for what is no such list: not
 * UTF-8, JSON that is none or holds something else, an entry longer than any account. Throws what `body` does.
 */
export async function* readIdentifiers(body: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  let reader: Reader | undefined
  for await (const piece of decoded(body)) {
    const text = reader === undefined ? piece.trimStart() : piece
    if (text === '') continue
    reader ??= text.startsWith('[') ? new JsonReader() : new LineReader()
    yield* reader.read(text)
  }
  if (reader !== undefined) yield* reader.end()
}

async function* decoded(body: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const decode = (piece?: Uint8Array): string => {
    try {
      return piece === undefined ? decoder.decode() : decoder.decode(piece, { stream: true })
    } catch (cause) {
      throw new SignalboxError('CLIENT_PROTOCOL', 'the list is not UTF-8', { cause })
    }
  }
  for await (const piece of body) yield decode(piece)
  yield decode()
}

interface Reader {
  read(text: string): Generator<string, void, undefined>
  end(): Iterable<string>
}

class LineReader implements Reader {
  #rest = ''
  #line = 1

  #tooLong(): SignalboxError {
    return new SignalboxError('CLIENT_PROTOCOL', `line ${this.#line} of the list is longer than any account`)
  }

  *read(text: string): Generator<string, void, undefined> {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      yield* this.#entry(line)
      this.#line++
    }
    if (this.#rest.length > LONGEST) throw this.#tooLong()
  }

  *end(): Generator<string, void, undefined> {
    yield* this.#entry(this.#rest)
  }

  *#entry(line: string): Generator<string, void, undefined> {
    if (line.length > LONGEST) throw this.#tooLong()
    const entry = line.trim()
    if (entry !== '') yield entry
  }
}

/** What may come next. */
type Expected = 'start' | 'entry or end' | 'entry' | 'in entry' | 'comma or end' | 'nothing'

class JsonReader implements Reader {
  #expected: Expected = 'start'
  /** The entry so far, between its quotes. */
  #entry = ''
  #escaped = false
  #count = 0

  #add(character: string): void {
    this.#escaped = !this.#escaped && character === '\\'
    this.#entry += character
    if (this.#entry.length > LONGEST) throw this.#mistake('an entry is longer than any account')
  }

  *read(text: string): Generator<string, void, undefined> {
    for (const character of text) {
      if (this.#expected === 'in entry') {
        if (this.#escaped || character !== '"') this.#add(character)
        else yield this.#finish()
      } else if (!/[ \t\r\n]/.test(character)) this.#punctuation(character)
    }
  }

  end(): readonly string[] {
    if (this.#expected !== 'nothing') throw this.#mistake('it breaks off')
    return []
  }

  #finish(): string {
    this.#expected = 'comma or end'
    const text = `"${this.#entry}"`
    this.#entry = ''
    this.#count++
    try {
      return String(JSON.parse(text))
    } catch (cause) {
      throw new SignalboxError('CLIENT_PROTOCOL', `entry ${this.#count} of the list is no JSON string`, { cause })
    }
  }

  #punctuation(character: string): void {
    const next = NEXT[this.#expected][character]
    if (next === undefined) throw this.#mistake(`${JSON.stringify(character)} is out of place: it must be a JSON array of strings`)
    this.#expected = next
  }

  #mistake(what: string): SignalboxError {
    return new SignalboxError('CLIENT_PROTOCOL', `the list is bad after ${this.#count} entries: ${what}`)
  }
}

const NEXT: Readonly<Record<Expected, Readonly<Record<string, Expected>>>> = {
  start: { '[': 'entry or end' },
  'entry or end': { '"': 'in entry', ']': 'nothing' },
  entry: { '"': 'in entry' },
  'in entry': {},
  'comma or end': { ',': 'entry', ']': 'nothing' },
  nothing: {},
}
