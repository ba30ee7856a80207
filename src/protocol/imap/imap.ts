/**
 * IMAP (RFC 9051, RFC 3501) as a protocol of the proxy: makes a listener's fixed answers once, and opens the two
 * dialogues.
 */
import type { LoginProtocol, PreauthFactory } from '../protocol.ts'
import { ImapBackend } from './backend.ts'
import { imapClaims } from './claims.ts'
import { prepareListener } from './listener.ts'
import { ImapPreauth } from './preauth.ts'
import { LINES } from './replies.ts'

export const imap: LoginProtocol = {
  kind: 'login',
  name: 'imap',
  prepare(profile): PreauthFactory {
    const listener = prepareListener(profile)
    return {
      open: (port, connection) => new ImapPreauth(port, listener, connection.secure),
      tooBusy: LINES.tooBusy,
    }
  },
  backend: (port, options) => new ImapBackend(port, options),
  claims: imapClaims,
}
