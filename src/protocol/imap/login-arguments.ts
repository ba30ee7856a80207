/**
 * The arguments of the two commands that log in (RFC 9051 §6.2.2, §6.2.3). Grammar only: what they mean, and whether
 * they are welcome, is the dialogue's.
 */
import type { ArgumentScanner } from './wire.ts'

/** `SP astring SP astring`: views, unescaped. Undefined: a syntax error. */
export function readLogin(scanner: ArgumentScanner): { readonly name: Buffer; readonly password: Buffer } | undefined {
  const name = scanner.space() ? scanner.astring() : undefined
  if (name === undefined) return undefined
  const password = scanner.space() ? scanner.astring() : undefined
  return password !== undefined && scanner.done ? { name, password } : undefined
}

/** `SP mechanism [SP initial-response]`: the response as written (base64 or `=`), a view. Undefined: a syntax error. */
export function readAuthenticate(
  scanner: ArgumentScanner,
): { readonly mechanism: string; readonly initial: Buffer | undefined } | undefined {
  const mechanism = scanner.space() ? scanner.astring()?.toString('latin1') : undefined
  if (mechanism === undefined) return undefined
  if (!scanner.space()) return scanner.done ? { mechanism, initial: undefined } : undefined
  const initial = scanner.atom()
  return initial !== undefined && scanner.done ? { mechanism, initial } : undefined
}
