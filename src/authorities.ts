/**
 * Whom TLS towards servers (backends, Redis, databases) trusts: the certificates of a private bundle, or the system's. A
 * bundle replaces the system's store, it doesn't add to it: who names a CA of his own means that one.
 */
import { X509Certificate } from 'node:crypto'
import { getCACertificates } from 'node:tls'
import { SignalboxError } from './errors.ts'

let store: readonly string[] | undefined

/**
 * What certificates are verified with, as Node's `ca` takes it.
 * @param bundle PEM text; undefined: the system's store
 * @throws CONFIG_INVALID when the bundle holds no certificate, or something that is none: OpenSSL passes over what it can't
 *   read without a word
 */
export function authorities(bundle: string | undefined): string[] {
  if (bundle === undefined) return [...(store ??= systemStore())]
  const blocks = certificatesIn(bundle)
  if (blocks.length === 0) throw new SignalboxError('CONFIG_INVALID', 'the CA bundle holds no certificate')
  try {
    for (const block of blocks) new X509Certificate(block)
  } catch (thrown) {
    throw new SignalboxError('CONFIG_INVALID', 'the CA bundle holds something that is no certificate', { cause: thrown })
  }
  return blocks
}

/** The certificates of a PEM text, each with its own lines around it, unread. */
export function certificatesIn(pem: string): string[] {
  return [...(pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [])]
}

/** The system's certificates; where there are none (a bare container), those that come with Node. */
function systemStore(): readonly string[] {
  const system = getCACertificates('system')
  return system.length > 0 ? system : getCACertificates('bundled')
}
