/** Which test tries which bound of src/limits.ts. What that means, and what looks after it: test/limits.test.ts. */

/** Test file (without test/ and .test.ts) → the constants that it tries by their names. */
export const BY_NAME: Readonly<Record<string, readonly string[]>> = {
  'hostile/imap': ['IMAP_LINE', 'IMAP_LITERALS', 'IMAP_LITERAL_MINUS', 'SASL_LINE', 'PREAUTH_COMMANDS', 'PIPELINED_BEHIND_LOGIN'],
  'hostile/managesieve': ['MANAGESIEVE_LINE', 'MANAGESIEVE_LITERALS'],
  'hostile/submission': ['SMTP_LINE', 'HELO_NAME'],
  'protocol/pop3/preauth': ['POP3_LINE'],
  'protocol/pop3/backend': ['POP3_AUTH_LINE'],
  'protocol/submission/backend': ['SMTP_COMMAND'],
  'protocol/managesieve/backend': ['MANAGESIEVE_QUOTED'],
  'protocol/imap/fuzz': ['BACKEND_LINE', 'BACKEND_PREAMBLE'],
  'identity/token': ['TOKEN'],
  'identity/identifier': ['IDENTIFIER'],
  'session/preauth-memory': ['PREAUTH_CONNECTION'],
  inlet: ['READ_ROOM', 'SPARE_ROOMS'],
  'session/bridge': ['KEEPALIVE_IDLE_MS', 'KEEPALIVE_INTERVAL_MS', 'KEEPALIVE_PROBES'],
  'session/session': ['LAST_WORDS_MS'],
  'session/sessions': ['KEEPALIVE_LOOK_MS', 'SESSIONS_LISTED', 'DRAIN_STEP_MS'],
  'session/review': ['REVIEW_BATCH', 'REVIEW_STEP_MS', 'REVIEW_PAUSE_MS'],
  'session/http/connection': ['HTTP_PIPELINED', 'HTTP_KEEPALIVE_MARGIN_MS'],
  'session/http/exchange': ['HTTP_LINGER_MS'],
  'session/http/pool': ['HTTP_BACKEND_IDLE_MS', 'HTTP_BACKENDS_IDLE'],
  'hostile/http-slow': ['HTTP2_HEAD_ROOM', 'HTTP2_SESSION_MIB'],
  'system/http-legs': ['HTTP2_STREAMS', 'HTTP2_STREAM_WINDOW', 'HTTP2_SESSION_WINDOW'],
  'listener/proxy-header': ['PROXY_HEADER'],
  'listener/inbound-proxy': ['PROXY_HEADER_WAIT_MS'],
  'listener/descriptors': ['DESCRIPTOR_RESERVE', 'WORKER_DESCRIPTORS'],
  'mapping/file/parser': ['MAPPING_LINE', 'MAPPING_MISTAKES'],
  'mapping/file/source': ['MAPPING_FILE', 'MAPPING_OVERLAY', 'RELOAD_DIFFERENCES'],
  'mapping/redis/lookup': ['MAPPING_VALUE', 'REDIS_REPLY'],
  'mapping/sql/pool': ['LOOKUPS_IN_FLIGHT'],
  'mapping/spool': ['MAPPING_BATCH'],
  'mapping/file/lock': ['SHARED_LOCK_STALE_MS', 'SHARED_LOCK_WAIT_MS'],
  'mapping/gathering': ['GATHER_MS'],
  'mapping/tally': ['SUMMARY_VALUES'],
  'mapping/waiting': ['RECONNECT_MIN_MS', 'RECONNECT_MAX_MS'],
  'mapping/redis/watch': ['WATCH_REFUSED_MS', 'WATCH_SILENCE'],
  'mapping/redis/watch-pair': ['REDIS_PUSH'],
  'mapping/redis/connection': ['REDIS_HANDSHAKE_MS'],
  'mapping/file/shared-conflicts': ['SHARED_TRIES'],
  'primary/bus-member': ['BUS_WELCOMES'],
  'primary/deaths': ['RESPAWN_MIN_MS', 'RESPAWN_MAX_MS', 'DEATHS_AT_START'],
  'primary/cutover': ['CUTOVER_LEASE_MARGIN_MS'],
  'management/sessions': ['DRAIN_DEFAULT_MS', 'DRAIN_SECONDS'],
  'observe/redaction': ['REDACTIONS_REMEMBERED'],
  'tls/openssl': ['TLS_TICKET_SECONDS'],
  'actor/actor': ['MAILBOX'],
  'actor/frame': ['FRAME'],
  'bus/frame': ['IDENTIFIERS_PER_FRAME', 'BUS_TEXT'],
  'bus/redis': ['BUS_BACKLOG'],
  'primary/peers': ['BUS_OWED'],
  'primary/strangers': ['BUS_STRANGERS'],
  'primary/worker-line': ['CHANGES_OWED'],
  'primary/vigil': ['WORKER_STALL_MS', 'WORKER_START_MS', 'WORKER_PING_MS'],
  'primary/acceptor': ['DESCRIPTORS_MS', 'HANDOVER_DEADLINE_MS'],
  'primary/tls-keeper': ['TICKET_KEYS_MS'],
  'resolver/generations': ['INVALIDATIONS_REMEMBERED', 'INVALIDATION_MEMORY_MS'],
  'resolver/resolver': ['LOOKUP_REPEATS', 'FAILED_LOOKUP_MS', 'SOURCE_PROBE_MS'],
  'resolver/failed-lookups': ['FAILED_LOOKUPS_REMEMBERED'],
  'worker/intake': ['ENDED_MS', 'HANDOVER_FRESH_MS'],
  'worker/counting': ['COUNTERS_MS', 'SESSIONS_SAMPLED'],
  'destination/dns': ['DNS_TTL_MS', 'DNS_STALE_WAIT_MS'],
  'destination/dialer': ['BACKEND_RETRY_MS'],
  'destination/connect': ['CONNECT_STAGGER_MS'],
  'destination/backend-tls': ['TLS_SESSION_MS', 'TLS_SESSIONS'],
  'tls/certificates': ['SNI_NAMES'],
  'tls/file-watch': ['CERTIFICATE_LOOK_MS', 'CERTIFICATE_PATIENCE_MS'],
  'management/requests': ['ADMIN_HEAD', 'ADMIN_BODY', 'ADMIN_REQUEST_MS'],
  'management/bulk': ['ADMIN_STREAM', 'ADMIN_BODY_SILENCE_MS', 'ADMIN_LINGER_MS', 'ADMIN_PROGRESS_MS'],
  'management/guard': ['LOCKOUT_ADDRESSES'],
  'management/server': ['ADMIN_CONNECTIONS', 'ADMIN_CONNECTIONS_PER_ADDRESS', 'ADMIN_DRAIN_MS'],
  'management/https': ['ADMIN_HANDSHAKE_MS', 'ADMIN_HEAD_MS', 'ADMIN_KEEPALIVE_MS', 'ADMIN_SILENCE_MS'],
  'management/events': ['EVENTS_ALIVE_MS', 'EVENTS_LISTENERS'],
  'observe/happenings': ['EVENTS_WAITING'],
  'management/cutover': ['CUTOVER_FAILURES', 'CUTOVER_HOLD_SECONDS', 'CUTOVERS_AT_ONCE', 'DELAY_SECONDS'],
  'cli/notify': ['NOTIFY_MS', 'NOTIFY_LOG_MS'],
  'observe/log': ['LOG_LINE'],
  'observe/destination': ['LOG_BLOCK', 'LOG_BUFFER', 'LOG_FLUSH_MS', 'LOG_END_MS', 'LOG_RETRY_MS'],
}

