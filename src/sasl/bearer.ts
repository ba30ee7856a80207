/**
 * What OAUTHBEARER (RFC 7628 §3.1) and XOAUTH2 (Google's and Microsoft's older form) share: key=value pairs, each
 * ended by ^A, the list ended by one more, and the token in `auth=Bearer …` (RFC 6750 §2.1). An empty `auth`, with
 * which RFC 7628 lets a client ask for discovery, is malformed here: there is nothing in it that could be routed.
 */
const SEPARATOR = '\u0001'
const KEY = /^[A-Za-z]+$/
/** RFC 6750 b64token, loosened to any visible ASCII: tokens are opaque, but hold no space and no control. */
const AUTHORIZATION = /^bearer +([\x21-\x7e]+)$/i

/** Reads `key=value^A … ^A`; undefined: malformed (a key twice, no `=`, not ended as it should be). Keys are lower-case. */
export function readPairs(text: string): ReadonlyMap<string, string> | undefined {
  if (!text.endsWith(SEPARATOR + SEPARATOR)) return undefined
  const pairs = new Map<string, string>()
  for (const pair of text.slice(0, -2).split(SEPARATOR)) {
    const equals = pair.indexOf('=')
    if (equals < 0) return undefined
    const key = pair.slice(0, equals)
    const name = key.toLowerCase()
    if (!KEY.test(key) || pairs.has(name)) return undefined
    pairs.set(name, pair.slice(equals + 1))
  }
  return pairs
}

/** The token in the value of `auth`; undefined: none, or another scheme than Bearer. */
export function bearerToken(auth: string | undefined): string | undefined {
  return auth === undefined ? undefined : AUTHORIZATION.exec(auth)?.[1]
}

/** Whether a name holds what a login name never may: NUL or a line break. */
export function breaksLine(name: string): boolean {
  return /[\0\r\n]/.test(name)
}
