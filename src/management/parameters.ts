/**
 * The parameters of a request, in query and path, read strictly: percent-decoding that must succeed, a `+` that is a plus
 * (accounts hold some), every one at most once. Unknown parameters are ignored, as the scripts that exist expect it. Reading gives
 * values or the one mistake to answer with; nothing here throws.
 */
import { SignalboxError } from '../errors.ts'
import { DELAY_SECONDS, IDENTIFIER } from '../limits.ts'
import { badParameter, shown } from './answer.ts'
import type { Answer } from './answer.ts'
import type { Operations } from './operations.ts'

/** A value, or the sentence (without the parameter's name) that says why there is none. */
export type Reading<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly mistake: string }

/** One parameter of a route. `schema` is JSON Schema, for the description of the API. */
export interface Parameter<T> {
  readonly description: string
  readonly schema: Readonly<Record<string, unknown>>
  readonly required: boolean
  /** `text` is undefined when the parameter is absent. */
  read(text: string | undefined, operations: Operations): Reading<T>
}

export type Query =
  | { readonly ok: true; readonly values: ReadonlyMap<string, string> }
  | { readonly ok: false; readonly answer: Answer }

/** Splits and decodes what follows the `?` of a request target. */
export function parseQuery(target: string): Query {
  const values = new Map<string, string>()
  const start = target.indexOf('?')
  const query = start < 0 ? '' : target.slice(start + 1)
  for (const piece of query.split('&')) {
    if (piece === '') continue
    const equals = piece.indexOf('=')
    const name = decodePercent(equals < 0 ? piece : piece.slice(0, equals))
    if (name === undefined) return { ok: false, answer: badParameter('query', 'a name is not properly percent-encoded') }
    const value = decodePercent(equals < 0 ? '' : piece.slice(equals + 1))
    if (value === undefined) return { ok: false, answer: badParameter(name, 'is not properly percent-encoded') }
    if (values.has(name)) return { ok: false, answer: badParameter(name, 'is given more than once') }
    values.set(name, value)
  }
  return { ok: true, values }
}

/**
 * Percent-decodes UTF-8. A raw `#` is refused rather than taken for the end: an account cut short is another account.
 * Raw bytes beyond ASCII are refused too, since their encoding is anybody's guess.
 */
export function decodePercent(text: string): string | undefined {
  if (!/^[\x21\x22\x24-\x7e]*$/.test(text)) return undefined
  try {
    return decodeURIComponent(text)
  } catch (thrown) {
    if (thrown instanceof URIError) return undefined
    throw thrown
  }
}

/** An account as it was given and as it is looked up. */
export interface Account {
  readonly given: string
  readonly normalized: string
}

/** Text that is there, without control characters, within the bytes an identifier may have. */
function plainText(text: string | undefined): Reading<string> {
  if (text === undefined) return { ok: false, mistake: 'is missing' }
  if (text === '') return { ok: false, mistake: 'is empty' }
  if (Buffer.byteLength(text) > IDENTIFIER) return { ok: false, mistake: `is longer than ${IDENTIFIER} bytes` }
  if (/[\u0000-\u001f\u007f]/.test(text)) return { ok: false, mistake: 'holds a control character' }
  return { ok: true, value: text }
}

export const identifier: Parameter<Account> = {
  description: 'The account, percent-encoded UTF-8. Normalised as a login is, a master-user suffix is cut.',
  schema: { type: 'string', minLength: 1, maxLength: IDENTIFIER },
  required: true,
  read(text, operations) {
    const plain = plainText(text)
    if (!plain.ok) return plain
    try {
      return { ok: true, value: { given: plain.value, normalized: operations.normalize(plain.value) } }
    } catch (thrown) {
      if (thrown instanceof SignalboxError && thrown.code === 'CLIENT_BAD_IDENTIFIER') {
        return { ok: false, mistake: shown(thrown.message) }
      }
      throw thrown
    }
  },
}

/** A destination's name, declared or not. */
export const destinationName: Parameter<string> = {
  description: 'Name of a destination.',
  schema: { type: 'string', minLength: 1, maxLength: IDENTIFIER },
  required: true,
  read: plainText,
}

/** A destination that the configuration declares. */
export const destination: Parameter<string> = {
  ...destinationName,
  description: 'Name of a destination that the configuration declares.',
  read(text, operations) {
    const plain = plainText(text)
    if (!plain.ok || operations.destinationNames().includes(plain.value)) return plain
    return { ok: false, mistake: `no destination "${shown(plain.value)}" is declared` }
  },
}

export const seconds: Parameter<number> = {
  description: `Whole seconds, at least 1; more than ${DELAY_SECONDS} is taken as ${DELAY_SECONDS}.`,
  schema: { type: 'integer', minimum: 1 },
  required: true,
  read(text) {
    if (text === undefined) return { ok: false, mistake: 'is missing' }
    if (text === '') return { ok: false, mistake: 'is empty' }
    // No sign, no exponent, no fraction. The number of digits doesn't matter: whatever they say is above the bound.
    if (!/^[0-9]+$/.test(text) || /^0+$/.test(text)) return { ok: false, mistake: 'must be a whole number from 1' }
    return { ok: true, value: Math.min(Number(text), DELAY_SECONDS) }
  },
}

/** An instance's name, known or not. */
export const instance: Parameter<string> = {
  description: 'Name of an instance of the fleet.',
  schema: { type: 'string', minLength: 1, maxLength: IDENTIFIER },
  required: true,
  read: plainText,
}

/** Text without control characters. */
export const text: Parameter<string> = {
  description: 'Text.',
  schema: { type: 'string', minLength: 1, maxLength: IDENTIFIER },
  required: true,
  read: plainText,
}

/** A whole number within bounds, both included. */
export function wholeNumber(least: number, most: number, description: string): Parameter<number> {
  return {
    description,
    schema: { type: 'integer', minimum: least, maximum: most },
    required: true,
    read(given) {
      if (given === undefined) return { ok: false, mistake: 'is missing' }
      const value = /^[0-9]{1,15}$/.test(given) ? Number(given) : Number.NaN
      if (value >= least && value <= most) return { ok: true, value }
      return { ok: false, mistake: `must be a whole number from ${least} to ${most}` }
    },
  }
}

/** One of a few words. */
export function choice<const T extends string>(words: readonly T[], description: string): Parameter<T> {
  return {
    description,
    schema: { type: 'string', enum: words },
    required: true,
    read(given) {
      const word = words.find((one) => one === given)
      if (word !== undefined) return { ok: true, value: word }
      return { ok: false, mistake: given === undefined ? 'is missing' : `must be ${words.map((one) => `"${one}"`).join(' or ')}` }
    },
  }
}

/** `workers=all`: the answer of every worker besides. */
export const everyWorker: Parameter<boolean> = {
  description: '`all`: adds the answer of every worker.',
  schema: { type: 'string', enum: ['all'] },
  required: false,
  read(text) {
    if (text === undefined) return { ok: true, value: false }
    return text === 'all' ? { ok: true, value: true } : { ok: false, mistake: 'must be "all" when it is given' }
  },
}

/** The same parameter, but it may be left out. Given and empty is still a mistake. */
export function optional<T>(parameter: Parameter<T>): Parameter<T | undefined> {
  return {
    ...parameter,
    required: false,
    read: (text, operations) => (text === undefined ? { ok: true, value: undefined } : parameter.read(text, operations)),
  }
}
