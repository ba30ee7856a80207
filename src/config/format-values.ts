/**
 * The formats that know something of their subject: time, size, network, TLS, URLs, protocol words. Each has a good
 * and a bad case in its test.
 */
import { LONGEST_TIMER, durationText, parseDuration, parseSize } from './duration.ts'
import { isAddress, isHostName, parseCidr, parseSocketAddress } from './address.ts'
import { FLAG, format, listOf, oneOf, textFormat, type Format } from './format.ts'
import { globMistake } from './glob.ts'
import { parseRedisUrl } from './redis-url.ts'
import { parseSqlUrl } from './sql-url.ts'
import { SignalboxError } from '../errors.ts'
import { CIPHER_SUITES, cipherSuiteName } from '../tls/policy.ts'

export { FLAG }

/** Ten years: beyond it a number is a slip of the pen. */
const LONGEST_LIFE = 3_650 * 86_400_000

/** A duration that a timer waits for. */
export function duration(least: string = '0s'): Format {
  return bounded(least, LONGEST_TIMER)
}

/** A duration that only ages are compared with, so that it may exceed what a timer can wait. */
export function lifetime(least: string = '0s'): Format {
  return bounded(least, LONGEST_LIFE)
}

function bounded(least: string, most: number): Format {
  const from = parseDuration(least)
  const lower = from.ok ? from.value : 0
  const upper = most === LONGEST_TIMER ? '24d' : durationText(most)
  return textFormat(`a duration with its unit (ms, s, m, h, d), ${least} to ${upper}`, (text) => {
    const parsed = parseDuration(text)
    if (!parsed.ok) return parsed.reason
    return parsed.value < lower || parsed.value > most ? 'out of range' : undefined
  })
}

/** A size between two others, as bytes or with kb or mb. */
export function size(least: string, most: string): Format {
  const [from, to] = [parseSize(least), parseSize(most)]
  return format(`a size in bytes or with kb or mb, ${least} to ${most}`, (value) => {
    if (typeof value !== 'number' && typeof value !== 'string') return 'not a size'
    const parsed = parseSize(String(value))
    if (!parsed.ok) return parsed.reason
    return (from.ok && parsed.value < from.value) || (to.ok && parsed.value > to.value) ? 'out of range' : undefined
  })
}

/** Any text on one line, not empty. */
export const TEXT = textFormat('a text on one line', oneLine)

/** A statement of a database: may have several lines. */
export const STATEMENT = textFormat('an SQL statement', (text) => (text.trim() === '' ? 'empty' : undefined))

/** Text of a greeting: what every protocol can carry. */
export const BANNER = textFormat('printable ASCII on one line, at most 200 characters', (text) => {
  if (text.length > 200) return 'too long'
  return /^[\x20-\x7e]+$/.test(text) ? undefined : 'empty, or not printable ASCII'
})

export const PATH = textFormat('the path of a file (relative ones start at the working directory)', (text) => {
  return text === '' || text.includes('\0') ? 'no path' : undefined
})

export const SOCKET_ADDRESS = textFormat('address:port, such as "1.2.3.4:993" or "[::]:993"', (text) => {
  const parsed = parseSocketAddress(text)
  return parsed.ok ? undefined : parsed.reason
})
export const SOCKET_ADDRESSES = listOf(SOCKET_ADDRESS, {
  plural: 'address:port, such as "1.2.3.4:993" or "[::]:993"',
  least: 1,
})

const CIDR = textFormat('a network, such as "10.0.0.0/8"', (text) => {
  const parsed = parseCidr(text)
  return parsed.ok ? undefined : parsed.reason
})
export const CIDRS = listOf(CIDR, { plural: 'networks, such as "10.0.0.0/8"' })

export const HOST = textFormat('a host name or an address (IPv6 without brackets)', (text) => {
  if (isAddress(text) || isHostName(text)) return undefined
  return text.includes(':') ? 'the port has a key of its own' : 'neither a name nor an address'
})
export const HOST_NAME = textFormat('a host name', (text) => (isHostName(text) ? undefined : 'not a host name'))
const ADDRESS = textFormat('an address', (text) => (isAddress(text) ? undefined : 'not an address'))
export const ADDRESSES = listOf(ADDRESS, { plural: 'addresses', unique: true })

const SUBJECT = textFormat('a host name, with "*." before it for all below, or "*"', (text) => {
  return text === '*' || isHostName(text.replace(/^\*\./, '')) ? undefined : 'not a host name'
})
export const SUBJECTS = listOf(
  SUBJECT,
  { plural: 'host names, "*." before one for all below it', least: 1, unique: true },
)

