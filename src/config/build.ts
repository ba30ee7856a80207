/**
 * From checked tables to the Config that the rest of Signalbox sees. Runs only when nothing was reported, so a
 * missing value here is an error of this program and not of the operator.
 */
import { createHash, randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { cipherSuiteName } from '../tls/policy.ts'
import { buildCapabilities, buildHttp } from './build-protocols.ts'
import { buildDestination } from './build-destination.ts'
import type {
  AdminConfig,
  CertificateConfig,
  ClusterConfig,
  Config,
  ListenerConfig,
  MappingConfig,
  ServerConfig,
} from './config.ts'
import type { FromEnvironment } from './environment.ts'
import type { Materials } from './materials.ts'
import { boundAddresses } from './rules-listener.ts'
import { PROTOCOLS, TLS_MODES } from './schema-listener.ts'
import { duration, flag, number, sure } from './sure.ts'
import { SOURCES } from './schema-mapping.ts'
import { LOG_LEVELS } from './schema-server.ts'
import type { Section } from './section.ts'
import type { Tables } from './tables.ts'

export interface BuildInput {
  /** Absolute path of the file. */
  readonly path: string | undefined
  readonly tables: Tables
  readonly environment: FromEnvironment
  readonly materials: Materials
  /** Workers that threads = 0 stands for. */
  readonly cores: number
  /** What stands for log.redaction_key where there is none; undefined: a new one. */
  readonly redactionKey?: string | undefined
}

/** @throws SignalboxError INTERNAL when the tables had not passed the checks */
export function buildConfig(input: BuildInput): Config {
  const { tables, materials } = input
  const oauth = tables.one('oauth')
  const routing = tables.one('routing')
  const limits = tables.one('limits')
  const log = tables.one('log')
  const tls = tables.one('tls.protocols')
  const ticketKeyFile = tables.one('tls').text('ticket_key_file')
  return {
    path: input.path,
    server: buildServer(tables.one('server'), input),
    tls: {
      certificates: tables.all('tls.certificate.<name>').map((section) => buildCertificate(section, materials)),
      minVersion: sure(tls.choice('min_version', ['1.2', '1.3']), tls, 'min_version'),
      ignoreClientOrder: flag(tls, 'ignore_client_order'),
      disabledCipherSuites: [
        ...new Set((tls.texts('disable_cipher_suites') ?? []).flatMap((name) => cipherSuiteName(name) ?? [])),
      ],
      ticketKeyFile: ticketKeyFile === undefined ? undefined : resolve(ticketKeyFile),
      watch: flag(tables.one('tls'), 'watch'),
    },
    listeners: tables.all('listener.<name>').map(buildListener),
    destinations: tables.all('destination.<name>').map((section) => buildDestination(section, tables, materials)),
    routing: {
      defaultDestination: sure(routing.text('default_destination'), routing, 'default_destination'),
      smtpPassthroughDestination: routing.text('smtp_passthrough_destination'),
      masterUserSeparators: sure(routing.texts('master_user_separators'), routing, 'master_user_separators'),
      saslPlainIdentity: sure(
        routing.choice('sasl_plain_identity', ['authzid', 'authcid']),
        routing,
        'sasl_plain_identity',
      ),
    },
    mapping: buildMapping(tables, materials),
    capabilities: buildCapabilities(tables),
    oauth: { jwtUsernameClaim: sure(oauth.text('jwt_username_claim'), oauth, 'jwt_username_claim') },
    http: buildHttp(tables),
    admin: buildAdmin(tables.one('admin'), materials),
    cluster: buildCluster(tables, input),
    limits: {
      maxConnectionsPerIp: number(limits, 'max_connections_per_ip'),
      maxSessionsPerAccount: number(limits, 'max_sessions_per_account'),
      authFailureDelay: duration(limits, 'auth_failure_delay'),
      preauthBuffer: sure(limits.size('preauth_buffer'), limits, 'preauth_buffer'),
      maxPreauthMemory: sure(limits.size('max_preauth_memory'), limits, 'max_preauth_memory'),
      loginHoldMax: number(limits, 'login_hold_max'),
    },
    log: {
      accounts: sure(log.choice('accounts', ['redacted', 'full']), log, 'accounts'),
      redactionKey: log.text('redaction_key') ?? input.redactionKey ?? randomBytes(32).toString('hex'),
    },
  }
}

function buildServer(server: Section, input: BuildInput): ServerConfig {
  const threads = number(server, 'threads')
  return {
    threads: threads === 0 ? input.cores : threads,
    hostname: server.text('hostname'),
    shutdownGrace: duration(server, 'shutdown_grace'),
    rollGrace: duration(server, 'roll_grace'),
    bridgeIdle: duration(server, 'bridge_idle'),
    backendTimeout: duration(server, 'backend_timeout'),
    backendConnectRetries: number(server, 'backend_connect_retries'),
    hostDownThreshold: number(server, 'host_down_threshold'),
    hostDownMinClients: number(server, 'host_down_min_clients'),
    hostDownCooldown: duration(server, 'host_down_cooldown'),
    proxyTtl: number(server, 'proxy_ttl'),
    logLevel: input.environment.logLevel ?? sure(server.choice('log_level', LOG_LEVELS), server, 'log_level'),
    logFormat: sure(server.choice('log_format', ['auto', 'json', 'pretty']), server, 'log_format'),
    distribution: sure(server.choice('distribution', ['primary', 'kernel']), server, 'distribution'),
    user: server.text('user'),
    group: server.text('group'),
  }
}

function buildCertificate(section: Section, materials: Materials): CertificateConfig {
  const files = sure(materials.certificates.get(section.name), section, 'cert')
  return {
    name: section.name,
    certPath: resolve(sure(section.text('cert'), section, 'cert')),
    keyPath: resolve(sure(section.text('key'), section, 'key')),
    cert: files.cert,
    key: files.key,
    subjects: section.texts('subjects')?.map((name) => name.toLowerCase().replace(/\.$/, '')) ?? files.subjects,
    subjectsSet: section.isSet('subjects'),
    default: flag(section, 'default'),
  }
}

function buildListener(section: Section): ListenerConfig {
  return {
    name: section.name,
    protocol: sure(section.choice('protocol', PROTOCOLS), section, 'protocol'),
    bind: boundAddresses(section),
    tls: sure(section.choice('tls', TLS_MODES), section, 'tls'),
    proxyProtocol: sure(section.choice('proxy_protocol', ['off', 'optional', 'required']), section, 'proxy_protocol'),
    proxyTrusted: sure(section.texts('proxy_trusted'), section, 'proxy_trusted'),
    maxConnections: number(section, 'max_connections'),
    preauthTimeout: duration(section, 'preauth_timeout'),
    maxAuthAttempts: number(section, 'max_auth_attempts'),
    forwarded: sure(section.choice('forwarded', ['trust', 'off']), section, 'forwarded'),
  }
}

function buildMapping(tables: Tables, { stores }: Materials): MappingConfig {
  const mapping = tables.one('mapping')
  const [file, redis, sql] = [tables.one('mapping.file'), tables.one('mapping.redis'), tables.one('mapping.sql')]
  return {
    source: sure(mapping.choice('source', SOURCES), mapping, 'source'),
    normalize: sure(mapping.choice('normalize', ['none', 'lowercase']), mapping, 'normalize'),
    positiveTtl: duration(mapping, 'positive_ttl'),
    negativeTtl: duration(mapping, 'negative_ttl'),
    cacheMaxEntries: number(mapping, 'cache_max_entries'),
    lookupTimeout: duration(mapping, 'lookup_timeout'),
    onFailure: sure(mapping.choice('on_failure', ['reject', 'default']), mapping, 'on_failure'),
    onFailureSet: mapping.isSet('on_failure'),
    settle: duration(mapping, 'settle'),
    auditRate: number(mapping, 'audit_rate'),
    staleTtl: duration(mapping, 'stale_ttl'),
    file: file.present
      ? {
        path: resolve(sure(file.text('path'), file, 'path')),
        watch: flag(file, 'watch'),
        shared: flag(file, 'shared'),
      }
      : undefined,
    redis: redis.present
      ? {
          url: sure(redis.text('url'), redis, 'url'),
          keyPrefix: sure(redis.text('key_prefix'), redis, 'key_prefix'),
          poolSize: number(redis, 'pool_size'),
          watch: flag(redis, 'watch'),
          waitReplicas: number(redis, 'wait_replicas'),
          ca: stores.redis,
        }
      : undefined,
    sql: sql.present
      ? {
          url: sure(sql.text('url'), sql, 'url'),
          query: sure(sql.text('query'), sql, 'query'),
          poolSize: number(sql, 'pool_size'),
          upsertQuery: sql.text('upsert_query'),
          deleteQuery: sql.text('delete_query'),
          listQuery: sql.text('list_query'),
          ca: stores.sql,
          listen: sql.text('listen'),
        }
      : undefined,
  }
}

function buildAdmin(admin: Section, materials: Materials): AdminConfig | undefined {
  if (!admin.present) return undefined
  return {
    bind: sure(boundAddresses(admin)[0], admin, 'bind'),
    token: sure(materials.token, admin, 'bearer_token'),
    lockoutThreshold: number(admin, 'lockout_threshold'),
    lockoutDuration: duration(admin, 'lockout_duration'),
    certificate: admin.text('certificate'),
    metricsOpen: flag(admin, 'metrics_open'),
  }
}

function buildCluster(tables: Tables, { environment, materials: { stores } }: BuildInput): ClusterConfig {
  const cluster = tables.one('cluster')
  const redis = tables.one('mapping.redis')
  const derived = tables.one('mapping').text('source') === 'redis' ? redis.text('url') : undefined
  const busExplicit = cluster.isSet('bus')
  const bus = cluster.text('bus') ?? derived
  return {
    instance: cluster.text('instance') ?? hostname(),
    bus,
    busExplicit,
    ca: stores.bus ?? (busExplicit ? undefined : stores.redis),
    channel: cluster.text('channel') ?? channelOf(bus ?? '', redis.text('key_prefix') ?? ''),
    secret: environment.clusterSecret ?? cluster.text('secret'),
    heartbeat: duration(cluster, 'heartbeat'),
    ackTimeout: duration(cluster, 'ack_timeout'),
    busDownTtl: duration(cluster, 'bus_down_ttl'),
  }
}

/** Fleets that share a server but neither URL nor prefix stay apart; a changed password does not part a fleet. */
function channelOf(bus: string, prefix: string): string {
  // Up to the last "@": a password may hold one.
  const withoutPassword = bus.replace(/^([a-z+]+:\/\/)([^:@/]*)(?::[^/]*)?@/, '$1$2@')
  return `signalbox:${createHash('sha256').update(`${withoutPassword}\n${prefix}`).digest('hex').slice(0, 16)}`
}
