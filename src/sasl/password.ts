/**
 * Password credentials, whichever way they came (PLAIN, LOGIN, an IMAP LOGIN command, POP3 USER/PASS). One gate for
 * all: what passes it can be replayed as a PLAIN message of at most SASL_LINE bytes of base64, without a NUL that
 * would shift its fields and without a line break (RFC 4616 §2).
 */
import { isUtf8 } from 'node:buffer'
import { SASL_LINE } from '../limits.ts'
import type { Credentials } from '../protocol/protocol.ts'

export type PasswordCredentials = Extract<Credentials, { kind: 'password' }>

/** Bytes of a SASL message whose base64 has SASL_LINE bytes. */
export const SASL_MESSAGE = (SASL_LINE / 4) * 3

/**
 * Checks and gathers. Names must be UTF-8, the password may be any bytes (old clients of LOGIN commands send
 * Latin-1); name and password are not empty; none holds NUL, CR or LF. The buffers are copied.
 * Undefined: malformed.
 */
export function passwordCredentials(
  authzid: Buffer,
  authcid: Buffer,
  password: Buffer,
): PasswordCredentials | undefined {
  if (authcid.length === 0 || password.length === 0) return undefined
  if (authzid.length + authcid.length + password.length + 2 > SASL_MESSAGE) return undefined
  if (breaksOut(authzid) || breaksOut(authcid) || breaksOut(password)) return undefined
  if (!isUtf8(authzid) || !isUtf8(authcid)) return undefined
  return {
    kind: 'password',
    authzid: authzid.toString(),
    authcid: authcid.toString(),
    password: Buffer.from(password),
  }
}

function breaksOut(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (byte === 0 || byte === 0x0a || byte === 0x0d) return true
  }
  return false
}
