/**
 * Every bound on what a stranger can fill, and every deadline that is not configuration, in one place. Sizes are
 * bytes, times milliseconds. Each is tried at N and N + 1 (a time: just before its end, and at it); where, and what has no such test:
 * test/support/bounds.ts.
 */

// Dialogue before login
/** A command line, without literals, on IMAP (RFC 9051 has no limit; 8192 is customary). */
export const IMAP_LINE = 8_192
/** Sum of the literals of one IMAP command before login. */
export const IMAP_LITERALS = 65_536
/** Largest non-synchronising literal that LITERAL- allows (RFC 7888 §5). */
export const IMAP_LITERAL_MINUS = 4_096
/** Longest IMAP tag. */
export const IMAP_TAG = 64
/** A POP3 command line other than AUTH. RFC 2449 §4 has 255; passwords of today are longer. */
export const POP3_LINE = 1_024
/** A POP3 AUTH command with its initial response towards a backend, CRLF included (RFC 5034 §4, RFC 2449 §4). */
export const POP3_AUTH_LINE = 255
/** A bearer token that is read for the account's name; a longer one is routed without. */
export const TOKEN = 65_536
/** A command line on submission (RFC 5321 §4.5.3.1.4 has 512; parameters of extensions make it longer). */
export const SMTP_LINE = 2_048
/** A command line to a submission backend, its line end included (RFC 5321 §4.5.3.1.4, RFC 4954 §4). */
export const SMTP_COMMAND = 512
/** What a submission client may call itself (RFC 5321 §4.5.3.1.2). */
export const HELO_NAME = 255
/** The lines of a ManageSieve command, without literals. */
export const MANAGESIEVE_LINE = 8_192
/** Sum of the literals of one ManageSieve command before login. */
export const MANAGESIEVE_LITERALS = 65_536
/** A quoted string that we write on ManageSieve (RFC 5804 §4); what is longer goes as a literal. */
export const MANAGESIEVE_QUOTED = 1_024
/** A SASL message as base64 on one line (RFC 4954 §4.6). */
export const SASL_LINE = 12_288
/** Commands that one connection may send before it has logged in. */
export const PREAUTH_COMMANDS = 100
/** A line that a backend sends before the bridge. */
export const BACKEND_LINE = 16_384
/** Everything that a backend may send before the bridge. */
export const BACKEND_PREAMBLE = 131_072
/** What a connection costs a worker before it has logged in, besides what its dialogue holds: sockets, TLS state, objects (72 KiB with TLS, 12 without). */
export const PREAUTH_CONNECTION = 65_536
/** What a client may send behind its login command before the backend has answered. */
export const PIPELINED_BEHIND_LOGIN = 65_536

// PROXY headers
/** One in its binary form (version 2), TLVs included; the textual form has 107 by its definition. */
export const PROXY_HEADER = 4_096
/** How long a trusted peer may be silent before it is taken for one that sends no header, where the client does not speak first. */
export const PROXY_HEADER_WAIT_MS = 1_000

// Identifiers and mappings
/** An identifier in bytes of UTF-8. */
export const IDENTIFIER = 512
/** A line of a mapping file. */
export const MAPPING_LINE = 4_096
/** A mapping file, and the table made of it (40 million lines of 50 bytes). */
export const MAPPING_FILE = 2_147_483_648
/** Changes on top of the file source's table that make it build a new one in the background. */
export const MAPPING_OVERLAY = 4_096
/** Mistakes of a mapping file that are named one by one. */
export const MAPPING_MISTAKES = 20
/** How long the lock of a shared mapping file may stand still before its holder counts as dead, and how long a write waits for it. */
export const SHARED_LOCK_STALE_MS = 10_000
export const SHARED_LOCK_WAIT_MS = 45_000
/** Times that a write of a shared mapping file begins anew because somebody who knows no lock has changed the file. */
export const SHARED_TRIES = 5
/** Differences of a reload above which everything is invalidated instead. */
export const RELOAD_DIFFERENCES = 100_000

/** A value in a store that is read as the name of a destination; whatever is longer is no name. */
export const MAPPING_VALUE = 4_096
/** Lookups that one process has under way at Redis or a database; the next one fails at once. */
export const LOOKUPS_IN_FLIGHT = 16_384
/** Entries that an import or export handles at a time. */
export const MAPPING_BATCH = 1_000
/** Different values that a summary counts one by one. */
export const SUMMARY_VALUES = 10_000