/** Constant → file and title of a test that tries it without its name: by its value as documented. */
export const BY_VALUE: Readonly<Record<string, readonly [file: string, title: string]>> = {
  IMAP_TAG: ['protocol/imap/preauth', 'empty lines, bad tags, tags alone'],
  BUS_PEERS: ['primary/bus-member', 'invented names fill a table of bounded size; who is known stays followed'],
  BUS_PATIENCE: ['primary/bus-member', 'a subscriber that never answers is waited for three heartbeats, not for ever'],
  BUS_STANDING_LOG_MS: ['primary/bus-member', 'however many lives the other claims to have had, it is told seldom, with how often it was heard'],
  HOLD_MS: ['resolver/resolver', 'a hold ends by itself, at the latest after two minutes, and can be prolonged'],
  REFUSED_LOG_MS: ['worker/report', 'who came too often, every ten seconds and how often'],
}

/** Constant → whose bound it is. The program relies on it and could not change it; a test shows what it comes to. */
export const NOT_OURS: Readonly<Record<string, readonly [whose: string, file: string]>> = {
  BRIDGE_BUFFER: ['the mark of a Node socket', 'session/bridge'],
}

const BY_NODE = 'Node or the kernel applies it: that it is told so is shown, and what comes of it with a shorter time, if at all'
const WITH_JITTER = 'pauses have jitter: their range is shown'
const ROUND = 'what comes in larger pieces, or is counted by others: tried below and above'

