/**
 * The XOAUTH2 mechanism (developers.google.com/gmail/imap/xoauth2-protocol): `user=…^Aauth=Bearer …^A^A`. Like
 * OAUTHBEARER without a GS2 header; the message is repeated to the backend as it came.
 */
import { isUtf8 } from 'node:buffer'
import type { Credentials } from '../protocol/protocol.ts'
import { bearerToken, breaksLine, readPairs } from './bearer.ts'

/** Reads a decoded message; undefined: malformed. A missing or empty `user` is none: the token may name it. */
export function decodeXoauth2(message: Buffer): Credentials | undefined {
  if (!isUtf8(message)) return undefined
  const pairs = readPairs(message.toString())
  const token = bearerToken(pairs?.get('auth'))
  if (token === undefined) return undefined
  const user = pairs?.get('user') || undefined
  if (user !== undefined && breaksLine(user)) return undefined
  return { kind: 'token', mechanism: 'XOAUTH2', message, user, token }
}
