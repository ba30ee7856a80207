/** [tls], [tls.certificate.<name>] and [tls.protocols]: TLS towards clients and operators. */
import { CIPHER_SUITE_LIST, FLAG, PATH, SUBJECTS } from './format-values.ts'
import { oneOf } from './format.ts'
import { optional, required, setting, type TableDefinition } from './schema-table.ts'

export const TLS: TableDefinition = {
  path: 'tls',
  doc: 'TLS towards clients.',
  schema: {
    ticket_key_file: optional(
      PATH,
      'File of 48 random bytes, shared by a fleet, so that TLS resumption works on every instance; ' +
        'unset: made at start and replaced every 24 h.',
      { added: true, example: '"/etc/signalbox/tickets.key"' },
    ),
    watch: setting(
      false,
      FLAG,
      'Certificates, keys and ticket_key_file are read again when their files change; what is broken is reported and ' +
        'the old one kept.',
      { added: true },
    ),
  },
}

export const CERTIFICATE: TableDefinition = {
  path: 'tls.certificate.<name>',
  example: 'tls.certificate.main',
  doc:
    'A certificate. The one whose name matches exactly what the client asks for is used, else one of a ' +
    'parent domain, else the default; a single one serves every name. None at all: a self-signed one is ' +
    'made at start.',
  schema: {
    cert: required(
      PATH,
      'PEM file: the certificate, then its chain.',
      { example: '"/etc/signalbox/tls/fullchain.pem"' },
    ),
    key: required(
      PATH,
      'PEM file of the private key, without a passphrase.',
      { example: '"/etc/signalbox/tls/privkey.pem"' },
    ),
    subjects: optional(
      SUBJECTS,
      'Names it serves; unset: its subject alternative names, else its common name. A name serves those directly below it too.',
      { example: '["mail.example.com", "*.example.com"]' },
    ),
    default: setting(false, FLAG, 'Serves clients that ask for a name which no certificate has, or for none.'),
  },
}

export const TLS_PROTOCOLS: TableDefinition = {
  path: 'tls.protocols',
  doc: 'Versions and cipher suites.',
  schema: {
    min_version: setting('1.2', oneOf('1.2', '1.3'), 'Lowest TLS version.'),
    ignore_client_order: setting(false, FLAG, 'The order of cipher suites is decided by the proxy alone.'),
    disable_cipher_suites: setting([], CIPHER_SUITE_LIST, 'Cipher suites to switch off; at least one must remain.'),
  },
}
