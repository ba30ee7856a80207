/**
 * The bearer token (RFC 6750 §2.1) and its comparison. Both sides are hashed first, so that the comparison has equal
 * lengths and takes the same time whatever was sent: neither the length of the token nor a common beginning shows.
 */
import { createHash, timingSafeEqual } from 'node:crypto'

export interface TokenCheck {
  /** `presented` are the Authorization headers of a request, as they came. */
  check(presented: readonly string[]): 'right' | 'missing' | 'malformed' | 'wrong'
}

/** One scheme, blanks, one token without blanks. */
const BEARER = /^bearer +([^\s]+) *$/i

/** A check against `token`, of which only the digest is kept. */
export function tokenCheck(token: string): TokenCheck {
  const expected = digest(Buffer.from(token, 'utf8'))
  return {
    check(presented) {
      if (presented.length === 0) return 'missing'
      const header = presented[0]
      // Several headers are ambiguous: which of them an intermediary has looked at can't be known.
      if (presented.length > 1 || header === undefined) return 'malformed'
      const found = BEARER.exec(header)?.[1]
      if (found === undefined) return 'malformed'
      // Node gives header bytes as latin1; turned back they are the bytes that were sent.
      return timingSafeEqual(digest(Buffer.from(found, 'latin1')), expected) ? 'right' : 'wrong'
    },
  }
}

function digest(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest()
}
