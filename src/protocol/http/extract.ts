/**
 * The account's name out of a request, as a route's `extract` says: from its credentials, its query, a header field or its
 * body. Nothing is verified here (the backend does that); a name chooses a backend and nothing else. What can't be
 * read is no name.
 */
import { isUtf8 } from 'node:buffer'
import type { HttpRouteConfig } from '../../config/config.ts'
import { identityFromToken } from '../../identity/token.ts'
import { SASL_LINE } from '../../limits.ts'
import { valuesOf, type Fields } from './fields.ts'
import { compilePattern } from './pattern.ts'

/** What of a request a name may stand in. */
export interface Extractable {
  /** With its query. */
  readonly target: string
  readonly fields: Fields
}

export type Extractor =
  | { readonly from: 'head'; readonly name: (request: Extractable) => string | undefined }
  | { readonly from: 'body'; readonly name: (body: Buffer) => string | undefined }

/**
 * @param claim oauth.jwt_username_claim
 * @throws Error for a pattern that RE2 doesn't take
 */
export function compileExtract(extract: NonNullable<HttpRouteConfig['extract']>, claim: string): Extractor {
  switch (extract.from) {
    case 'authorization':
      return { from: 'head', name: ({ fields }) => fromAuthorization(valuesOf(fields, 'authorization')[0], claim) }
    case 'query': {
      const { param } = extract
      return { from: 'head', name: ({ target }) => fromQuery(target, param) }
    }
    case 'header': {
      const { header } = extract
      return { from: 'head', name: ({ fields }) => something(valuesOf(fields, header)[0]?.trim()) }
    }
    case 'body': {
      const pattern = compilePattern(extract.regex)
      return { from: 'body', name: (body) => something(formDecoded(pattern.firstGroup(body.toString('utf8')))) }
    }
  }
}

/** RFC 7617 (the login in lower case) and RFC 6750. */
function fromAuthorization(value: string | undefined, claim: string): string | undefined {
  const [, scheme = '', rest = ''] = /^([A-Za-z]+) +(\S+) *$/.exec(value ?? '') ?? []
  switch (scheme.toLowerCase()) {
    case 'basic':
      return fromBasic(rest)
    case 'bearer':
      return identityFromToken(rest, claim)
    default:
      return undefined
  }
}

function fromBasic(text: string): string | undefined {
  if (text.length > SASL_LINE || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64')
  const colon = bytes.indexOf(0x3a)
  if (colon < 0) return undefined
  const login = bytes.subarray(0, colon)
  return isUtf8(login) ? something(login.toString('utf8').toLowerCase()) : undefined
}

function fromQuery(target: string, param: string): string | undefined {
  const query = target.indexOf('?')
  return query < 0 ? undefined : something(new URLSearchParams(target.slice(query + 1)).get(param) ?? undefined)
}

/** application/x-www-form-urlencoded; what is no such encoding stays as it is. */
function formDecoded(text: string | undefined): string | undefined {
  return text === undefined ? undefined : (new URLSearchParams(`v=${text.replaceAll('&', '%26')}`).get('v') ?? undefined)
}

function something(text: string | undefined): string | undefined {
  return text === '' ? undefined : text
}
