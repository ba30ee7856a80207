/**
 * What [mapping], its sources and the bus demand of each other. Whatever a source would refuse at its start for what the
 * file says is refused here, so that `signalbox check` and a reload know it too.
 */
import type { Report } from './mistake.ts'
import { parseRedisUrl } from './redis-url.ts'
import { isVerified, parseSqlUrl, type SqlTarget } from './sql-url.ts'
import type { Section } from './section.ts'
import type { Tables } from './tables.ts'

export function checkSourceRules(tables: Tables, report: Report): void {
  const mapping = tables.one('mapping')
  if (!mapping.present) {
    report.mistakes.push({ path: mapping.path('source'), message: 'must be set', allowed: '"file", "redis" or "sql"' })
  }
  const source = mapping.choice('source', ['file', 'redis', 'sql'])
  if (source !== undefined && !tables.one(`mapping.${source}`).present) {
    report.mistakes.push(
      { path: `mapping.${source}`, message: `the table is missing, though mapping.source is "${source}"` },
    )
  }
  if (source === 'file' && tables.one('cluster').isSet('bus') && tables.one('mapping.file').flag('shared') !== true) {
    const message = 'the file source and a bus go together only when all instances read the same file'
    report.mistakes.push({ path: 'mapping.file.shared', message, allowed: 'true, or no cluster.bus' })
  }
  checkRedis(tables.one('mapping.redis'), report)
  checkSql(tables.one('mapping.sql'), report)
  checkCluster(tables, report)
}

/** What mapping.sql.url points at; undefined: it is missing or wrong, which has been said. */
export function sqlTarget(sql: Section): SqlTarget | undefined {
  const url = sql.text('url')
  return url === undefined ? undefined : parseSqlUrl(url)
}

function checkRedis(redis: Section, report: Report): void {
  checkAuthority(redis, redis.text('url'), report)
  if (redis.text('key_prefix') !== '') return
  report.warnings.push(
    `${redis.path('key_prefix')} is empty: every key of the database counts as a mapping, and imports cannot replace them.`,
  )
}

function checkSql(sql: Section, report: Report): void {
  if (sql.isSet('upsert_query') !== sql.isSet('delete_query')) {
    report.warnings.push('mapping.sql has only one of upsert_query and delete_query: mappings cannot be written.')
  }
  const target = sqlTarget(sql)
  if (target === undefined) return
  if (sql.isSet('listen') && target.kind !== 'postgres') {
    report.mistakes.push({ path: sql.path('listen'), message: 'only PostgreSQL has channels' })
  }
  if (!sql.isSet('tls_ca')) return
  const path = sql.path('tls_ca')
  if (target.kind === 'sqlite') report.mistakes.push({ path, message: 'is for servers: SQLite has none' })
  else if (target.sslRootCert !== undefined) report.mistakes.push({ path, message: 'the URL names another one: sslrootcert' })
  else if (!isVerified(target.sslMode, true)) {
    // Who names a CA expects it to be asked.
    const message = `nothing is verified with sslmode=${target.sslMode}`
    report.mistakes.push({ path, message, allowed: 'sslmode=verify-full, verify-ca or require in the URL' })
  }
}

function checkCluster(tables: Tables, report: Report): void {
  const cluster = tables.one('cluster')
  const derived = tables.one('mapping').text('source') === 'redis' ? tables.one('mapping.redis').text('url') : undefined
  const bus = cluster.isSet('bus') ? cluster.text('bus') : derived
  if (bus === undefined) {
    if (cluster.isSet('tls_ca') && !cluster.isSet('bus')) report.mistakes.push({ path: cluster.path('tls_ca'), message: 'there is no bus' })
    return
  }
  checkAuthority(cluster, bus, report)
  const [heartbeat, life] = [cluster.duration('heartbeat'), cluster.duration('bus_down_ttl')]
  if (heartbeat === undefined || life === undefined || life >= heartbeat) return
  const message = 'is shorter than cluster.heartbeat: that the bus is away is not noticed so fast'
  report.mistakes.push({ path: cluster.path('bus_down_ttl'), message, allowed: 'the heartbeat or longer' })
}

/** A CA that is never asked would be taken for encryption. */
function checkAuthority(section: Section, url: string | undefined, report: Report): void {
  if (!section.isSet('tls_ca') || url === undefined || parseRedisUrl(url).tls) return
  report.mistakes.push({ path: section.path('tls_ca'), message: 'the URL has no TLS', allowed: 'rediss://… as the URL' })
}
