/**
 * The OAUTHBEARER mechanism (RFC 7628): a GS2 header (`n,a=user@example.com,`), then the pairs of bearer.ts. The
 * message is repeated to the backend as it came; here it is only read for routing.
 */
import { isUtf8 } from 'node:buffer'
import type { Credentials } from '../protocol/protocol.ts'
import { bearerToken, breaksLine, readPairs } from './bearer.ts'

/** RFC 5801 gs2-header, without channel binding (a proxy would break it): `n` or `y`, an authzid or none. */
const HEADER = /^[ny],(?:a=((?:[^=,\0\u0001]|=2C|=3D)+))?,\u0001/

/** Reads a decoded message; undefined: malformed. The message is kept as it is (the buffer is not copied). */
export function decodeOauthBearer(message: Buffer): Credentials | undefined {
  if (!isUtf8(message)) return undefined
  const text = message.toString()
  const header = HEADER.exec(text)
  if (header === null) return undefined
  const token = bearerToken(readPairs(text.slice(header[0].length))?.get('auth'))
  if (token === undefined) return undefined
  const user = header[1]?.replaceAll('=2C', ',').replaceAll('=3D', '=')
  if (user !== undefined && breaksLine(user)) return undefined
  return { kind: 'token', mechanism: 'OAUTHBEARER', message, user, token }
}
