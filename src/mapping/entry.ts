/**
 * What an import or a put may hand to a store: identifiers that a login could ask for, and destinations that are names at
 * all. Whether a destination is declared is the caller's to check; it knows the configuration.
 */
import { SignalboxError } from '../errors.ts'
import { IDENTIFIER, MAPPING_VALUE } from '../limits.ts'
import type { Mapping } from './source.ts'

/** C0 controls and space, double quote, DEL and C1 controls: as identity/identifier.ts refuses them. */
const FORBIDDEN = /[\u0000-\u0020"\u007f-\u009f]/
const UNPRINTABLE = /[\u0000-\u0020\u007f-\u009f]/

/** Undefined: fine. Else what is wrong, without repeating the identifier. */
export function entryMistake({ identifier, destination }: Mapping): string | undefined {
  if (identifier === '') return 'the identifier is empty'
  if (Buffer.byteLength(identifier) > IDENTIFIER) return `the identifier is longer than ${IDENTIFIER} bytes`
  if (FORBIDDEN.test(identifier)) return 'the identifier holds a control character, a space or a double quote'
  if (!identifier.isWellFormed()) return 'the identifier is not well-formed Unicode'
  if (destination === '') return 'the destination is empty'
  if (UNPRINTABLE.test(destination) || !destination.isWellFormed()) return 'the destination holds a character that no name has'
  if (Buffer.byteLength(destination) > MAPPING_VALUE) return `the destination is longer than ${MAPPING_VALUE} bytes`
  return undefined
}

/** Throws SOURCE_INVALID unless both are fit to be stored. */
export function checkEntry(identifier: string, destination: string): void {
  const mistake = entryMistake({ identifier, destination })
  if (mistake !== undefined) throw new SignalboxError('SOURCE_INVALID', mistake)
}

/**
 * Whether only a store can hold an account of this name, since a file would read it as a comment, or lose its byte order
 * mark. No import can name it, so that none that replaces everything may remove it.
 */
export function onlyInStores(identifier: string): boolean {
  return identifier.startsWith('#') || identifier.startsWith('\ufeff')
}