// Redis
/** One reply to a lookup or a control command. */
export const REDIS_REPLY = 1_048_576
/** What may come between two messages on the connection that invalidations arrive on. */
export const REDIS_PUSH = 64 * 1024 * 1024
/** From the TCP connection to a usable one: TLS, authentication, database. */
export const REDIS_HANDSHAKE_MS = 5_000
/** First and longest pause before a store is connected to again, before jitter of a half downwards. */
export const RECONNECT_MIN_MS = 50
export const RECONNECT_MAX_MS = 5_000
/** Longest pause before a server that refused to track keys is asked again. */
export const WATCH_REFUSED_MS = 60_000
/** How long the watch may be silent before it counts as lost, in heartbeats. */
export const WATCH_SILENCE = 3

// Actors and frames
/** Messages waiting in an actor's mailbox unless the actor says otherwise. */
export const MAILBOX = 65_536
/** A frame on the cluster's IPC or the bus. */
export const FRAME = 8 * 1024 * 1024
/** Changes that a store tells of one by one are gathered for so long once one has been passed on. */
export const GATHER_MS = 20
/** Identifiers in one invalidation frame. */
export const IDENTIFIERS_PER_FRAME = 10_000
/** Peers that an instance follows, and as many that have left. A frame of one more makes routes doubtful. */
export const BUS_PEERS = 1_024
/** Changes that a peer hasn't acknowledged and that are counted. */
export const BUS_OWED = 10_000
/** Silent heartbeats that take an instance off the bus. */
export const BUS_PATIENCE = 3
/** Introductions that an instance answers between two of its heartbeats. */
export const BUS_WELCOMES = 2_048
/** Names of those whose frames could not be believed that are shown. */
export const BUS_STRANGERS = 16
/** A second instance of our name is told at most this often, and so are frames that could not be believed. */
export const BUS_STANDING_LOG_MS = 600_000
/** A name or other short text in a bus frame. */
export const BUS_TEXT = 256
/** Published bytes that the bus's server has not taken yet; beyond that publishing fails at once. */
export const BUS_BACKLOG = 32 * 1024 * 1024
/** Invalidated keys whose generation a worker remembers; beyond that older routes in flight count as void. */
export const INVALIDATIONS_REMEMBERED = 131_072
/** Invalidations that a worker may owe an answer to; beyond that all that follow become one of everything. */
export const CHANGES_OWED = 1_024
/** How long a worker remembers an invalidated key's generation. */
export const INVALIDATION_MEMORY_MS = 150_000
/** Repetitions of a lookup that an invalidation overtook. */
export const LOOKUP_REPEATS = 3
/** How long a failed lookup is remembered at most. */
export const FAILED_LOOKUP_MS = 5_000
/** While failed lookups are remembered, a worker asks this often whether the source answers again. */
export const SOURCE_PROBE_MS = 250
/** Failed lookups that a worker remembers. */
export const FAILED_LOOKUPS_REMEMBERED = 10_000

// File descriptors
/** Free descriptors below which no further connection is taken. */
export const DESCRIPTOR_RESERVE = 64
/** What a worker has open besides connections: its channel, the log, the event loop, connections to the mapping source. */
export const WORKER_DESCRIPTORS = 48
/** How often the descriptors of the primary are counted. */
export const DESCRIPTORS_MS = 1_000
/** Refused connections of one listener for one reason are logged at most this often. */
export const REFUSED_LOG_MS = 10_000

// Connections on their way to a worker
/** A worker does not take a connection that was sent to it longer ago than this. */
export const HANDOVER_FRESH_MS = 400
/** The primary closes or hands on a connection that no worker took within this. */
export const HANDOVER_DEADLINE_MS = 800
/** How long a worker waits for company before it tells that a connection has ended (or begun on a socket of its own). */
export const ENDED_MS = 20
/** How long an operator's hold of an account's logins lasts at most. */
export const HOLD_MS = 120_000
/** A connection that is being closed politely may take this long to send its last words. */
export const LAST_WORDS_MS = 5_000
/**
 * The mark at which a socket takes in no more (Node's own). The last piece may cross it by as much again, on the side that
 * reads and on the side that writes: a slow reader holds less than four times this. (What src/inlet.ts reads: a READ_ROOM and what was below the mark.)
 */
