/** [http] and [[http.route]]: requests by path. */
import { GLOB, HEADER_NAME, TEXT, duration, size } from './format-values.ts'
import { format, oneOf, wholeNumber } from './format.ts'
import { optional, required, setting, type TableDefinition } from './schema-table.ts'

export const EXTRACT_FROM = ['authorization', 'query', 'header', 'body'] as const

const REGEX = format('a regular expression in RE2 syntax with a group', (value) => {
  if (typeof value !== 'string' || value === '') return 'not a text'
  if (value.length > 1_000) return 'longer than 1000 characters'
  // The group is what is used; `(?:` and flags are none. Whether RE2 compiles it is checked where it is compiled.
  return /(?<!\\)\((?!\?)|\(\?P?</.test(value) ? undefined : 'has no group'
})

export const HTTP: TableDefinition = {
  path: 'http',
  doc: 'Bounds of http listeners.',
  schema: {
    body_extract_cap: setting('64kb', size('1', '16mb'), 'How much of a body is read for extract from "body".'),
    max_head_size: setting('64kb', size('1kb', '1mb'), 'Largest head of a request.'),
    relay_idle: setting('60s', duration('1s'), 'No byte for that long inside an exchange ends it.'),
    keepalive_timeout: setting('75s', duration('1s'), 'How long an idle connection is kept.'),
    max_keepalive_requests: setting(1_000, wholeNumber(1), 'Requests on one connection.'),
  },
}

export const HTTP_ROUTE: TableDefinition = {
  path: 'http.route[]',
  doc: 'A rule; the first whose glob matches the path is used. It has a destination, or extract.',
  schema: {
    match: required(GLOB, 'The paths.', { example: '"/.well-known/**"' }),
    destination: optional(TEXT, 'Every such request goes there.', { example: '"legacy"' }),
    fallback: optional(
      TEXT,
      'With extract: destination of requests without an identifier; "default" or unset: the default destination.',
      { example: '"default"' },
    ),
  },
}

export const HTTP_EXTRACT: TableDefinition = {
  path: 'http.route[].extract',
  doc: 'Where the identifier of a request stands. Usually written inline: extract = { from = "authorization" }.',
  schema: {
    from: required(
      oneOf(...EXTRACT_FROM),
      'authorization: login or token; the others need the key of the same purpose.',
      { example: '"authorization"' },
    ),
    param: optional(TEXT, 'query: name of the parameter.', { example: '"login_hint"' }),
    header: optional(HEADER_NAME, 'header: its name.', { example: '"x-account"' }),
    regex: optional(REGEX, 'body: its first group is the identifier.', { example: '"username=([^&]+)"' }),
  },
}
