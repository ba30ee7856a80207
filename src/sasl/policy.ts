/**
 * Which mechanisms a listener offers. A password or a bearer token that crosses an open network is anybody's, so
 * without TLS none is offered or accepted unless `allow_plain_auth_without_tls` says so. Tokens are included on
 * purpose: whoever holds one needs nothing else to use it (RFC 6750 §5.3 and RFC 7628 §3 demand TLS).
 */
import type { Mechanism } from '../config/config.ts'

export interface SaslPolicy {
  /** `capabilities.<protocol>.sasl`, in the order to be advertised. */
  readonly sasl: readonly Mechanism[]
  readonly allowPlainAuthWithoutTls: boolean
}

/** Whether a credential may cross the client leg as it is now. */
export function credentialsAllowed(policy: SaslPolicy, secure: boolean): boolean {
  return secure || policy.allowPlainAuthWithoutTls
}

/** The mechanisms to advertise now. */
export function offeredMechanisms(policy: SaslPolicy, secure: boolean): readonly Mechanism[] {
  return credentialsAllowed(policy, secure) ? policy.sasl : []
}

/** Whether passwords are welcome at all: commands like IMAP LOGIN and POP3 USER/PASS follow the password mechanisms. */
export function passwordsOffered(policy: SaslPolicy): boolean {
  return policy.sasl.includes('PLAIN') || policy.sasl.includes('LOGIN')
}

/** Judges a mechanism's name as a client sent it (any case). */
export function judgeMechanism(
  policy: SaslPolicy,
  secure: boolean,
  name: string,
): Mechanism | 'unsupported' | 'privacy-required' {
  const upper = name.toUpperCase()
  const mechanism = policy.sasl.find((offered) => offered === upper)
  if (mechanism === undefined) return 'unsupported'
  return credentialsAllowed(policy, secure) ? mechanism : 'privacy-required'
}
