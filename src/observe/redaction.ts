/**
 * What of a stranger's text may stand in a log. Accounts are shortened to their first two characters and a keyed hash,
 * so that lines about one account can be found together (in the whole fleet, with one key) by whoever knows the account,
 * and by nobody else; URLs lose their passwords; control characters become visible escapes. The trade-off: 48 bits of
 * hash are few enough to read and enough to tell a million accounts apart with one chance in five hundred of a clash.
 */
import { createHmac } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { REDACTIONS_REMEMBERED } from '../limits.ts'

/** Turns an account into what a log may say of it. */
export type Redactor = (account: string) => string

export interface RedactionOptions {
  readonly accounts: 'redacted' | 'full'
  /** Key of the hash; the same on every instance whose logs shall agree. */
  readonly redactionKey: string
}

/** Hex digits of the keyed hash. */
const HASH_DIGITS = 12

/**
 * Makes the redactor of a process. "redacted": `al…` becomes `al*3f9a1c2b7d40` (two characters, `*`, 12 hex digits of
 * HMAC-SHA256). "full": the account itself, made printable. Answers are remembered, as a login asks twice.
 */
export function createRedactor(options: RedactionOptions): Redactor {
  if (options.accounts === 'full') return printable
  const key = Buffer.from(options.redactionKey, 'utf8')
  const remembered = new LRUCache<string, string>({ max: REDACTIONS_REMEMBERED })
  return (account) => {
    const known = remembered.get(account)
    if (known !== undefined) return known
    const hash = createHmac('sha256', key).update(account, 'utf8').digest('hex').slice(0, HASH_DIGITS)
    const redacted = `${printable(firstCharacters(account, 2))}*${hash}`
    remembered.set(account, redacted)
    return redacted
  }
}

/** The first `count` characters (code points, so that no surrogate pair is torn). */
function firstCharacters(text: string, count: number): string {
  let end = 0
  for (let taken = 0; taken < count && end < text.length; taken++) {
    end += (text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1
  }
  return text.slice(0, end)
}

/* C0, DEL, C1 (8-bit terminals obey it), line and paragraph separators, and the marks that turn the writing direction. */
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

/** The text with every control character as a visible `\uXXXX`, so that it can neither break a line nor steer a terminal. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

const SCHEME = /[a-z][a-z0-9+.-]*:\/\/[^\s"'<>]*/gi
const SECRET_PARAMETER = /([?&;][^=&;]*(?:pass|secret|token|key)[^=&;]*=)[^&;]*/gi

/**
 * A URL without its password: `redis://user:***@host/0`. Works on text rather than on URL objects because lists of hosts
 * (`redis+sentinel://:pw@a:1,b:2/name`) and passwords with unescaped `/` or `@` are no valid URLs, and those leak first.
 */
export function redactUrl(url: string): string {
  const start = url.indexOf('://') + 3
  if (start < 3) return url
  const rest = url.slice(start)
  const authority = rest.search(/[/?#]/)
  let at = (authority < 0 ? rest : rest.slice(0, authority)).lastIndexOf('@')
  // An unescaped `/`, `?` or `#` in the password ends the authority early: then the last @ of all ends the user part.
  if (at < 0 && rest.slice(0, Math.max(0, authority)).includes(':')) at = rest.lastIndexOf('@')
  const user = at < 0 ? '' : rest.slice(0, at)
  const tail = (at < 0 ? rest : rest.slice(at + 1)).replace(SECRET_PARAMETER, '$1***')
  if (at < 0) return `${url.slice(0, start)}${tail}`
  const colon = user.indexOf(':')
  return `${url.slice(0, start)}${colon < 0 ? user : `${user.slice(0, colon)}:***`}@${tail}`
}

/** Every URL inside a text, as redactUrl does it. */
export function redactUrls(text: string): string {
  return text.includes('://') ? text.replace(SCHEME, redactUrl) : text
}
