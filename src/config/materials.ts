/**
 * What a configuration holds by reference, read from disk: certificates, keys, bundles, the management token. Reading
 * is apart from building, so that the files' mistakes are collected like all others.
 */
import { stat } from 'node:fs/promises'
import type { FromEnvironment } from './environment.ts'
import { checkIdentity, type HostAccounts } from './accounts.ts'
import { readBundle, readBundleAt, readCertificate, readNamedFile, type CertificateFiles } from './files.ts'
import { TOKEN } from './format-values.ts'
import type { Report } from './mistake.ts'
import { TICKET_KEYS } from '../tls/ticket-keys.ts'
import type { Section } from './section.ts'
import { sqlTarget } from './rules-source.ts'
import type { Tables } from './tables.ts'

export interface Materials {
  /** By certificate name. */
  readonly certificates: ReadonlyMap<string, CertificateFiles>
  /** By destination name. */
  readonly clients: ReadonlyMap<string, CertificateFiles>
  readonly bundles: ReadonlyMap<string, string>
  /** CA bundles of mapping source and bus. */
  readonly stores: Readonly<Record<'redis' | 'sql' | 'bus', string | undefined>>
  readonly token: string | undefined
}

/** Permissions that are too much for a secret: writing by the group, anything for others. */
const TOO_OPEN = 0o037

/** Reads everything. What is missing from the result has been reported or was not asked for. */
export async function readMaterials(
  tables: Tables,
  { environment, wall, accounts }: { environment: FromEnvironment; wall: number; accounts: HostAccounts },
  report: Report,
): Promise<Materials> {
  const certificates = new Map<string, CertificateFiles>()
  const clients = new Map<string, CertificateFiles>()
  const bundles = new Map<string, string>()
  for (const section of tables.all('tls.certificate.<name>')) {
    const files = await readCertificate(section, { cert: 'cert', key: 'key' }, wall, report)
    if (files === undefined) continue
    certificates.set(section.name, files)
    if (!section.isSet('subjects') && files.subjects.length === 0) {
      report.warnings.push(`The certificate in ${section.path('cert')} names no host: it serves only as the default.`)
    }
  }
  for (const section of tables.all('destination.<name>')) {
    if (section.isSet('tls_client_cert') && section.isSet('tls_client_key')) {
      const files = await readCertificate(section, { cert: 'tls_client_cert', key: 'tls_client_key' }, wall, report)
      if (files !== undefined) clients.set(section.name, files)
    }
    const bundle = await readBundle(section, 'tls_ca', report)
    if (bundle !== undefined) bundles.set(section.name, bundle)
  }
  warnAboutSelfSigned(tables, report)
  await checkTicketKey(tables.one('tls'), report)
  await checkIdentity(tables.one('server'), accounts, report)
  const stores = {
    redis: await readBundle(tables.one('mapping.redis'), 'tls_ca', report),
    sql: await readSqlBundle(tables.one('mapping.sql'), report),
    bus: await readBundle(tables.one('cluster'), 'tls_ca', report),
  }
  return { certificates, clients, bundles, stores, token: await readToken(tables.one('admin'), environment, report) }
}

/** That of tls_ca, else the one that the URL names; that there are not both has been seen to. */
async function readSqlBundle(sql: Section, report: Report): Promise<string | undefined> {
  if (sql.isSet('tls_ca')) return readBundle(sql, 'tls_ca', report)
  const target = sqlTarget(sql)
  if (target === undefined || target.kind === 'sqlite' || target.sslRootCert === undefined) return undefined
  return readBundleAt(target.sslRootCert, sql.path('url'), report)
}

function warnAboutSelfSigned(tables: Tables, report: Report): void {
  if (tables.all('tls.certificate.<name>').length > 0) return
  const encrypted = tables.all('listener.<name>').some((listener) => listener.text('tls') !== 'plain')
  const needed = encrypted || tables.one('admin').present
  if (needed) {
    report.warnings.push(
      'There is no [tls.certificate.<name>]: a self-signed certificate is made at start, which clients will not trust.',
    )
  }
}

async function checkTicketKey(tls: Section, report: Report): Promise<void> {
  const bytes = await readNamedFile(tls, 'ticket_key_file', report)
  if (bytes === undefined) return
  const path = tls.path('ticket_key_file')
  if (bytes.length !== TICKET_KEYS) {
    report.mistakes.push({ path, message: `the file must hold ${TICKET_KEYS} bytes, it holds ${bytes.length}` })
    return
  }
  // Gone since it was read: the start will say so.
  const status = await stat(tls.text('ticket_key_file') ?? '').catch(() => undefined)
  const mode = (status?.mode ?? 0) & 0o777
  if ((mode & TOO_OPEN) === 0) return
  report.warnings.push(
    `The file in ${path} has the permissions ${mode.toString(8).padStart(4, '0')}: whoever reads it can pose as this server ` +
      'to clients that resume a session; 0600 is enough.',
  )
}

/** The environment's token, else the file's, else the one in the configuration. */
async function readToken(admin: Section, environment: FromEnvironment, report: Report): Promise<string | undefined> {
  if (!admin.present) return undefined
  const least = admin.number('min_token_len') ?? 0
  const given = environment.adminToken
  if (given !== undefined) return longEnough(given, 'PROXY_ADMIN_TOKEN', least, report)
  const path = admin.path('bearer_token_file')
  if (admin.isSet('bearer_token_file')) {
    if (admin.isSet('bearer_token')) {
      report.warnings.push(
        `${admin.path('bearer_token')} is not used, because bearer_token_file is set.`,
      )
    }
    const bytes = await readNamedFile(admin, 'bearer_token_file', report)
    if (bytes === undefined) return undefined
    // Editors and `echo` end a file with a line break.
    const token = bytes.toString('utf8').trim()
    const wrong = TOKEN.check(token)
    if (wrong === undefined) return longEnough(token, path, least, report)
    report.mistakes.push({ path, message: `the token in it is ${wrong}`, allowed: TOKEN.allowed })
    return undefined
  }
  if (admin.isSet('bearer_token')) {
    const token = admin.text('bearer_token')
    return token === undefined ? undefined : longEnough(token, admin.path('bearer_token'), least, report)
  }
  const allowed = 'bearer_token_file, bearer_token, or PROXY_ADMIN_TOKEN in the environment'
  report.mistakes.push({ path, message: 'a token is needed', allowed })
  return undefined
}

function longEnough(token: string, path: string, least: number, report: Report): string | undefined {
  if (token.length >= least) return token
  report.mistakes.push({ path, message: `the token has ${token.length} characters, min_token_len is ${least}` })
  return undefined
}
