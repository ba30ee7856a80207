/** The [tls] part of a configuration, by hand. */
import type { CertificateConfig, TlsConfig } from '../../src/config/config.ts'
import type { Issued } from './certificates.ts'

export function tlsConfigOf(overrides: Partial<TlsConfig> = {}): TlsConfig {
  return {
    certificates: [],
    minVersion: '1.2',
    ignoreClientOrder: false,
    disabledCipherSuites: [],
    ticketKeyFile: undefined,
    watch: false,
    ...overrides,
  }
}

export function certificateOf(
  name: string,
  issued: Issued,
  subjects: readonly string[],
  isDefault = false,
): CertificateConfig {
  return { name, certPath: `${name}.pem`, keyPath: `${name}.key`, ...issued, subjects, subjectsSet: true, default: isDefault }
}
