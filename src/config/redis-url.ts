/**
 * What a Redis URL points at: one server, a group behind sentinels, or a cluster. Written by hand because a list of
 * hosts is no URL to the WHATWG parser. Refuses what it does not understand instead of guessing, and never repeats the
 * URL in an error: it holds the password.
 */
import { SignalboxError } from '../errors.ts'

export interface RedisNode {
  /** Without brackets. */
  readonly host: string
  readonly port: number
}

export interface RedisTarget {
  readonly kind: 'single' | 'sentinel' | 'cluster'
  /** The server, the sentinels, or some nodes of the cluster; at least one. */
  readonly nodes: readonly RedisNode[]
  readonly tls: boolean
  /** Name of the group that the sentinels watch; empty otherwise. */
  readonly group: string
  readonly database: number
  readonly username: string | undefined
  readonly password: string | undefined
  /** For messages: scheme, hosts, database; no user, no password. */
  readonly text: string
}

const SCHEME = /^(rediss?)(?:\+(sentinel|cluster))?:\/\//
const PORTS = { single: 6379, cluster: 6379, sentinel: 26379 }

/**
 * Parses `redis://`, `rediss://`, `redis+sentinel://h1:26379,h2/group/0`, `redis+cluster://h1,h2` (and their `rediss+`
 * forms, which encrypt every leg). User and password are percent-decoded.
 * @throws CONFIG_INVALID with the reason as its message; which key holds the URL the caller knows
 */
export function parseRedisUrl(url: string): RedisTarget {
  const scheme = SCHEME.exec(url)
  if (scheme === null) throw refuse('not a Redis URL')
  const kind = scheme[2] === 'sentinel' || scheme[2] === 'cluster' ? scheme[2] : 'single'
  const rest = url.slice(scheme[0].length)
  if (/[?#\s]/.test(rest)) throw refuse('"?", "#" and white space must be percent-encoded')
  const slash = rest.indexOf('/')
  const authority = slash < 0 ? rest : rest.slice(0, slash)
  const path = slash < 0 ? '' : rest.slice(slash + 1)
  const at = authority.lastIndexOf('@')
  const { username, password } = parseUser(at < 0 ? '' : authority.slice(0, at))
  const hosts = authority.slice(at + 1)
  const nodes = hosts.split(',').map((host) => parseNode(host, PORTS[kind]))
  if (kind === 'single' && nodes.length > 1) throw refuse('several hosts need redis+sentinel:// or redis+cluster://')
  const { group, database } = parsePath(kind, path)
  const text = `${scheme[0]}${hosts}${group === '' ? '' : `/${group}`}${kind === 'cluster' ? '' : `/${database}`}`
  return { kind, nodes, tls: scheme[1] === 'rediss', group, database, username, password, text }
}

function parseUser(text: string): { username: string | undefined; password: string | undefined } {
  if (text === '') return { username: undefined, password: undefined }
  const colon = text.indexOf(':')
  const username = decode(colon < 0 ? text : text.slice(0, colon))
  const password = colon < 0 ? undefined : decode(text.slice(colon + 1))
  return { username: username === '' ? undefined : username, password: password === '' ? undefined : password }
}

function parseNode(text: string, defaultPort: number): RedisNode {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text)
  const host = found?.[1] ?? found?.[2]
  if (found === null || host === undefined) throw refuse('a host is not "host:port"')
  const port = found[3] === undefined ? defaultPort : Number(found[3])
  if (port < 1 || port > 65_535) throw refuse('a port is not between 1 and 65535')
  return { host, port }
}

function parsePath(kind: RedisTarget['kind'], path: string): { group: string; database: number } {
  const parts = path === '' ? [] : path.split('/')
  if (kind === 'cluster') {
    if (parts.length > 0) throw refuse('a cluster has no database number')
    return { group: '', database: 0 }
  }
  const group = kind === 'sentinel' ? decode(parts.shift() ?? '') : ''
  if (kind === 'sentinel' && group === '') throw refuse('the name of the primary is missing')
  if (parts.length > 1 || !/^\d{0,5}$/.test(parts[0] ?? '')) throw refuse('the path is not a database number')
  return { group, database: Number(parts[0] ?? 0) }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw refuse('a percent-encoding is broken')
  }
}

function refuse(reason: string): SignalboxError {
  return new SignalboxError('CONFIG_INVALID', reason)
}
