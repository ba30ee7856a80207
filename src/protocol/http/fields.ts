/**
 * Header fields as they stand on the wire: a flat list of names and values, in their order, with their repetitions. What
 * belongs to one connection only (RFC 9110 §7.6.1) is taken out here, and so is what says who the client is, unless the
 * sender is believed. Framing and routing fields are never copied: whoever sends a message writes its own.
 */

/** Name, value, name, value … */
export type Fields = readonly string[]

/** Those of one connection, besides those that Connection names. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
])

/** What proxies say about a client, or about what it has asked for, besides X-Forwarded and all that begins so. */
const ABOUT_CLIENT = new Set([
  'forwarded',
  'client-ip',
  'true-client-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'x-original-forwarded-for',
  'x-original-host',
  'x-original-url',
  'x-real-ip',
  'x-rewrite-url',
])

/** What a trailer may not bring in (RFC 9110 §6.5.1): framing, routing, request modifiers, authentication. */
const NOT_IN_TRAILERS = new Set([
  ...HOP_BY_HOP,
  'authorization',
  'cache-control',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'cookie',
  'expect',
  'host',
  'set-cookie',
  'trailer',
  'www-authenticate',
])

/** Every field in turn, the name in lower case beside the one that was written. */
export function* each(fields: Fields): Generator<{ readonly key: string; readonly name: string; readonly value: string }> {
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const name = fields[at] ?? ''
    yield { key: name.toLowerCase(), name, value: fields[at + 1] ?? '' }
  }
}

/** All values of a field, whose name is given in lower case. */
export function valuesOf(fields: Fields, name: string): string[] {
  const values: string[] = []
  for (let at = 0; at + 1 < fields.length; at += 2) if (named(fields[at], name)) values.push(fields[at + 1] ?? '')
  return values
}

/** Whether there is such a field; its name in lower case. */
export function has(fields: Fields, name: string): boolean {
  for (let at = 0; at + 1 < fields.length; at += 2) if (named(fields[at], name)) return true
  return false
}

/** Names and values in pairs. */
export function pairs(fields: Fields): [string, string][] {
  const list: [string, string][] = []
  for (let at = 0; at + 1 < fields.length; at += 2) list.push([fields[at] ?? '', fields[at + 1] ?? ''])
  return list
}

/** The members of a comma-separated field, in lower case. */
export function members(fields: Fields, name: string): string[] {
  const values = valuesOf(fields, name)
  return values.length === 0 ? [] : values.flatMap((value) => value.split(',').map((member) => member.trim().toLowerCase()))
}

/** The fields without those of one connection and without those that `more` (lower case) names. */
export function endToEnd(fields: Fields, more: ReadonlySet<string> = NONE): string[] {
  const listed = members(fields, 'connection')
  return without(fields, (key) => HOP_BY_HOP.has(key) || more.has(key) || listed.includes(key))
}

/** The fields without what proxies say about a client. */
export function withoutClaims(fields: Fields): string[] {
  return without(fields, isClaim)
}

/** An underscore counts as a hyphen: many servers can't tell the two apart. */
function isClaim(key: string): boolean {
  const name = key.includes('_') ? key.replaceAll('_', '-') : key
  return ABOUT_CLIENT.has(name) || name.startsWith('x-forwarded')
}

/** Trailers that may pass. */
export function passingTrailers(trailers: Fields): readonly string[] {
  return trailers.length === 0 ? trailers : without(trailers, (key) => NOT_IN_TRAILERS.has(key.replaceAll('_', '-')) || isClaim(key))
}

function without(fields: Fields, drop: (key: string) => boolean): string[] {
  const kept: string[] = []
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const name = fields[at] ?? ''
    if (!drop(name.toLowerCase())) kept.push(name, fields[at + 1] ?? '')
  }
  return kept
}

/** Most names differ in length: those needn't be compared. */
function named(written: string | undefined, name: string): boolean {
  return written !== undefined && written.length === name.length && written.toLowerCase() === name
}

const NONE: ReadonlySet<string> = new Set()