export const BRIDGE_BUFFER = 65_536
/** Bytes that are read at once from a backend without TLS. */
export const READ_ROOM = 262_144
/** Rooms of that size that a worker keeps for the next large transfer. */
export const SPARE_ROOMS = 8

// Sessions and metrics
/** Sessions that one answer of the management API lists. */
export const SESSIONS_LISTED = 1_000
/** How often the sessions of a destination that is drained are looked over. */
export const DRAIN_STEP_MS = 100
/** Accounts that a review of the sessions looks up at a time, the pause before the next ones, and that before the next review. */
export const REVIEW_BATCH = 100
export const REVIEW_STEP_MS = 100
export const REVIEW_PAUSE_MS = 5_000
/** Over what time a destination is drained unless somebody says otherwise. */
export const DRAIN_DEFAULT_MS = 30_000
/** Over what time a destination is drained at most. */
export const DRAIN_SECONDS = 3_600
/** Readers of GET /events at a time, happenings that wait for each, and the pause after which a silent stream says that it lives. */
export const EVENTS_LISTENERS = 16
export const EVENTS_WAITING = 1_000
export const EVENTS_ALIVE_MS = 15_000
/** Sessions begun and ended that a worker tells of within COUNTERS_MS, while somebody listens. */
export const SESSIONS_SAMPLED = 100
/** How often a worker in which something happened tells what it has counted. */
export const COUNTERS_MS = 1_000

// Supervision
/** A worker that has not answered a ping for this long is replaced. */
export const WORKER_STALL_MS = 10_000
/** A worker of which nothing has been heard yet may take this long to start. */
export const WORKER_START_MS = 60_000
/** Pings to workers. */
export const WORKER_PING_MS = 1_000
/** First and longest pause before a worker that died young is started again. */
export const RESPAWN_MIN_MS = 100
export const RESPAWN_MAX_MS = 10_000
/** Deaths without one worker ever ready that end the instance. */
export const DEATHS_AT_START = 5

// Service manager
/** How long systemd may take to read one message; then it is given up. */
export const NOTIFY_MS = 10_000
/** Messages of one kind that systemd did not take are logged at most this often. */
export const NOTIFY_LOG_MS = 600_000

// DNS
/** How long an answer of the resolver is used before it is asked again. */
export const DNS_TTL_MS = 5_000
/** How long a dial waits for a new answer while an older good one is at hand. */
export const DNS_STALE_WAIT_MS = 500

// Backend connections
/** Pause between two tries to reach a destination, before jitter of a quarter either way. */
export const BACKEND_RETRY_MS = 200
/** Head start of one address over the next of the same host (RFC 8305 §8, "Connection Attempt Delay"). */
export const CONNECT_STAGGER_MS = 250
/** TCP keepalive on both legs: idle time, pause between probes, probes. */
export const KEEPALIVE_IDLE_MS = 120_000
export const KEEPALIVE_INTERVAL_MS = 30_000
export const KEEPALIVE_PROBES = 4
/** How often sessions are looked over for those that have become old enough to need it. */
export const KEEPALIVE_LOOK_MS = 30_000
/** TLS sessions kept per destination and port for resumption. */
export const TLS_SESSIONS = 4
/** How long after its full handshake a backend's certificate is trusted to be still the same. */
export const TLS_SESSION_MS = 3_600_000

