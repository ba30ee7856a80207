/**
 * A complete Config for tests that need one without a file. It is what the loader makes of a small sound file, and
 * `overrides` replaces any part of it, however deep; lists are replaced as a whole.
 */
import type { Config, DestinationConfig, LegConfig, ListenerConfig, ProtocolName } from '../../src/config/config.ts'

/** A configuration of which any part may be given. */
export type DeepPartial<T> = T extends readonly unknown[] | string | number | boolean | undefined
  ? T
  : { readonly [K in keyof T]?: DeepPartial<T[K]> | undefined }

/** An imap listener on a port that the kernel chooses, without TLS unless `overrides` says so. */
export function testListener(overrides: Partial<ListenerConfig> = {}): ListenerConfig {
  return {
    name: 'imap',
    protocol: 'imap',
    bind: [{ host: '127.0.0.1', port: 0, family: 4, text: '127.0.0.1:0' }],
    tls: 'plain',
    proxyProtocol: 'off',
    proxyTrusted: [],
    maxConnections: 8_192,
    preauthTimeout: 30_000,
    maxAuthAttempts: 3,
    forwarded: 'off',
    ...overrides,
  }
}

export function testLeg(overrides: Partial<LegConfig> = {}): LegConfig {
  return { protocol: 'imap', port: 143, tls: 'plain', forwarding: 'none', ...overrides }
}

/** A destination on the loopback with one leg, plain and allowed to be. */
export function testDestination(overrides: Partial<DestinationConfig> = {}): DestinationConfig {
  const legs: Partial<Record<ProtocolName, LegConfig>> = { imap: testLeg() }
  const host = overrides.host ?? '127.0.0.1'
  return {
    name: 'legacy',
    host,
    tlsServerName: host,
    forwarding: 'none',
    forwarded: false,
    allowInvalidCerts: false,
    pinnedCertSha256: undefined,
    clientCert: undefined,
    clientKey: undefined,
    ca: undefined,
    sourceIps: [],
    hideAuthErrors: false,
    allowPlaintextAuth: true,
    maxConnections: 0,
    legs,
    ...overrides,
  }
}

/**
 * A Config with one plain imap listener on 127.0.0.1:0, the destinations "legacy" (default) and "stalwart" on the
 * loopback, the file source, one worker, no management API, and every default of the schema besides.
 */
export function testConfig(overrides: DeepPartial<Config> = {}): Config {
  return merge(baseConfig(), overrides)
}

function baseConfig(): Config {
  const common = {
    sasl: ['PLAIN', 'LOGIN', 'OAUTHBEARER', 'XOAUTH2'],
    allowPlainAuthWithoutTls: false,
    banner: 'Signalbox ready',
  } as const
  return {
    path: undefined,
    server: {
      threads: 1,
      hostname: undefined,
      shutdownGrace: 30_000,
      rollGrace: 86_400_000,
      bridgeIdle: 1_800_000,
      backendTimeout: 10_000,
      backendConnectRetries: 1,
      hostDownThreshold: 5,
      hostDownMinClients: 2,
      hostDownCooldown: 30_000,
      proxyTtl: 7,
      logLevel: 'info',
      logFormat: 'auto',
      distribution: 'primary',
      user: undefined,
      group: undefined,
    },
    tls: {
      certificates: [],
      minVersion: '1.2',
      ignoreClientOrder: false,
      disabledCipherSuites: [],
      ticketKeyFile: undefined,
      watch: false,
    },
    listeners: [testListener()],
    destinations: [testDestination(), testDestination({ name: 'stalwart', legs: { imap: testLeg({ port: 1_143 }) } })],
    routing: {
      defaultDestination: 'legacy',
      smtpPassthroughDestination: undefined,
      masterUserSeparators: ['%'],
      saslPlainIdentity: 'authzid',
    },
    mapping: {
      source: 'file',
      normalize: 'none',
      positiveTtl: 600_000,
      negativeTtl: 30_000,
      cacheMaxEntries: 1_000_000,
      lookupTimeout: 5_000,
      onFailure: 'reject',
      onFailureSet: false,
      settle: 1_000,
      auditRate: 1,
      staleTtl: 86_400_000,
      file: { path: '/nonexistent/mappings.tsv', watch: false, shared: false },
      redis: undefined,
      sql: undefined,
    },
    capabilities: {
      imap: { ...common, advertise: ['IMAP4rev1', 'SASL-IR', 'LITERAL-', 'ID', 'ENABLE'], id: [] },
      pop3: { ...common, capa: ['TOP', 'UIDL', 'RESP-CODES', 'AUTH-RESP-CODE', 'PIPELINING'] },
      managesieve: {
        ...common,
        sieve: [
          'fileinto',
          'reject',
          'envelope',
          'vacation',
          'imap4flags',
          'copy',
          'variables',
          'relational',
          'regex',
          'subaddress',
          'body',
          'include',
          'date',
        ],
        implementation: 'Signalbox',
      },
      submission: {
        ...common,
        banner: 'ESMTP Signalbox',
        ehlo: ['ENHANCEDSTATUSCODES', '8BITMIME', 'PIPELINING', 'SIZE'],
      },
    },
    oauth: { jwtUsernameClaim: 'email' },
    http: {
      routes: [],
      bodyExtractCap: 65_536,
      maxHeadSize: 65_536,
      relayIdle: 60_000,
      keepaliveTimeout: 75_000,
      maxKeepaliveRequests: 1_000,
    },
    admin: undefined,
    cluster: {
      instance: 'test',
      bus: undefined,
      busExplicit: false,
      ca: undefined,
      channel: 'signalbox:test',
      secret: undefined,
      heartbeat: 1_000,
      ackTimeout: 2_000,
      busDownTtl: 5_000,
    },
    limits: {
      maxConnectionsPerIp: 0,
      maxSessionsPerAccount: 0,
      authFailureDelay: 1_000,
      preauthBuffer: 65_536,
      maxPreauthMemory: 268_435_456,
      loginHoldMax: 10_000,
    },
    log: { accounts: 'redacted', redactionKey: 'a key for tests only' },
  }
}

function merge<T extends object>(base: T, overrides: object): T {
  const merged = { ...base }
  for (const [key, given] of Object.entries(overrides)) {
    const present: unknown = Reflect.get(base, key)
    Reflect.set(merged, key, isPlain(given) && isPlain(present) ? merge(present, given) : given)
  }
  return merged
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
