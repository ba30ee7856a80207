/**
 * The checked configuration as the rest of Signalbox sees it: durations in milliseconds, sizes in bytes, names
 * resolved, defaults filled in. Plain data (no functions, no class instances), so that the primary can send it to
 * the workers. Built by load.ts, never by hand outside tests (test/support/config.ts).
 */

export type ProtocolName = 'imap' | 'pop3' | 'managesieve' | 'submission' | 'smtp' | 'lmtp' | 'http'
/** The protocols that have a dialogue before login and so capabilities of their own. */
export type DialogueProtocol = 'imap' | 'pop3' | 'managesieve' | 'submission'
export type TlsMode = 'implicit' | 'starttls' | 'plain'
export type Forwarding = 'proxy' | 'xclient' | 'none'
export type Mechanism = 'PLAIN' | 'LOGIN' | 'OAUTHBEARER' | 'XOAUTH2'
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'
export type TlsVersion = '1.2' | '1.3'

/** A parsed socket address; `text` is as written, for messages. IPv6 hosts carry no brackets. */
export interface SocketAddress {
  readonly host: string
  readonly port: number
  readonly family: 4 | 6
  readonly text: string
}

export interface ServerConfig {
  /** Workers to start; 0 has already been replaced by the number of available cores. */
  readonly threads: number
  readonly hostname: string | undefined
  readonly shutdownGrace: number
  readonly rollGrace: number
  readonly bridgeIdle: number
  readonly backendTimeout: number
  readonly backendConnectRetries: number
  readonly hostDownThreshold: number
  readonly hostDownMinClients: number
  readonly hostDownCooldown: number
  readonly proxyTtl: number
  readonly logLevel: LogLevel
  readonly logFormat: 'auto' | 'json' | 'pretty'
  readonly distribution: 'primary' | 'kernel'
  readonly user: string | undefined
  readonly group: string | undefined
}

export interface CertificateConfig {
  readonly name: string
  /** Paths, for messages and watching. */
  readonly certPath: string
  readonly keyPath: string
  /** PEM texts, read at load. */
  readonly cert: string
  readonly key: string
  /** Lower-case names it serves. */
  readonly subjects: readonly string[]
  /** They were written in the file, and are not the certificate's own. */
  readonly subjectsSet: boolean
  readonly default: boolean
}

export interface TlsConfig {
  readonly certificates: readonly CertificateConfig[]
  readonly minVersion: TlsVersion
  readonly ignoreClientOrder: boolean
  /** OpenSSL names of TLS 1.2 and 1.3 suites that are switched off. */
  readonly disabledCipherSuites: readonly string[]
  readonly ticketKeyFile: string | undefined
  /** Certificates, keys and ticket keys are read again when their files change. */
  readonly watch: boolean
}

export interface ListenerConfig {
  readonly name: string
  readonly protocol: ProtocolName
  readonly bind: readonly SocketAddress[]
  readonly tls: TlsMode
  readonly proxyProtocol: 'off' | 'optional' | 'required'
  readonly proxyTrusted: readonly string[]
  readonly maxConnections: number
  readonly preauthTimeout: number
  readonly maxAuthAttempts: number
  readonly forwarded: 'trust' | 'off'
}

export interface LegConfig {
  readonly protocol: ProtocolName
  readonly port: number
  readonly tls: TlsMode
  readonly forwarding: Forwarding
}

export interface DestinationConfig {
  readonly name: string
  readonly host: string
  /** Name expected in the certificate: tls_server_name, else host. */
  readonly tlsServerName: string
  readonly forwarding: Forwarding
  readonly forwarded: boolean
  readonly allowInvalidCerts: boolean
  /** 64 lower-case hex digits without colons. */
  readonly pinnedCertSha256: string | undefined
  /** PEM texts of the client certificate and key. */
  readonly clientCert: string | undefined
  readonly clientKey: string | undefined
  /** PEM text of the CA bundle. */
  readonly ca: string | undefined
  readonly sourceIps: readonly string[]
  readonly hideAuthErrors: boolean
  readonly allowPlaintextAuth: boolean
  readonly maxConnections: number
  readonly legs: Readonly<Partial<Record<ProtocolName, LegConfig>>>
}

export interface RoutingConfig {
  readonly defaultDestination: string
  readonly smtpPassthroughDestination: string | undefined
  readonly masterUserSeparators: readonly string[]
  readonly saslPlainIdentity: 'authzid' | 'authcid'
}

export interface FileMappingConfig {
  readonly path: string
  readonly watch: boolean
  readonly shared: boolean
}

export interface RedisMappingConfig {
  readonly url: string
  readonly keyPrefix: string
  readonly poolSize: number
  readonly watch: boolean
  readonly waitReplicas: number
  /** PEM text of the CA bundle. */
  readonly ca: string | undefined
}

