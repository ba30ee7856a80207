/**
 * ManageSieve (RFC 5804) as a protocol of the proxy: makes a listener's fixed answers once, and opens the two dialogues.
 */
import type { LoginProtocol, PreauthFactory } from '../protocol.ts'
import { ManageSieveBackend } from './backend.ts'
import { manageSieveClaims } from './claims.ts'
import { prepareListener } from './listener.ts'
import { ManageSievePreauth } from './preauth.ts'
import { LINES } from './replies.ts'

export const managesieve: LoginProtocol = {
  kind: 'login',
  name: 'managesieve',
  prepare(profile): PreauthFactory {
    const listener = prepareListener(profile)
    return {
      open: (port, connection) => new ManageSievePreauth(port, listener, connection.secure),
      tooBusy: LINES.tooBusy,
    }
  },
  backend: (port, options) => new ManageSieveBackend(port, options),
  claims: manageSieveClaims,
}
