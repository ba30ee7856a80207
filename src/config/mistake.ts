/**
 * What is wrong with a configuration, as data: where, what was found, what would be right, and the nearest thing
 * that exists. All mistakes of a file are collected before anything is refused, so that one run shows them all.
 * Values of keys that hold secrets are never part of a mistake.
 */

/** One mistake. `path` is the key as it would be written in TOML, or an environment variable's name. */
export interface Mistake {
  readonly path: string
  /** What is wrong, as a part of a sentence. */
  readonly message: string
  /** The value that stood there, shortened; absent where nothing stood or it is a secret. */
  readonly found?: string
  /** What may stand there. */
  readonly allowed?: string
  /** The nearest known key or name. */
  readonly suggestion?: string
  /** Place in the file, 1-based; only syntax mistakes have one. */
  readonly line?: number
  readonly column?: number
}

/** Where the checks put what they find. Warnings are whole sentences. */
export interface Report {
  readonly mistakes: Mistake[]
  readonly warnings: string[]
}

/** The longest piece of a value that a message repeats. */
const SHOWN = 60

/** A value as it may stand in a message: on one line, bounded, control and direction characters escaped. */
export function show(value: unknown): string {
  if (typeof value === 'string') {
    const short = value.length > SHOWN ? `${value.slice(0, SHOWN)}…` : value
    return escapeUnprintable(JSON.stringify(short))
  }
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') return String(value)
  if (value instanceof Date) return 'a date'
  if (Array.isArray(value)) {
    if (value.length === 0) return 'an empty list'
    const inner = value.every((item) => typeof item === 'string' || typeof item === 'number')
    const text = inner ? `[${value.map(show).join(', ')}]` : ''
    return inner && text.length <= SHOWN ? text : `a list of ${value.length}`
  }
  return 'a table'
}

/** Path segments as TOML writes them: bare where possible, quoted otherwise. */
export function pathText(segments: readonly string[]): string {
  return segments
    .map(
      (segment) => (/^[A-Za-z0-9_-]+(\[\d+\])?$/.test(segment) ? segment : escapeUnprintable(JSON.stringify(segment))),
    )
    .join('.')
}

/** One mistake on one line, ready for a terminal or a log. */
export function mistakeText(mistake: Mistake): string {
  const place = mistake.line === undefined ? '' : `line ${mistake.line}, column ${mistake.column ?? 1}: `
  let text = `${mistake.path === '' ? '' : `${mistake.path}: `}${place}${mistake.message}`
  if (mistake.found !== undefined) text += `; found ${mistake.found}`
  if (mistake.allowed !== undefined) text += `; allowed: ${mistake.allowed}`
  if (mistake.suggestion !== undefined) text += `; did you mean "${mistake.suggestion}"?`
  return text
}

/** Characters that would move the cursor, hide text or turn its direction around. */
function escapeUnprintable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (character) => {
    return `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`
  })
}
