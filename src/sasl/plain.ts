/**
 * The PLAIN mechanism (RFC 4616): `[authzid] NUL authcid NUL password`, UTF-8. Read from clients, written to backends.
 */
import { isUtf8 } from 'node:buffer'
import { SignalboxError } from '../errors.ts'
import { type PasswordCredentials, passwordCredentials } from './password.ts'

/** Reads a decoded message; undefined: malformed (not two NULs, empty name or password, no UTF-8, a line break). */
export function decodePlain(message: Buffer): PasswordCredentials | undefined {
  const first = message.indexOf(0)
  if (first < 0) return undefined
  const second = message.indexOf(0, first + 1)
  if (second < 0 || !isUtf8(message)) return undefined
  return passwordCredentials(
    message.subarray(0, first),
    message.subarray(first + 1, second),
    message.subarray(second + 1),
  )
}

/** Writes the message for a backend. Throws INTERNAL when a field would break out of its place. */
export function encodePlain(credentials: PasswordCredentials): Buffer {
  const { authzid, authcid, password } = credentials
  if (authzid.includes('\0') || authcid.includes('\0') || password.includes(0)) {
    throw new SignalboxError('INTERNAL', 'a NUL in credentials')
  }
  return Buffer.concat([Buffer.from(`${authzid}\0${authcid}\0`), password])
}
