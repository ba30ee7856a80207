/**
 * Which identifiers a mapping file can carry: every valid one (identity/identifier.ts), except that a `#` at the
 * beginning would read back as a comment and a byte order mark as nothing. Refusing them is better than losing them.
 */
import { SignalboxError } from '../../errors.ts'
import { normalizeIdentifier } from '../../identity/identifier.ts'
import type { Normalize } from './parser.ts'

/** The identifier as it is written. Throws CLIENT_BAD_IDENTIFIER with a reason that doesn't repeat it. */
export function storable(identifier: string, normalize: Normalize): string {
  const name = normalizeIdentifier(identifier, { normalize, separators: [] })
  if (name.startsWith('#')) {
    throw new SignalboxError('CLIENT_BAD_IDENTIFIER', 'the name begins with "#", which a mapping file takes for a comment')
  }
  if (name.startsWith('\ufeff')) {
    throw new SignalboxError('CLIENT_BAD_IDENTIFIER', 'the name begins with a byte order mark, which a file does not keep')
  }
  return name
}
