/**
 * The mistakes of a mapping file or an import, as the cause of a SOURCE_INVALID. The first MAPPING_MISTAKES are named
 * with their lines, the rest is counted. Messages quote destinations but never identifiers: they end in logs, where
 * accounts are redacted.
 */
import { SignalboxError } from '../errors.ts'
import { MAPPING_MISTAKES } from '../limits.ts'
import type { MappingMistake } from './source.ts'

/** The cause of a SOURCE_INVALID error. */
export interface MappingMistakes {
  /** The first ones, in the order of their lines. */
  readonly mistakes: readonly MappingMistake[]
  /** How many there are besides. */
  readonly more: number
}

/** Collects mistakes, keeping the first MAPPING_MISTAKES. */
export class MistakeList implements MappingMistakes {
  readonly mistakes: MappingMistake[] = []
  more = 0

  add(line: number, message: string): void {
    if (this.mistakes.length < MAPPING_MISTAKES) this.mistakes.push({ line, message })
    else this.more++
  }

  get total(): number {
    return this.mistakes.length + this.more
  }
}

/** A SOURCE_INVALID whose message names `what` (a path, "import") and every collected mistake. */
export function invalidMapping(what: string, found: MappingMistakes): SignalboxError {
  const named = found.mistakes.map(({ line, message }) => `line ${line}: ${message}`)
  if (found.more > 0) named.push(`and ${found.more} more`)
  const cause: MappingMistakes = { mistakes: found.mistakes, more: found.more }
  return new SignalboxError('SOURCE_INVALID', `${what}: ${named.join('; ')}`, { cause })
}

/** The mistakes that a SOURCE_INVALID carries; undefined for every other error, and where no line is to blame. */
export function mistakesOf(error: unknown): MappingMistakes | undefined {
  if (!(error instanceof SignalboxError) || error.code !== 'SOURCE_INVALID') return undefined
  const cause = error.cause
  if (typeof cause !== 'object' || cause === null || !('mistakes' in cause) || !('more' in cause)) return undefined
  return Array.isArray(cause.mistakes) && typeof cause.more === 'number'
    ? { mistakes: cause.mistakes, more: cause.more }
    : undefined
}
