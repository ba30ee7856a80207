/**
 * The formats of the configuration's keys. A format is registered with convict under the sentence that tells what it
 * allows; the same sentence stands in mistakes and in the documentation, so they can't differ. Formats judge values
 * as TOML gave them and convert nothing: convict would otherwise turn "12" into 12 without a word.
 */
import convict from 'convict'

/** What a key's format is: `allowed` is its name in convict's registry. */
export interface Format {
  readonly allowed: string
  /** Undefined: right. Otherwise the reason, or '' when "not allowed" says it all. */
  check(value: unknown): string | undefined
  /** The value is a TOML table, handed to `check` as a list of [key, value] pairs in the order of the file. */
  readonly table?: true
  /** The words of a closed list, for suggestions. */
  readonly words?: readonly string[]
}

const registry = new Map<string, Format>()

/** Makes a format known to convict. The same sentence twice is the same format: the first stays. */
export function format(
  allowed: string,
  check: (value: unknown) => string | undefined,
  facts: Pick<Format, 'table' | 'words'> = {},
): Format {
  const known = registry.get(allowed)
  if (known !== undefined) return known
  const made: Format = { allowed, check, ...facts }
  registry.set(allowed, made)
  convict.addFormat({
    name: allowed,
    validate: (value: unknown) => {
      const reason = check(value)
      if (reason !== undefined) throw new TypeError(reason === '' ? 'not allowed' : reason)
    },
  })
  return made
}

/** The format that was registered under this sentence. */
export function formatOf(allowed: string): Format | undefined {
  return registry.get(allowed)
}

/** One of a closed list of words. */
export function oneOf(...words: readonly string[]): Format {
  return format(
    listed(words),
    (value) => (typeof value === 'string' && words.includes(value) ? undefined : ''),
    { words },
  )
}

/** A whole number within bounds, both included. */
export function wholeNumber(least: number, most: number = Number.MAX_SAFE_INTEGER): Format {
  const range = most === Number.MAX_SAFE_INTEGER ? `${least} or more` : `${least} to ${most}`
  return format(`a whole number, ${range}`, (value) => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) return 'not a whole number'
    return value < least || value > most ? 'out of range' : undefined
  })
}

/** A list of what another format allows; `unique`: no item twice, `least`: at least that many. */
export function listOf(item: Format, options: { unique?: boolean; least?: number; plural: string }): Format {
  const { unique = false, least = 0, plural } = options
  const notes = [...(least > 0 ? [`at least ${least}`] : []), ...(unique ? ['none twice'] : [])]
  return format(`a list of ${plural}${notes.length > 0 ? ` (${notes.join(', ')})` : ''}`, (value) => {
    if (!Array.isArray(value)) return 'not a list'
    if (value.length < least) return 'too few'
    const seen = new Set<unknown>()
    for (const [index, entry] of value.entries()) {
      const reason = item.check(entry)
      if (reason !== undefined) return `item ${index + 1}: ${reason === '' ? `not ${item.allowed}` : reason}`
      if (unique && seen.has(entry)) return `item ${index + 1} stands there twice`
      seen.add(entry)
    }
    return undefined
  })
}

/** A format over texts. */
export function textFormat(allowed: string, check: (text: string) => string | undefined): Format {
  return format(allowed, (value) => (typeof value === 'string' ? check(value) : 'not a text in quotes'))
}

export const FLAG = format('true or false', (value) => (typeof value === 'boolean' ? undefined : ''))

/** `"a", "b" or "c"`. */
export function listed(words: readonly string[]): string {
  const quoted = words.map((word) => `"${word}"`)
  const last = quoted.pop() ?? ''
  return quoted.length === 0 ? last : `${quoted.join(', ')} or ${last}`
}