export const FINGERPRINT = textFormat('64 hex digits, colons allowed', (text) => {
  const digits = text.replaceAll(':', '')
  if (!/^[0-9a-f]*$/i.test(digits)) return 'not hex digits'
  return digits.length === 64 ? undefined : `${digits.length} digits`
})

const CIPHER_SUITE = textFormat('a cipher suite', (text) => {
  return cipherSuiteName(text) === undefined ? `"${text.slice(0, 60)}" is none of the offered suites` : undefined
})
export const CIPHER_SUITE_LIST = listOf(CIPHER_SUITE, {
  plural: `cipher suites, by IANA, OpenSSL or rustls name: ${CIPHER_SUITES.map((suite) => suite.iana).join(', ')}`,
})

export const SASL_MECHANISMS = listOf(oneOf('PLAIN', 'LOGIN', 'OAUTHBEARER', 'XOAUTH2'), {
  plural: '"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"',
  least: 1,
  unique: true,
})

const ATOM = textFormat('a protocol word', (text) => {
  return /^[!#$&'+,\-./0-9:;<=>?@A-Z[^_`a-z|}~]+$/.test(text) && text.length <= 64 ? undefined : 'not a protocol word'
})
export const ATOMS = listOf(ATOM, { plural: 'protocol words', unique: true })
const KEYWORD_LINE = textFormat('a keyword with its arguments', (text) => {
  return /^[\x21-\x7e]+( [\x21-\x7e]+)*$/.test(text) && text.length <= 200 ? undefined : 'not printable ASCII words'
})
export const KEYWORD_LINES = listOf(KEYWORD_LINE, { plural: 'keywords, each with its arguments', unique: true })

/** RFC 2971 §3.3: at most 30 fields, names up to 30 bytes, values up to 1024. */
export const ID_FIELDS = format(
  'a table of texts, such as { name = "Signalbox" }, at most 30',
  (value) => {
    if (!Array.isArray(value)) return 'not a table'
    if (value.length > 30) return 'too many fields'
    for (const pair of value) {
      const [key, text]: unknown[] = Array.isArray(pair) ? pair : []
      if (typeof key !== 'string' || !/^[\x20-\x7e]{1,30}$/.test(key)) return 'a field name is longer than 30 or not ASCII'
      if (typeof text !== 'string' || !/^[\x20-\x7e]{0,1024}$/.test(text)) {
        return `${key} is not a text of printable ASCII up to 1024 characters`
      }
    }
    return undefined
  },
  { table: true },
)

const SEPARATOR = textFormat('a separator', (text) => {
  return /^[\x21-\x7e]{1,16}$/.test(text) && text !== '"' ? undefined : 'not one to 16 printable ASCII characters'
})
export const SEPARATORS = listOf(SEPARATOR, { plural: 'separators', unique: true })

export const INSTANCE = textFormat('a name of letters, digits, ".", "-" and "_", at most 128', (text) => {
  return /^[A-Za-z0-9._-]{1,128}$/.test(text) ? undefined : 'not such a name'
})

export const REDIS_URL = textFormat(
  'redis://…, rediss://…, redis+sentinel://host:port,…/name/0 or redis+cluster://host:port,…',
  (text) => refusalOf(parseRedisUrl, text),
)

export const SQL_URL = textFormat('postgres://…, mysql://… or sqlite://path', (text) => refusalOf(parseSqlUrl, text))

/** A PostgreSQL identifier as NOTIFY takes it unquoted. */
export const CHANNEL = textFormat('a name of letters, digits and "_", at most 63', (text) => {
  return /^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(text) ? undefined : 'not such a name'
})

export const GLOB = textFormat('a glob over the path, such as "/api/**"', (text) => {
  return text === '' ? 'empty' : globMistake(text)
})

/** RFC 9110 §5.6.2: a token. */
export const HEADER_NAME = textFormat('the name of a header', (text) => {
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}$/.test(text) ? undefined : 'not the name of a header'
})

/** What a bearer token may hold on its way through a header. */
export const TOKEN = textFormat('printable ASCII without spaces', (text) => {
  return /^[\x21-\x7e]+$/.test(text) ? undefined : 'empty, or not printable ASCII without spaces'
})

/** A key of a hash, as text. */
export const SECRET = textFormat('a text of at least 16 characters', (text) => {
  return text.length >= 16 ? undefined : 'shorter than 16 characters'
})

/** Why the parser that the sources use refuses a URL. */
function refusalOf(parse: (text: string) => unknown, text: string): string | undefined {
  try {
    parse(text)
    return undefined
  } catch (thrown) {
    if (thrown instanceof SignalboxError) return thrown.message
    throw thrown
  }
}

function oneLine(text: string): string | undefined {
  if (text === '') return 'empty'
  return /[\p{Cc}\p{Zl}\p{Zp}]/u.test(text) ? 'holds a control character' : undefined
}
