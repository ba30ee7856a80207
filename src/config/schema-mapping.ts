/** [routing], [mapping] and the three sources. */
import { CHANNEL, FLAG, PATH, REDIS_URL, SEPARATORS, SQL_URL, STATEMENT, TEXT, duration, lifetime } from './format-values.ts'
import { format, oneOf, wholeNumber } from './format.ts'
import { optional, required, setting, type TableDefinition } from './schema-table.ts'

export const SOURCES = ['file', 'redis', 'sql'] as const

const ANY_TEXT = format('a text on one line, may be empty', (value) => {
  return typeof value === 'string' && !/[\s\p{Cc}]/u.test(value) ? undefined : 'not a text, or with white space in it'
})

export const ROUTING: TableDefinition = {
  path: 'routing',
  doc: 'Where accounts without a mapping go, and what of a login is the account.',
  schema: {
    default_destination: required(TEXT, 'Destination of every account without a mapping.', { example: '"legacy"' }),
    smtp_passthrough_destination: optional(
      TEXT,
      'Destination of all smtp and lmtp connections; must be set when there is such a listener.',
      { example: '"legacy"' },
    ),
    master_user_separators: setting(
      ['%'],
      SEPARATORS,
      'A login is cut at the first of these before it is looked up ("user%admin" is the account "user").',
    ),
    sasl_plain_identity: setting(
      'authzid',
      oneOf('authzid', 'authcid'),
      'authzid: the mailbox that the client asks for, when it names one, else the login; authcid: always the login.',
      { added: true },
    ),
  },
}

export const MAPPING: TableDefinition = {
  path: 'mapping',
  doc: 'Which destination holds which account, and how long that is remembered.',
  schema: {
    source: required(oneOf(...SOURCES), 'Where mappings are kept; its table must be there.', { example: '"file"' }),
    normalize: setting(
      'none',
      oneOf('none', 'lowercase'),
      'What is done to an identifier before it is looked up or written.',
    ),
    positive_ttl: setting('600s', lifetime(), 'How long a mapping is cached.'),
    negative_ttl: setting('30s', lifetime(), 'How long the absence of one is cached.'),
    cache_max_entries: setting(1_000_000, wholeNumber(1, 16_000_000), 'Cached routes per worker.'),
    lookup_timeout: setting('5s', duration('1ms'), 'Deadline of one lookup at the source.'),
    on_failure: setting(
      'reject',
      oneOf('reject', 'default'),
      'When the source cannot be asked and no route was ever known: reject (temporary failure) or ' +
        'default (the default destination).',
      { added: true },
    ),
    settle: setting(
      '1s',
      duration(),
      'How long after an invalidation a looked-up route is used but not cached.',
      { added: true },
    ),
    audit_rate: setting(
      1,
      wholeNumber(0, 1_000),
      'Cached routes per second and worker that are compared with the source; 0 = none.',
      { added: true },
    ),
    stale_ttl: setting(
      '24h',
      lifetime(),
      'How long past its life a route is kept in case the source cannot be asked.',
      { added: true },
    ),
  },
}

export const MAPPING_FILE: TableDefinition = {
  path: 'mapping.file',
  doc: 'A text file: one mapping a line, identifier and destination.',
  schema: {
    path: required(PATH, 'The file.', { example: '"/etc/signalbox/mappings.tsv"' }),
    watch: setting(false, FLAG, 'Read it anew by itself when it is replaced.', { added: true }),
    shared: setting(false, FLAG, 'All instances of the fleet read this very file.', { added: true }),
  },
}

export const MAPPING_REDIS: TableDefinition = {
  path: 'mapping.redis',
  doc: 'A Redis server: one key per mapping.',
  schema: {
    url: required(REDIS_URL, 'The server.', { sensitive: true, example: '"redis://127.0.0.1:6379/0"' }),
    key_prefix: setting('route:', ANY_TEXT, 'Stands before the identifier in a key.'),
    pool_size: setting(16, wholeNumber(1, 1_000), 'Connections of this instance, shared out among its workers.'),
    watch: setting(true, FLAG, 'See changes at once that others make.', { added: true }),
    wait_replicas: setting(0, wholeNumber(0, 100), 'Replicas that must confirm a write.', { added: true }),
    tls_ca: optional(
      PATH,
      "PEM bundle that certificates are verified with behind rediss://, in place of the system's; for the bus too, " +
        'unless [cluster] names one of its own.',
      { added: true, example: '"/etc/signalbox/tls/redis-ca.pem"' },
    ),
  },
}

export const MAPPING_SQL: TableDefinition = {
  path: 'mapping.sql',
  doc: 'A database. Writes need both upsert_query and delete_query.',
  schema: {
    url: required(SQL_URL, 'The database.', { sensitive: true, example: '"postgres://signalbox@127.0.0.1/mail"' }),
    query: required(
      STATEMENT,
      'Finds the destination; the identifier is its one parameter.',
      { example: '"SELECT destination FROM routes WHERE identifier = $1"' },
    ),
    pool_size: setting(16, wholeNumber(1, 1_000), 'Connections of this instance, shared out among its workers.'),
    upsert_query: optional(
      STATEMENT,
      'Writes a mapping; parameters: identifier, destination.',
      { example: '"INSERT INTO routes VALUES ($1, $2) ON CONFLICT (identifier) DO UPDATE SET destination = $2"' },
    ),
    delete_query: optional(
      STATEMENT,
      'Removes a mapping; parameter: identifier.',
      { example: '"DELETE FROM routes WHERE identifier = $1"' },
    ),
    list_query: optional(
      STATEMENT,
      'Lists mappings in order; parameters: an identifier, and how many behind it. Without it what must see all mappings ' +
        '(lists, export, summary, replacing imports) is answered with 501.',
      {
        added: true,
        example: '"SELECT identifier, destination FROM routes WHERE identifier > $1 ORDER BY identifier LIMIT $2"',
      },
    ),
    tls_ca: optional(
      PATH,
      "PEM bundle that the server's certificate is verified with, in place of the system's; needs sslmode=verify-full, " +
        'verify-ca or require in the URL.',
      { added: true, example: '"/etc/signalbox/tls/database-ca.pem"' },
    ),
    listen: optional(
      CHANNEL,
      'PostgreSQL channel whose notifications name changed identifiers.',
      { added: true, example: '"routes_changed"' },
    ),
  },
}
