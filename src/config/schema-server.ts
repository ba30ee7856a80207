/** [server], [log] and [limits]: what concerns an instance as a whole. */
import { HOST, SECRET, TEXT, duration, size } from './format-values.ts'
import { oneOf, wholeNumber } from './format.ts'
import { optional, setting, type TableDefinition } from './schema-table.ts'

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const

export const SERVER: TableDefinition = {
  path: 'server',
  doc: 'The instance: its workers, its deadlines, how it judges the health of destinations.',
  schema: {
    threads: setting(
      0,
      wholeNumber(0, 1024),
      'Number of workers; 0 starts one per available core, CPU limits of the control group respected.',
    ),
    hostname: optional(
      HOST,
      'Name in SMTP greetings and forwarded metadata; unset: the local address of the connection.',
      { example: '"mail.example.com"' },
    ),
    shutdown_grace: setting('30s', duration(), 'How long sessions may finish after SIGINT or SIGTERM.'),
    roll_grace: setting('24h', duration(), 'How long sessions of a replaced worker may go on.', { added: true }),
    bridge_idle: setting(
      '1800s',
      duration('1s'),
      'A session without a byte in either direction for that long is closed.',
    ),
    backend_timeout: setting(
      '10s',
      duration('1ms'),
      'One deadline over name resolution, TCP, PROXY header, TLS and greeting, and another over the ' +
        'replay of the login.',
    ),
    backend_connect_retries: setting(
      1,
      wholeNumber(0, 100),
      'Further tries after a failure that may be retried, inside the same deadline.',
    ),
    host_down_threshold: setting(5, wholeNumber(0), 'Consecutive failures that mark a destination down; 0 = never.'),
    host_down_min_clients: setting(
      2,
      wholeNumber(0),
      'Distinct client addresses that a streak of failures after connecting must span; 0 = no such condition.',
      { added: true },
    ),
    host_down_cooldown: setting(
      '30s',
      duration(),
      'How long a destination stays down before one probe is let through.',
    ),
    proxy_ttl: setting(
      7,
      wholeNumber(2, 255),
      'Time-to-live of forwarded logins, decremented at each hop; a login with none left is refused for the moment.',
    ),
    log_level: setting(
      'info',
      oneOf(...LOG_LEVELS),
      'Least level that is logged. LOG_LEVEL in the environment beats it; RUST_LOG does when it is a plain level.',
    ),
    log_format: setting(
      'auto',
      oneOf('auto', 'json', 'pretty'),
      'One JSON object a line, or text for people; auto = pretty on a terminal.',
      { added: true },
    ),
    distribution: setting(
      'primary',
      oneOf('primary', 'kernel'),
      'primary: the primary accepts and hands connections to the worker with the fewest sessions; ' +
        'kernel: workers accept from the shared listening sockets.',
      { added: true },
    ),
    user: optional(
      TEXT,
      'User to become after the sockets are bound, when started as root.',
      { added: true, example: '"signalbox"' },
    ),
    group: optional(
      TEXT,
      'Group to become after the sockets are bound, when started as root.',
      { added: true, example: '"signalbox"' },
    ),
  },
}

export const LOG: TableDefinition = {
  path: 'log',
  doc: 'What the log shows of accounts.',
  schema: {
    accounts: setting(
      'redacted',
      oneOf('redacted', 'full'),
      'redacted: the first two characters and a keyed hash; full: as they are.',
      { added: true },
    ),
    redaction_key: optional(
      SECRET,
      "Key of the hashes, so that a fleet's logs agree; unset: made at start.",
      { added: true, sensitive: true, example: '"a long random text, the same everywhere"' },
    ),
  },
}

export const LIMITS: TableDefinition = {
  path: 'limits',
  doc: 'Bounds on what clients may use. Counted in the primary, per instance.',
  schema: {
    max_connections_per_ip: setting(
      0,
      wholeNumber(0),
      'Connections of one client address at the same time (IPv6 by /64); 0 = no limit.',
      { added: true },
    ),
    max_sessions_per_account: setting(
      0,
      wholeNumber(0),
      'Sessions of one account at the same time, counted once a backend has accepted the login; 0 = no limit.',
      { added: true },
    ),
    auth_failure_delay: setting(
      '1s',
      duration(),
      'Pause before a refused login is answered, doubling to eight times as much per client address.',
      { added: true },
    ),
    preauth_buffer: setting(
      '64kb',
      size('1kb', '16mb'),
      'What one connection may hold before it has logged in.',
      { added: true },
    ),
    max_preauth_memory: setting(
      '256mb',
      size('1mb', '65536mb'),
      'What all connections of a worker may hold before they have logged in; above it the oldest are closed.',
      { added: true },
    ),
    login_hold_max: setting(
      10_000,
      wholeNumber(0),
      'Logins held back at once while their accounts are being moved.',
      { added: true },
    ),
  },
}
