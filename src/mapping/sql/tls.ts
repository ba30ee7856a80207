/**
 * A database server with what its certificate is verified by, and what that means to Node. The drivers' own readings of
 * `sslmode` differ from each other.
 */
import type { ConnectionOptions } from 'node:tls'
import { authorities } from '../../authorities.ts'
import { isVerified, type SqlServer } from '../../config/sql-url.ts'
import { SignalboxError } from '../../errors.ts'

export interface TrustedServer extends SqlServer {
  /** PEM bundle that verifies it; undefined: the system's store. */
  readonly ca: string | undefined
}

/** What TLS shall look like; undefined: none. For `prefer` a server without TLS is then asked again without. */
export function tlsOf({ sslMode, sslRootCert, ca }: TrustedServer): ConnectionOptions | undefined {
  // Else "require" would verify nothing, without a word.
  if (sslRootCert !== undefined && ca === undefined) throw new SignalboxError('INTERNAL', 'sslrootcert has not been read')
  if (sslMode === 'disable') return undefined
  if (!isVerified(sslMode, ca !== undefined)) return { rejectUnauthorized: false }
  return {
    rejectUnauthorized: true,
    ca: authorities(ca),
    ...(sslMode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
  }
}
