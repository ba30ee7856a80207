/**
 * The head of a request, judged once more behind the parser: what two servers could read in two ways is refused, whoever
 * of them would be right (RFC 9112 §11.2, request smuggling). The parser has refused most of it already (both lengths,
 * differing lengths, folded lines, bare line feeds, a space before the colon); here is what it lets pass, and the same for
 * HTTP/2, where no such parser stands in front.
 */
import { members, valuesOf, type Fields } from './fields.ts'

/** As a parser gives it. */
export interface RawHead {
  readonly version: '1.0' | '1.1' | '2' | 'unknown'
  readonly method: string
  /** The request target (HTTP/2: `:path`). */
  readonly target: string
  /** HTTP/2: `:authority`. */
  readonly authority?: string | undefined
  /** Without pseudo-fields. */
  readonly fields: Fields
}

export interface RequestHead {
  readonly version: Exclude<RawHead['version'], 'unknown'>
  readonly method: string
  /** Path and query in origin-form, or `*`. */
  readonly target: string
  /** The target without its query: what routes match. */
  readonly path: string
  /** Undefined: none was sent (HTTP/1.0). */
  readonly host: string | undefined
  readonly fields: Fields
  /** HTTP/2 knows only `none` and `unknown` without a length. */
  readonly body: { readonly kind: 'none' | 'chunked' } | { readonly kind: 'length'; readonly length: number }
  readonly expectsContinue: boolean
  /** The client can take trailers. */
  readonly takesTrailers: boolean
}

/** What the client is told instead. */
export interface BadHead {
  readonly status: 400 | 405 | 431
  /** For people; holds nothing that the client sent. */
  readonly reason: string
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
/** No controls but tab. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
const ORIGIN_FORM = /^\/[\x21\x22\x24-\x7e\x80-\xff]*$/
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]+)(\/.*|\?.*)?$/i
/** RFC 3986 §3.2.2 and §3.2.3, without user information. */
const AUTHORITY = /^(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?$/
/** What every field of HTTP/2 counts besides its name and value. */
const FIELD = 32
/** Fields that mean one thing only. */
const SINGLE = ['authorization', 'content-type', 'expect'] as const

/**
 * The head, or why it is refused.
 *
 * @param ended HTTP/2: no body will follow
 * @param most bytes of an HTTP/2 head; that of HTTP/1.1 is measured as it comes
 */
export function readHead(raw: RawHead, ended = false, most = Number.POSITIVE_INFINITY): RequestHead | BadHead {
  const { version, method, fields } = raw
  if (version === '2' && sizeOf(raw) > most) return { status: 431, reason: 'the head is too large' }
  if (version === 'unknown') return bad('the version is unknown')
  if (!TOKEN.test(method)) return bad('the method is none')
  if (method === 'TRACE' || method === 'CONNECT') return { status: 405, reason: 'the method is not served' }
  for (let at = 0; at + 1 < fields.length; at += 2) {
    if (!TOKEN.test(fields[at] ?? '') || !VALUE.test(fields[at + 1] ?? '')) return bad('a header field is malformed')
  }
  for (const name of SINGLE) if (valuesOf(fields, name).length > 1) return bad(`there is more than one ${name}`)
  const host = hostOf(raw)
  if (typeof host === 'object') return host
  const target = targetOf(raw.target, method, host)
  if (target === undefined) return bad('the request target is malformed, or contradicts the host')
  const body = bodyOf(raw, ended)
  if ('status' in body) return body
  const query = target.indexOf('?')
  return {
    version,
    method,
    target,
    path: query < 0 ? target : target.slice(0, query),
    host,
    fields,
    body,
    expectsContinue: version !== '1.0' && valuesOf(fields, 'expect').some((value) => value.toLowerCase() === '100-continue'),
    takesTrailers: members(fields, 'te').includes('trailers'),
  }
}

/** As RFC 9113 §6.5.2 counts it. */
function sizeOf({ authority = '', fields, method, target }: RawHead): number {
  let size = authority.length + method.length + target.length + 4 * FIELD
  for (const text of fields) size += text.length + FIELD / 2
  return size
}

function hostOf({ version, authority, fields }: RawHead): string | undefined | BadHead {
  const hosts = valuesOf(fields, 'host')
  if (hosts.length > 1) return bad('there is more than one host')
  const host = authority ?? hosts[0]
  if (authority !== undefined && hosts[0] !== undefined && hosts[0].toLowerCase() !== authority.toLowerCase()) {
    return bad('host and authority differ')
  }
  if (host === undefined) return version === '1.0' ? undefined : bad('there is no host')
  return AUTHORITY.test(host) ? host : bad('the host is malformed')
}

/** In origin-form. An absolute one must name the host that the request names (RFC 9112 §3.2.2). */
function targetOf(target: string, method: string, host: string | undefined): string | undefined {
  if (target === '*') return method === 'OPTIONS' ? target : undefined
  const absolute = ABSOLUTE_FORM.exec(target)
  if (absolute === null) return ORIGIN_FORM.test(target) ? target : undefined
  const [, authority = '', rest = '/'] = absolute
  if (!AUTHORITY.test(authority) || (host !== undefined && authority.toLowerCase() !== host.toLowerCase())) return undefined
  const origin = rest.startsWith('/') ? rest : `/${rest}`
  return ORIGIN_FORM.test(origin) ? origin : undefined
}

function bodyOf({ version, fields }: RawHead, ended: boolean): RequestHead['body'] | BadHead {
  const lengths = valuesOf(fields, 'content-length')
  const codings = valuesOf(fields, 'transfer-encoding')
  const [coding] = codings
  if (coding !== undefined) {
    if (version !== '1.1') return bad('this version knows no transfer coding')
    if (lengths.length > 0) return bad('there is a length beside a transfer coding')
    return codings.length === 1 && coding.toLowerCase() === 'chunked' ? { kind: 'chunked' } : bad('the transfer coding is unknown')
  }
  const [length] = lengths
  if (length === undefined) return version === '2' && !ended ? { kind: 'chunked' } : { kind: 'none' }
  if (lengths.length > 1 || !/^[0-9]{1,15}$/.test(length)) return bad('the length is malformed')
  return { kind: 'length', length: Number(length) }
}

function bad(reason: string): BadHead {
  return { status: 400, reason }
}
