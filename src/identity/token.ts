/**
 * An account's name out of a bearer token. The token is *not* verified: the backend does that, and a name chooses a
 * backend and nothing else. So all that counts here is that no token, however made, does harm: its size is bounded,
 * its claims are data (own properties, strings), and whatever can't be read is simply no name.
 */
import { isUtf8 } from 'node:buffer'
import { TOKEN } from '../limits.ts'

const SW1 = 'sw1.'
const BASE64URL = /^[A-Za-z0-9_-]+$/
/** Asked in this order after the configured claim. */
const CLAIMS = ['email', 'preferred_username', 'upn', 'unique_name', 'sub'] as const

/**
 * The name in a token, or undefined. `sw1.` tokens: what stands behind the second dot, in unpadded base64url.
 * Otherwise a JWT (RFC 7519): of `claim` and CLAIMS the first that is a string with an `@`.
 */
export function identityFromToken(token: string, claim: string): string | undefined {
  if (token.length > TOKEN) return undefined
  const first = token.indexOf('.')
  const second = token.indexOf('.', first + 1)
  if (first < 0) return undefined
  if (token.startsWith(SW1)) return second < 0 ? undefined : decodePart(token, second + 1)
  const payload = decodePart(token, first + 1)
  return payload === undefined ? undefined : fromClaims(payload, claim)
}

/** The text of the part that begins at `begin` and ends at the next dot or the end. */
function decodePart(token: string, begin: number): string | undefined {
  const dot = token.indexOf('.', begin)
  const part = token.slice(begin, dot < 0 ? undefined : dot)
  if (!BASE64URL.test(part) || part.length % 4 === 1) return undefined
  const bytes = Buffer.from(part, 'base64url')
  return isUtf8(bytes) ? bytes.toString() : undefined
}

function fromClaims(payload: string, claim: string): string | undefined {
  const claims = parseObject(payload)
  if (claims === undefined) return undefined
  for (const name of [claim, ...CLAIMS]) {
    const value = Object.getOwnPropertyDescriptor(claims, name)?.value
    if (typeof value === 'string' && value.includes('@')) return value
  }
  return undefined
}

/** The object in a JSON text; undefined when it is anything else. */
function parseObject(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined
  } catch {
    // Not JSON: an opaque token, which is nothing out of the ordinary.
    return undefined
  }
}
