/** [admin] and [cluster]: the management API and the bus between instances. */
import { FLAG, INSTANCE, PATH, REDIS_URL, SECRET, SOCKET_ADDRESS, TEXT, TOKEN, duration } from './format-values.ts'
import { oneOf, wholeNumber } from './format.ts'
import { optional, required, setting, type TableDefinition } from './schema-table.ts'

export const ADMIN: TableDefinition = {
  path: 'admin',
  doc:
    'The management API. Without this table there is none. A token is needed: from PROXY_ADMIN_TOKEN in ' +
    'the environment, else bearer_token_file, else bearer_token.',
  schema: {
    bind: required(SOCKET_ADDRESS, 'Its address.', { example: '"127.0.0.1:9443"' }),
    tls: setting('implicit', oneOf('implicit'), 'There is no management without TLS.'),
    bearer_token_file: optional(PATH, 'File that holds the token.', { example: '"/etc/signalbox/admin.token"' }),
    bearer_token: optional(
      TOKEN,
      'The token itself. Better kept in a file of its own.',
      { sensitive: true, example: '"an-example-that-must-be-replaced-by-a-secret"' },
    ),
    min_token_len: setting(32, wholeNumber(1, 4_096), 'Shorter tokens are refused.'),
    lockout_threshold: setting(5, wholeNumber(1), 'Wrong tokens from one address before it is locked out.'),
    lockout_duration: setting('5m', duration('1s'), 'How long it is locked out.'),
    certificate: optional(
      TEXT,
      'Name of a certificate in [tls.certificate]; unset: the default one.',
      { added: true, example: '"main"' },
    ),
    metrics_open: setting(false, FLAG, '/metrics needs no token.', { added: true }),
  },
}

export const CLUSTER: TableDefinition = {
  path: 'cluster',
  doc: 'Instances that know of each other.',
  schema: {
    instance: optional(
      INSTANCE,
      'Name of this instance; unset: the name of the host.',
      { added: true, example: '"mx-a"' },
    ),
    bus: optional(
      REDIS_URL,
      'Redis server of the bus; unset: the one of [mapping.redis] when that is the source, else this ' +
        'instance is alone.',
      { added: true, sensitive: true, example: '"redis://127.0.0.1:6379"' },
    ),
    tls_ca: optional(
      PATH,
      "PEM bundle that certificates are verified with behind rediss://, in place of the system's; unset: that of " +
        '[mapping.redis] when the bus is that server.',
      { added: true, example: '"/etc/signalbox/tls/redis-ca.pem"' },
    ),
    channel: optional(
      TEXT,
      "Prefix of the bus's channels; unset: made from its URL and key_prefix.",
      { added: true, example: '"signalbox:mail"' },
    ),
    secret: optional(
      SECRET,
      'Key that frames are signed with; SIGNALBOX_CLUSTER_SECRET in the environment beats it.',
      { added: true, sensitive: true, example: '"a long random text, the same everywhere"' },
    ),
    heartbeat: setting('1s', duration('100ms'), 'Three missed ones take an instance off the list.', { added: true }),
    ack_timeout: setting('2s', duration('10ms'), 'How long a change waits for its acknowledgements.', { added: true }),
    bus_down_ttl: setting(
      '5s',
      duration(),
      'Longest fresh life of a cached route while the bus is away.',
      { added: true },
    ),
  },
}