// HTTP
/** How long a backend connection without a request is kept: shorter than servers commonly keep theirs. */
export const HTTP_BACKEND_IDLE_MS = 4_000
/** Idle connections that one pool keeps to a destination. */
export const HTTP_BACKENDS_IDLE = 256
/** Requests that may wait on one connection of HTTP/1.1 for those before them; with one more it is closed behind the last. */
export const HTTP_PIPELINED = 16
/** Requests of one HTTP/2 connection at a time, and what all its streams may hold (MiB). */
export const HTTP2_STREAMS = 100
export const HTTP2_SESSION_MIB = 8
/** How much larger than max_head_size a head of HTTP/2 may be to be told so (431); beyond, its stream is reset without a word. */
export const HTTP2_HEAD_ROOM = 262_144
/** What a client of HTTP/2 may send of one body, and of all bodies of its connection, before somebody has read it (Node's default of 64 KiB makes every round trip a pause). */
export const HTTP2_STREAM_WINDOW = 1_048_576
export const HTTP2_SESSION_WINDOW = 4 * 1_048_576
/** How much longer than clients are told a connection without a request is kept, for the request that is on its way. */
export const HTTP_KEEPALIVE_MARGIN_MS = 2_000
/** How long the rest of a body that nobody wants is read, so that the client gets to see the answer. */
export const HTTP_LINGER_MS = 2_000

// TLS towards clients
/** Life of the session tickets that clients get, in seconds; their keys change every 24 h. */
export const TLS_TICKET_SECONDS = 43_200
/** How often ticket keys that were made here are replaced. */
export const TICKET_KEYS_MS = 86_400_000
/** How often the files of certificates are looked at (`[tls] watch`); a change counts once it has stood still that long. */
export const CERTIFICATE_LOOK_MS = 2_000
/** How long certificate and key may fail to fit together, or a file be half written, before that is reported. */
export const CERTIFICATE_PATIENCE_MS = 30_000
/** Names in the table that certificates are chosen from. */
export const SNI_NAMES = 100_000

// Management API
/** Head of a request. */
export const ADMIN_HEAD = 16_384
/** Body of a request that carries one. */
export const ADMIN_BODY = 1_048_576
/** Body of a request whose route takes it in as it comes: an import of 40 million lines. */
export const ADMIN_STREAM = 2_147_483_648
/** Time without a byte of such a body, after which its request is refused. */
export const ADMIN_BODY_SILENCE_MS = 30_000
/** How long the rest of a body that nobody wants is read, so that the client gets to see the answer. */
export const ADMIN_LINGER_MS = 2_000
/** Pause between two lines of progress of a long change. */
export const ADMIN_PROGRESS_MS = 1_000
/** How long answers under way may take when the instance ends. */
export const ADMIN_DRAIN_MS = 3_000
/** Addresses whose failed authentications are counted. */
export const LOCKOUT_ADDRESSES = 10_000
/** Connections to the management API at the same time, in all and from one address (IPv6: one /64). */
export const ADMIN_CONNECTIONS = 512
export const ADMIN_CONNECTIONS_PER_ADDRESS = 64
/** A management client's TLS handshake, the head of its request, its whole request, and the pause between two requests. */
export const ADMIN_HANDSHAKE_MS = 10_000
export const ADMIN_HEAD_MS = 10_000
export const ADMIN_REQUEST_MS = 30_000
export const ADMIN_KEEPALIVE_MS = 30_000
/** Time without a byte in either direction, after which a management connection is dropped whatever it is at. */
export const ADMIN_SILENCE_MS = 120_000
/** How long the cutover of an account holds its logins, in seconds, unless told otherwise. */
export const CUTOVER_HOLD_SECONDS = 30
/** What a cutover may take over twice that: acknowledgements, and putting a mapping back. Its lease lasts that long. */
export const CUTOVER_LEASE_MARGIN_MS = 15_000
/** Accounts of one bulk cutover that are under way at a time, and failures in a row that end it. */
export const CUTOVERS_AT_ONCE = 256
export const CUTOVER_FAILURES = 100
/** Seconds of a delay at most. */
export const DELAY_SECONDS = 120

// Log
/** A log line: what a pipe takes in one piece (PIPE_BUF), since several processes write to the same one. */
export const LOG_LINE = 4_096
/** What is written to a file at a time. */
export const LOG_BLOCK = 65_536
/** Lines waiting for a slow reader of the log; beyond that lines are dropped and counted. */
export const LOG_BUFFER = 4 * 1024 * 1024
/** How long a line waits for others to be written with it, and how long the end of a process waits for the log. */
export const LOG_FLUSH_MS = 100
export const LOG_END_MS = 2_000
/** Pause before a write of the log that failed is tried again. */
export const LOG_RETRY_MS = 100
/** Accounts whose redacted form is remembered, per process. */
export const REDACTIONS_REMEMBERED = 4_096
