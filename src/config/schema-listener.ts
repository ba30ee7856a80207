/** [listener.<name>]: the sockets that clients connect to. */
import { CIDRS, SOCKET_ADDRESSES, duration } from './format-values.ts'
import { oneOf, wholeNumber } from './format.ts'
import { required, setting, type TableDefinition } from './schema-table.ts'

export const PROTOCOLS = ['imap', 'pop3', 'managesieve', 'submission', 'smtp', 'lmtp', 'http'] as const
export const TLS_MODES = ['implicit', 'starttls', 'plain'] as const

export const LISTENER: TableDefinition = {
  path: 'listener.<name>',
  example: 'listener.imaps',
  doc: 'A listener: one protocol on one or more addresses. The name is for logs.',
  schema: {
    protocol: required(oneOf(...PROTOCOLS), 'What is spoken here.', { example: '"imap"' }),
    bind: required(
      SOCKET_ADDRESSES,
      'Addresses to listen on. IPv6 ones are IPv6 only, so both families may use the same port.',
      { example: '["0.0.0.0:993", "[::]:993"]' },
    ),
    tls: required(
      oneOf(...TLS_MODES),
      'implicit: TLS from the first byte; starttls: the client may ask for it; plain: never. smtp, lmtp ' +
        'and http know no starttls.',
      { example: '"implicit"' },
    ),
    proxy_protocol: setting(
      'off',
      oneOf('off', 'optional', 'required'),
      'Whether a PROXY header is read from trusted peers.',
    ),
    proxy_trusted: setting(
      [],
      CIDRS,
      'Networks that may send a PROXY header, and whose time-to-live (IMAP ID) is believed; must be set unless ' +
        'proxy_protocol is off.',
    ),
    max_connections: setting(8_192, wholeNumber(1), 'Connections at the same time on this listener, in this instance.'),
    preauth_timeout: setting('30s', duration('1s'), 'Time from accept to a complete authentication command.'),
    max_auth_attempts: setting(3, wholeNumber(1, 1_000), 'Failed logins before the connection is closed.'),
    forwarded: setting(
      'off',
      oneOf('off', 'trust'),
      'http: trust keeps inbound Forwarded and X-Forwarded-For headers, off strips them.',
    ),
  },
}
