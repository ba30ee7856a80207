/** [destination.<name>] and its protocol legs: the servers behind the proxy. */
import { ADDRESSES, FINGERPRINT, FLAG, HOST, HOST_NAME, PATH } from './format-values.ts'
import { oneOf, wholeNumber } from './format.ts'
import { PROTOCOLS, TLS_MODES } from './schema-listener.ts'
import { optional, required, setting, type TableDefinition } from './schema-table.ts'

export const FORWARDINGS = ['proxy', 'xclient', 'none'] as const

export const DESTINATION: TableDefinition = {
  path: 'destination.<name>',
  example: 'destination.legacy',
  doc: 'A server that holds mailboxes. Its name is what mappings and routes refer to.',
  schema: {
    host: required(
      HOST,
      'Name or address. A name is resolved anew after 5 s, in both families.',
      { example: '"legacy.example.com"' },
    ),
    tls_server_name: optional(
      HOST_NAME,
      'Name expected in the certificate; unset: the host. Must be set when the host is an address and a leg uses TLS.',
      { example: '"legacy.example.com"' },
    ),
    proxy_protocol: setting(
      true,
      FLAG,
      'Short for forwarding "proxy" (true) or "none" (false) where forwarding is unset.',
    ),
    forwarding: optional(
      oneOf(...FORWARDINGS),
      'How the client is announced: by a PROXY header, by XCLIENT or the IMAP ID command, or not. Unset: ' +
        'as proxy_protocol says.',
      { example: '"proxy"' },
    ),
    forwarded: setting(false, FLAG, 'http: append Forwarded and X-Forwarded-For.'),
    tls_allow_invalid_certs: setting(
      false,
      FLAG,
      'Accept any certificate. Whoever sits in between can then read every password.',
    ),
    tls_pinned_cert_sha256: optional(
      FINGERPRINT,
      'SHA-256 fingerprint of the one certificate that is accepted, whatever its name, issuer and age.',
      { example: '"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"' },
    ),
    tls_client_cert: optional(
      PATH,
      'PEM file of a client certificate, for mutual TLS; needs tls_client_key.',
      { example: '"/etc/signalbox/tls/client.pem"' },
    ),
    tls_client_key: optional(
      PATH,
      'PEM file of its private key; needs tls_client_cert.',
      { example: '"/etc/signalbox/tls/client.key"' },
    ),
    tls_ca: optional(
      PATH,
      "PEM bundle to verify with; unset: the system's.",
      { added: true, example: '"/etc/signalbox/tls/ca.pem"' },
    ),
    source_ips: setting([], ADDRESSES, "Local addresses to connect from, in turn, within the server's address family."),
    hide_auth_errors: setting(false, FLAG, "Answer a refused login with a generic text instead of the server's words."),
    allow_plaintext_auth: setting(false, FLAG, 'Permit credentials on a leg without TLS.'),
    max_connections: setting(
      0,
      wholeNumber(0),
      'Connections to this destination at the same time, from this instance; above it logins get the ' +
        'temporary failure; 0 = no limit.',
      { added: true },
    ),
  },
}

export const LEG: TableDefinition = {
  path: 'destination.<name>.protocol.<protocol>',
  example: 'destination.legacy.protocol.imap',
  names: PROTOCOLS,
  doc: 'Where and how the destination serves one protocol.',
  schema: {
    port: required(wholeNumber(1, 65_535), 'Its port.', { example: '143' }),
    tls: required(
      oneOf(...TLS_MODES),
      'implicit, starttls (verified before the login is sent) or plain.',
      { example: '"starttls"' },
    ),
    forwarding: optional(
      oneOf(...FORWARDINGS),
      "Overrides the destination's forwarding for this protocol.",
      { example: '"none"' },
    ),
  },
}
