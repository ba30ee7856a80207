/**
 * The identifier: the name under which an account is looked up. Login names, API parameters, mapping lines, kicks and
 * invalidations all come through here, so that one account has one name everywhere.
 */
import { SignalboxError } from '../errors.ts'
import { IDENTIFIER } from '../limits.ts'

export interface IdentifierRules {
  /** `mapping.normalize`. */
  readonly normalize: 'none' | 'lowercase'
  /** `routing.master_user_separators`; empty: nothing is cut. */
  readonly separators: readonly string[]
}

/** C0 controls and space, double quote, DEL and C1 controls. */
const FORBIDDEN = /[\u0000-\u0020"\u007f-\u009f]/

/**
 * Cuts the master-user suffix at the first occurrence of any separator, normalises, checks. Throws
 * CLIENT_BAD_IDENTIFIER with a reason that doesn't repeat the name.
 */
export function normalizeIdentifier(name: string, rules: IdentifierRules): string {
  const cut = withoutMasterUser(name, rules.separators)
  const identifier = rules.normalize === 'lowercase' ? cut.toLowerCase() : cut
  if (identifier === '') throw refuse('the name is empty')
  // A code unit takes at most three bytes: most names needn't be measured.
  if (identifier.length * 3 > IDENTIFIER && Buffer.byteLength(identifier) > IDENTIFIER) {
    throw refuse(`the name is longer than ${IDENTIFIER} bytes`)
  }
  if (FORBIDDEN.test(identifier)) throw refuse('the name holds a control character, a space or a double quote')
  // A lone surrogate has no UTF-8: two such names would become one in a file or a store.
  if (!identifier.isWellFormed()) throw refuse('the name is not well-formed Unicode')
  return identifier
}

function withoutMasterUser(name: string, separators: readonly string[]): string {
  let end = name.length
  for (const separator of separators) {
    const found = separator === '' ? -1 : name.indexOf(separator)
    if (found >= 0 && found < end) end = found
  }
  return end === name.length ? name : name.slice(0, end)
}

function refuse(reason: string): SignalboxError {
  return new SignalboxError('CLIENT_BAD_IDENTIFIER', reason)
}