/** Constants whose tests notice that they are gone, but can't tell N from N + 1 (or N - 1), and why. */
export const ROUGHLY: Readonly<Record<string, string>> = {
  KEEPALIVE_IDLE_MS: BY_NODE,
  KEEPALIVE_INTERVAL_MS: BY_NODE,
  KEEPALIVE_PROBES: BY_NODE,
  HTTP_BACKEND_IDLE_MS: BY_NODE,
  HTTP2_STREAMS: BY_NODE,
  HTTP2_STREAM_WINDOW: BY_NODE,
  HTTP2_SESSION_WINDOW: BY_NODE,
  TLS_TICKET_SECONDS: BY_NODE,
  ADMIN_HANDSHAKE_MS: BY_NODE,
  ADMIN_HEAD_MS: BY_NODE,
  ADMIN_KEEPALIVE_MS: BY_NODE,
  ADMIN_SILENCE_MS: BY_NODE,
  RECONNECT_MIN_MS: WITH_JITTER,
  RECONNECT_MAX_MS: WITH_JITTER,
  WATCH_REFUSED_MS: WITH_JITTER,
  HTTP2_HEAD_ROOM: ROUND,
  HTTP2_SESSION_MIB: ROUND,
  ADMIN_HEAD: ROUND,
  POP3_AUTH_LINE: ROUND,
  BUS_BACKLOG: ROUND,
  LOG_BLOCK: ROUND,
  LOG_BUFFER: ROUND,
  READ_ROOM: ROUND,
  SMTP_COMMAND: 'an initial response is base64, four bytes at a time',
  MANAGESIEVE_QUOTED: 'an initial response is base64, four bytes at a time',
  SASL_LINE: 'a message is base64, four bytes at a time',
  CERTIFICATE_PATIENCE_MS: 'files are looked at every CERTIFICATE_LOOK_MS',
  SHARED_LOCK_STALE_MS: 'the lock is looked at every second',
  SHARED_LOCK_WAIT_MS: 'the lock is looked at every second',
  MAPPING_FILE: 'N + 1 bytes are refused without reading them; N bytes would be 2 GiB of mappings',
  ADMIN_STREAM: 'as announced: N bytes are taken, N + 1 refused; 2 GiB that come unannounced are not sent',
}

/** Constant → what a test would have to show, and why there is none. docs/security.md points here. */
export const NOT_PROVEN: Readonly<Record<string, string>> = {
}

/** Constant → the test file that must fail when it is gone. */
export const TRIED_IN: Readonly<Record<string, string>> = Object.fromEntries([
  ...Object.entries(BY_NAME).flatMap(([file, names]) => names.map((name) => [name, file])),
  ...Object.entries(BY_VALUE).map(([name, [file]]) => [name, file]),
])
