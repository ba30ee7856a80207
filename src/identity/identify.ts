/**
 * Whose mailbox a login is for: the stage between preauth and resolve. Gives the name as presented; identifier.ts
 * makes the identifier of it.
 */
import { impossible } from '../errors.ts'
import type { Login } from '../protocol/protocol.ts'
import { identityFromToken } from './token.ts'

export interface IdentityRules {
  /** `routing.sasl_plain_identity`: whether the identity to act as or the login decides, when both are given. */
  readonly saslPlainIdentity: 'authzid' | 'authcid'
  /** `oauth.jwt_username_claim`. */
  readonly jwtUsernameClaim: string
}

/** The name to route by; undefined: none can be seen, so the default route. */
export function identify(login: Login, rules: IdentityRules): string | undefined {
  const { credentials } = login
  switch (credentials.kind) {
    case 'password':
      return rules.saslPlainIdentity === 'authzid' && credentials.authzid !== ''
        ? credentials.authzid
        : credentials.authcid
    case 'token':
      return credentials.user ?? identityFromToken(credentials.token, rules.jwtUsernameClaim)
    default:
      return impossible(credentials)
  }
}
