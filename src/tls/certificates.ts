/**
 * Which certificate serves which name. The table is made once, from the configuration: exact names first, then the
 * parent domain (`example.com` and `*.example.com` both serve `host.example.com`, one label deep, RFC 6125 §6.4.3),
 * then the default. A name that a client makes up is looked up and forgotten, nothing is kept for it.
 */
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import type { CertificateConfig, TlsConfig } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import { SNI_NAMES } from '../limits.ts'

/** PEM texts of a certificate (with its chain) and its key. */
export interface KeyPair {
  readonly cert: string
  readonly key: string
}

/**
 * The certificate that counts where no name decides: the one named `name`, else the one marked default, else the
 * first, else `fallback` (the self-signed one).
 *
 * @throws SignalboxError CONFIG_INVALID when there is none of that name, or none at all
 */
export function defaultKeyPair(
  config: TlsConfig,
  fallback: KeyPair | undefined,
  name?: string,
): KeyPair | CertificateConfig {
  const { certificates } = config
  const found =
    name === undefined
      ? (certificates.find((certificate) => certificate.default) ?? certificates[0] ?? fallback)
      : certificates.find((certificate) => certificate.name === name)
  if (found !== undefined) return found
  const message = name === undefined ? 'no certificate is configured' : `no certificate "${name}"`
  throw new SignalboxError('CONFIG_INVALID', message)
}

export class CertificateTable {
  /** The context for clients that name no host, or one that nobody serves. */
  readonly default: SecureContext
  readonly #contexts = new Map<KeyPair | CertificateConfig, SecureContext>()
  readonly #exact = new Map<string, SecureContext>()
  readonly #parents = new Map<string, SecureContext>()

  /**
   * @param policy what all contexts have in common (policyOptions, ticket keys)
   * @param before the table that this one takes the place of, made with the same policy: contexts of pairs that are in
   * both go on being used
   * @throws SignalboxError CONFIG_INVALID for a certificate that OpenSSL doesn't take, or too many names
   */
  constructor(config: TlsConfig, policy: SecureContextOptions, fallback: KeyPair | undefined, before?: CertificateTable) {
    const contextOf = (pair: KeyPair | CertificateConfig): SecureContext => {
      const context = (before === undefined ? undefined : before.#contexts.get(pair)) ?? makeContext(pair, policy)
      this.#contexts.set(pair, context)
      return context
    }
    const chosen = defaultKeyPair(config, fallback)
    this.default = contextOf(chosen)
    if (config.certificates.length < 2) return
    const bare = new Map<string, SecureContext>()
    for (const certificate of config.certificates) {
      const context = certificate === chosen ? this.default : contextOf(certificate)
      for (const subject of certificate.subjects) {
        if (subject.startsWith('*.')) addOnce(this.#parents, subject.slice(2), context)
        else {
          addOnce(this.#exact, subject, context)
          addOnce(bare, subject, context)
        }
      }
    }
    // A wildcard says that it wants the hosts below; a bare domain merely stands in for them.
    for (const [name, context] of bare) addOnce(this.#parents, name, context)
    if (this.#exact.size + this.#parents.size > 2 * SNI_NAMES) {
      throw new SignalboxError('CONFIG_INVALID', `the certificates have more than ${SNI_NAMES} names`)
    }
  }

  /** Whether the name makes a difference at all: with one certificate it doesn't, and no handshake needs to ask. */
  get byName(): boolean {
    return this.#exact.size > 0 || this.#parents.size > 0
  }

  /** The context for a server name as the client sent it, in any case. */
  find(name: string): SecureContext {
    const wanted = name.toLowerCase()
    return this.#exact.get(wanted) ?? this.#parents.get(wanted.slice(wanted.indexOf('.') + 1)) ?? this.default
  }
}

/** The first certificate that claims a name keeps it, as in the configuration's order. */
function addOnce(table: Map<string, SecureContext>, name: string, context: SecureContext): void {
  if (!table.has(name)) table.set(name, context)
}

function makeContext(pair: KeyPair | CertificateConfig, policy: SecureContextOptions): SecureContext {
  try {
    return createSecureContext({ ...policy, cert: pair.cert, key: pair.key })
  } catch (thrown) {
    const what = 'name' in pair ? `certificate "${pair.name}"` : 'the self-signed certificate'
    throw new SignalboxError('CONFIG_INVALID', `${what} cannot be used`, { cause: thrown })
  }
}
