/**
 * What a database URL points at: `postgres://`, `mysql://` (MariaDB too) or `sqlite://path`. Parsed here and not by the
 * drivers, whose readings of `sslmode` differ and whose errors repeat the URL with its password.
 */
import { SignalboxError } from '../errors.ts'

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
  /** Path of a PEM bundle, read with the configuration. */
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

/** @throws CONFIG_INVALID with the reason as its message, never repeating the URL */
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

/** Whether a server's certificate is looked at: `require` does so, as PostgreSQL's own programs do, only with a CA of its own. */
export function isVerified(sslMode: SslMode, ownAuthority: boolean): boolean {
  return sslMode === 'verify-ca' || sslMode === 'verify-full' || (sslMode === 'require' && ownAuthority)
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
