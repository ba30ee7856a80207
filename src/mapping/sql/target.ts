/**
 * What a database URL points at: `postgres://`, `mysql://` (MariaDB too) or `sqlite://path`. Parsed here and not by the
 * drivers, whose readings of `sslmode` differ and whose errors repeat the URL with its password.
 */
import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import { getCACertificates } from 'node:tls'
import { SignalboxError } from '../../errors.ts'

/**
 * As PostgreSQL's own programs understand it, for both servers: prefer (TLS when the server has it, nothing verified),
 * require (TLS, nothing verified unless `sslrootcert` is given), verify-ca (the chain), verify-full (chain and name).
 */
export const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const
export type SslMode = (typeof SSL_MODES)[number]

export interface SqlServer {
  readonly kind: 'postgres' | 'mysql'
  /** Without brackets. */
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string | undefined
  readonly database: string
  readonly sslMode: SslMode
  /** Path of a PEM bundle; undefined: the system's store. */
  readonly sslRootCert: string | undefined
  /** For messages: scheme, host, database; no user, no password. */
  readonly text: string
}

export interface SqlFile {
  readonly kind: 'sqlite'
  readonly path: string
  readonly text: string
}

export type SqlTarget = SqlServer | SqlFile

const PORTS = { postgres: 5432, mysql: 3306 }

/** Throws CONFIG_INVALID, never repeating the URL. */
export function parseSqlUrl(text: string): SqlTarget {
  if (text.startsWith('sqlite://')) {
    const path = decode(text.slice('sqlite://'.length))
    if (path === '' || path.includes('\0')) throw refuse('sqlite:// needs a path')
    return { kind: 'sqlite', path, text: `sqlite://${path}` }
  }
  const scheme = /^(postgres|postgresql|mysql|mariadb):\/\//.exec(text)?.[1]
  const url = scheme === undefined ? null : URL.parse(text)
  if (url === null || url.hostname === '') throw refuse('not a database URL')
  const kind = scheme === 'mysql' || scheme === 'mariadb' ? 'mysql' : 'postgres'
  const user = decode(url.username)
  const database = decode(url.pathname.slice(1))
  if (user === '') throw refuse('the user is missing')
  if (database === '' || database.includes('/')) throw refuse('the path is not the name of a database')
  const host = decode(url.hostname).replace(/^\[(.*)\]$/, '$1')
  return {
    kind,
    host,
    port: url.port === '' ? PORTS[kind] : Number(url.port),
    user,
    password: url.password === '' ? undefined : decode(url.password),
    database,
    ...parseParameters(url.searchParams),
    text: `${kind}://${url.host}/${database}`,
  }
}

/** What TLS shall look like; undefined: none. For `prefer` a server without TLS is then asked again without. */
export function tlsOf({ sslMode, sslRootCert }: SqlServer): ConnectionOptions | undefined {
  if (sslMode === 'disable') return undefined
  const verified = sslMode === 'verify-ca' || sslMode === 'verify-full' || (sslMode === 'require' && sslRootCert !== undefined)
  if (!verified) return { rejectUnauthorized: false }
  return {
    rejectUnauthorized: true,
    ca: sslRootCert === undefined ? systemStore() : [readCertificates(sslRootCert)],
    ...(sslMode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
  }
}

function parseParameters(parameters: URLSearchParams): { sslMode: SslMode; sslRootCert: string | undefined } {
  for (const name of parameters.keys()) {
    if (name !== 'sslmode' && name !== 'sslrootcert') throw refuse(`"${name.slice(0, 40)}" is no known parameter; there are sslmode and sslrootcert`)
  }
  const asked = parameters.get('sslmode') ?? 'prefer'
  const sslMode = SSL_MODES.find((mode) => mode === asked)
  if (sslMode === undefined) throw refuse(`sslmode must be one of ${SSL_MODES.join(', ')}`)
  return { sslMode, sslRootCert: parameters.get('sslrootcert') ?? undefined }
}

function readCertificates(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw refuse(`sslrootcert cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
}

let store: string[] | undefined

/** The system's certificates; where there are none (a bare container), those that come with Node. */
function systemStore(): string[] {
  if (store === undefined) {
    store = getCACertificates('system')
    if (store.length === 0) store = getCACertificates('bundled')
  }
  return store
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw refuse('a percent-encoding is broken')
  }
}

function refuse(reason: string): SignalboxError {
  return new SignalboxError('CONFIG_INVALID', `mapping.sql.url: ${reason}`)
}
