/**
 * What a reload means: compares the configuration in force with the one that was read, and says what will be in force,
 * what differs, and what needs a restart and is therefore left as it was. Pure; carrying it out is reloading.ts'.
 *
 * A restart is needed by what the instance is to others: its management address and token, its place in the fleet, who it
 * runs as, how connections come in, and where mappings are kept.
 */
import { isDeepStrictEqual } from 'node:util'
import type { AdminConfig, Config, MappingConfig, ServerConfig } from '../config/config.ts'

/** By name, in the order of the files. */
export interface Difference {
  readonly added: readonly string[]
  readonly changed: readonly string[]
  readonly removed: readonly string[]
}

export interface Plan {
  /** What will be in force. */
  readonly config: Config
  readonly listeners: Difference
  readonly destinations: Difference
  /** What will be different, in an operator's words. */
  readonly changed: readonly string[]
  /** Keys whose change needs a restart. */
  readonly restart: readonly string[]
  /** The workers must be replaced for it to be in force. */
  readonly roll: boolean
}

const SERVER_KEYS: readonly (readonly [keyof ServerConfig, string])[] = [
  ['user', 'server.user'],
  ['group', 'server.group'],
  ['distribution', 'server.distribution'],
  ['logFormat', 'server.log_format'],
]
const ADMIN_KEYS: readonly (readonly [keyof AdminConfig, string])[] = [
  ['bind', 'admin.bind'],
  ['token', 'admin.bearer_token'],
  ['lockoutThreshold', 'admin.lockout_threshold'],
  ['lockoutDuration', 'admin.lockout_duration'],
  ['metricsOpen', 'admin.metrics_open'],
]
/** What is told of as a whole. */
const SECTIONS = ['tls', 'routing', 'mapping', 'capabilities', 'oauth', 'http', 'limits', 'log', 'admin'] as const

/** @param current what is in force, as the last plan (or the start) left it */
export function planReload(current: Config, next: Config): Plan {
  const config: Config = {
    ...next,
    server: kept(current.server, next.server, SERVER_KEYS),
    mapping: mappingOf(current.mapping, next.mapping),
    admin: adminOf(current.admin, next),
    cluster: current.cluster,
  }
  const listeners = difference(current.listeners, config.listeners)
  const destinations = difference(current.destinations, config.destinations)
  const resized = current.server.threads !== config.server.threads
  // Who listens by itself has its listeners and its share of their connections from its start, and who asks a store by
  // itself its share of the pool.
  const kernel = config.server.distribution === 'kernel'
  const roll = (kernel && (resized || !isNone(listeners))) || (config.mapping.source !== 'file' && resized)
  return {
    config,
    listeners,
    destinations,
    changed: [
      ...keysOf(current.server, config.server).map((key) => `server.${key}`),
      ...words('listener', listeners),
      ...words('destination', destinations),
      ...SECTIONS.filter((section) => !isDeepStrictEqual(current[section], config[section])),
    ],
    restart: [
      ...differing(current.server, next.server, SERVER_KEYS),
      ...mappingRestart(current.mapping, next.mapping),
      ...adminRestart(current.admin, next.admin),
      ...clusterRestart(current, next),
    ],
    roll,
  }
}

export function isNone({ added, changed, removed }: Difference): boolean {
  return added.length + changed.length + removed.length === 0
}

/** Of two that have a name each, by name. */
function difference<T extends { readonly name: string }>(before: readonly T[], after: readonly T[]): Difference {
  const old = new Map(before.map((one) => [one.name, one]))
  const names = new Set(after.map(({ name }) => name))
  return {
    added: after.filter(({ name }) => !old.has(name)).map(({ name }) => name),
    changed: after.filter((one) => old.has(one.name) && !isDeepStrictEqual(old.get(one.name), one)).map(({ name }) => name),
    removed: before.filter(({ name }) => !names.has(name)).map(({ name }) => name),
  }
}

function words(what: string, { added, changed, removed }: Difference): readonly string[] {
  return [
    ...added.map((name) => `${what} "${name}" added`),
    ...changed.map((name) => `${what} "${name}"`),
    ...removed.map((name) => `${what} "${name}" removed`),
  ]
}

function kept<T extends object>(current: T, next: T, keys: readonly (readonly [keyof T, string])[]): T {
  const result = { ...next }
  for (const [key] of keys) result[key] = current[key]
  return result
}

function differing<T extends object>(current: T, next: T, keys: readonly (readonly [keyof T, string])[]): readonly string[] {
  return keys.filter(([key]) => !isDeepStrictEqual(current[key], next[key])).map(([, path]) => path)
}

/** Keys with another value, as the file writes them. */
function keysOf<T extends object>(before: T, after: T): readonly string[] {
  const values = new Map<string, unknown>(Object.entries(before))
  return Object.entries(after).filter(([key, value]) => !isDeepStrictEqual(values.get(key), value)).map(([key]) => written(key))
}

function written(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

/** The source and its connection stay. */
function mappingOf(current: MappingConfig, next: MappingConfig): MappingConfig {
  const { source, file, redis, sql, lookupTimeout } = current
  // Whoever asks a store by itself was opened with it.
  return { ...next, source, file, redis, sql, ...(source === 'file' ? {} : { lookupTimeout }) }
}

function mappingRestart(current: MappingConfig, next: MappingConfig): readonly string[] {
  const { source } = current
  if (next.source !== source) return ['mapping.source']
  const before = current[source]
  const after = next[source]
  const keys = before === undefined || after === undefined ? [] : keysOf(before, after).map((key) => `mapping.${source}.${key === 'ca' ? 'tls_ca' : key}`)
  const asked = source !== 'file' && current.lookupTimeout !== next.lookupTimeout
  return asked ? ['mapping.lookup_timeout', ...keys] : keys
}

/** All but the certificate, which is looked for among those that there are. */
function adminOf(current: AdminConfig | undefined, { admin: next, tls }: Config): AdminConfig | undefined {
  if (current === undefined) return undefined
  const wanted = next === undefined ? current.certificate : next.certificate
  const there = tls.certificates.some(({ name }) => name === wanted)
  return { ...current, certificate: there ? wanted : undefined }
}

function adminRestart(current: AdminConfig | undefined, next: AdminConfig | undefined): readonly string[] {
  if (current === undefined || next === undefined) return current === next ? [] : ['admin']
  return differing(current, next, ADMIN_KEYS)
}

function clusterRestart({ cluster: current }: Config, { cluster: next }: Config): readonly string[] {
  const keys = keysOf(current, next).map((key) => (key === 'ca' ? 'tls_ca' : key))
  // What follows from the source's URL is told of there.
  const derived = new Set(current.busExplicit || next.busExplicit ? [] : ['bus', 'channel'])
  return keys.filter((key) => key !== 'bus_explicit' && !derived.has(key)).map((key) => `cluster.${key}`)
}