export interface SqlMappingConfig {
  readonly url: string
  readonly query: string
  readonly poolSize: number
  readonly upsertQuery: string | undefined
  readonly deleteQuery: string | undefined
  readonly listQuery: string | undefined
  /** PEM text of the CA bundle: that of tls_ca, else of sslrootcert in the URL. */
  readonly ca: string | undefined
  readonly listen: string | undefined
}

export interface MappingConfig {
  readonly source: 'file' | 'redis' | 'sql'
  readonly normalize: 'none' | 'lowercase'
  readonly positiveTtl: number
  readonly negativeTtl: number
  readonly cacheMaxEntries: number
  readonly lookupTimeout: number
  readonly onFailure: 'reject' | 'default'
  /** Whether the file set on_failure: then Redis being away at start is no reason to refuse. */
  readonly onFailureSet: boolean
  readonly settle: number
  readonly auditRate: number
  readonly staleTtl: number
  readonly file: FileMappingConfig | undefined
  readonly redis: RedisMappingConfig | undefined
  readonly sql: SqlMappingConfig | undefined
}

export interface ImapCapabilities {
  readonly sasl: readonly Mechanism[]
  readonly allowPlainAuthWithoutTls: boolean
  readonly banner: string
  readonly advertise: readonly string[]
  /** Fields of the ID answer, in order; empty: NIL. */
  readonly id: readonly (readonly [string, string])[]
}

export interface Pop3Capabilities {
  readonly sasl: readonly Mechanism[]
  readonly allowPlainAuthWithoutTls: boolean
  readonly banner: string
  readonly capa: readonly string[]
}

export interface ManageSieveCapabilities {
  readonly sasl: readonly Mechanism[]
  readonly allowPlainAuthWithoutTls: boolean
  readonly banner: string
  readonly sieve: readonly string[]
  readonly implementation: string
}

export interface SubmissionCapabilities {
  readonly sasl: readonly Mechanism[]
  readonly allowPlainAuthWithoutTls: boolean
  readonly banner: string
  readonly ehlo: readonly string[]
}

export interface CapabilitiesConfig {
  readonly imap: ImapCapabilities
  readonly pop3: Pop3Capabilities
  readonly managesieve: ManageSieveCapabilities
  readonly submission: SubmissionCapabilities
}

export interface HttpRouteConfig {
  readonly match: string
  readonly destination: string | undefined
  readonly extract:
    | { readonly from: 'authorization' }
    | { readonly from: 'query'; readonly param: string }
    | { readonly from: 'header'; readonly header: string }
    | { readonly from: 'body'; readonly regex: string }
    | undefined
  readonly fallback: string | undefined
}

export interface HttpConfig {
  readonly routes: readonly HttpRouteConfig[]
  readonly bodyExtractCap: number
  readonly maxHeadSize: number
  readonly relayIdle: number
  readonly keepaliveTimeout: number
  readonly maxKeepaliveRequests: number
}

export interface AdminConfig {
  readonly bind: SocketAddress
  /** The token itself, from the file, the key or the environment. Never logged. */
  readonly token: string
  readonly lockoutThreshold: number
  readonly lockoutDuration: number
  /** Name of a [tls.certificate], or undefined for the default one. */
  readonly certificate: string | undefined
  readonly metricsOpen: boolean
}

export interface ClusterConfig {
  readonly instance: string
  readonly bus: string | undefined
  /** Whether `bus` was written in the file (then a refusal ends the start) or derived from mapping.redis.url. */
  readonly busExplicit: boolean
  /** PEM text of the bus's CA bundle. */
  readonly ca: string | undefined
  readonly channel: string
  readonly secret: string | undefined
  readonly heartbeat: number
  readonly ackTimeout: number
  readonly busDownTtl: number
}

export interface LimitsConfig {
  readonly maxConnectionsPerIp: number
  readonly maxSessionsPerAccount: number
  readonly authFailureDelay: number
  readonly preauthBuffer: number
  readonly maxPreauthMemory: number
  readonly loginHoldMax: number
}

export interface LogConfig {
  readonly accounts: 'redacted' | 'full'
  /** Set from the file, else made by the primary at start and shared with the workers. */
  readonly redactionKey: string
}

export interface Config {
  /** Absolute path of the file, or undefined for the demo. */
  readonly path: string | undefined
  readonly server: ServerConfig
  readonly tls: TlsConfig
  readonly listeners: readonly ListenerConfig[]
  readonly destinations: readonly DestinationConfig[]
  readonly routing: RoutingConfig
  readonly mapping: MappingConfig
  readonly capabilities: CapabilitiesConfig
  readonly oauth: { readonly jwtUsernameClaim: string }
  readonly http: HttpConfig
  readonly admin: AdminConfig | undefined
  readonly cluster: ClusterConfig
  readonly limits: LimitsConfig
  readonly log: LogConfig
}
