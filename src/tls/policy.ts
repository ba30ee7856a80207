/**
 * What TLS clients are offered: versions, cipher suites and whose order counts. Only suites with authenticated
 * encryption and forward secrecy exist here (the nine of RFC 8446 §B.4 and RFC 5289/7905 that every client of the
 * last ten years has one of); the operator can switch some off, never others on. The client's order counts unless
 * `ignore_client_order` says otherwise; then AES-128 comes first, because it is cheaper per byte than AES-256 and no
 * weaker in practice, but a client whose own first choice is ChaCha20 (no AES hardware) still gets that.
 * Renegotiation is off (TLS 1.3 has none).
 */
import { constants } from 'node:crypto'
import type { SecureContextOptions } from 'node:tls'
import type { TlsConfig } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import { TLS_TICKET_SECONDS } from '../limits.ts'

export interface CipherSuite {
  /** OpenSSL's name, the one that TlsConfig.disabledCipherSuites holds. */
  readonly openssl: string
  /** The name in the IANA registry. */
  readonly iana: string
  readonly version: '1.2' | '1.3'
}

/** Every suite there is to offer, best first. */
export const CIPHER_SUITES: readonly CipherSuite[] = [
  { openssl: 'TLS_AES_128_GCM_SHA256', iana: 'TLS_AES_128_GCM_SHA256', version: '1.3' },
  { openssl: 'TLS_AES_256_GCM_SHA384', iana: 'TLS_AES_256_GCM_SHA384', version: '1.3' },
  { openssl: 'TLS_CHACHA20_POLY1305_SHA256', iana: 'TLS_CHACHA20_POLY1305_SHA256', version: '1.3' },
  { openssl: 'ECDHE-ECDSA-AES128-GCM-SHA256', iana: 'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256', version: '1.2' },
  { openssl: 'ECDHE-RSA-AES128-GCM-SHA256', iana: 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256', version: '1.2' },
  { openssl: 'ECDHE-ECDSA-AES256-GCM-SHA384', iana: 'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384', version: '1.2' },
  { openssl: 'ECDHE-RSA-AES256-GCM-SHA384', iana: 'TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384', version: '1.2' },
  {
    openssl: 'ECDHE-ECDSA-CHACHA20-POLY1305',
    iana: 'TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256',
    version: '1.2',
  },
  { openssl: 'ECDHE-RSA-CHACHA20-POLY1305', iana: 'TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256', version: '1.2' },
]

/** The OpenSSL name of a suite given by its IANA, OpenSSL or rustls name (TLS13_…); undefined: none of ours. */
export function cipherSuiteName(name: string): string | undefined {
  const wanted = name.replace(/^TLS13_/, 'TLS_')
  return CIPHER_SUITES.find((suite) => suite.openssl === wanted || suite.iana === wanted)?.openssl
}

/**
 * The options of every SecureContext towards clients, certificates and ticket keys excepted. Also fit for
 * https.createServer (the management API).
 *
 * @throws SignalboxError CONFIG_INVALID when no suite is left for the versions that are allowed
 */
export function policyOptions(config: TlsConfig): SecureContextOptions {
  const disabled = new Set(config.disabledCipherSuites)
  const left = CIPHER_SUITES.filter((suite) => !disabled.has(suite.openssl))
  const modern = left.some((suite) => suite.version === '1.3')
  const older = config.minVersion === '1.2' && left.some((suite) => suite.version === '1.2')
  if (!modern && !older) {
    throw new SignalboxError('CONFIG_INVALID', `no cipher suite is left for TLS ${config.minVersion} and above`)
  }
  let secureOptions = constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION
  if (config.ignoreClientOrder) secureOptions |= constants.SSL_OP_PRIORITIZE_CHACHA
  return {
    minVersion: older ? 'TLSv1.2' : 'TLSv1.3',
    // OpenSSL keeps its own TLS 1.3 suites when it is given none: the version itself has to go.
    maxVersion: modern ? 'TLSv1.3' : 'TLSv1.2',
    ciphers: left.map((suite) => suite.openssl).join(':'),
    honorCipherOrder: config.ignoreClientOrder,
    secureOptions,
    sessionTimeout: TLS_TICKET_SECONDS,
  }
}
