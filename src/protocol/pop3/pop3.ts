/**
 * POP3 (RFC 1939, with CAPA: RFC 2449, STLS: RFC 2595, AUTH: RFC 5034, UTF8: RFC 6856) as a protocol of the proxy: makes a
 * listener's fixed answers once, and opens the two dialogues.
 */
import type { LoginProtocol, PreauthFactory } from '../protocol.ts'
import { Pop3Backend } from './backend.ts'
import { pop3Claims } from './claims.ts'
import { prepareListener } from './listener.ts'
import { Pop3Preauth } from './preauth.ts'
import { LINES } from './replies.ts'

export const pop3: LoginProtocol = {
  kind: 'login',
  name: 'pop3',
  prepare(profile): PreauthFactory {
    const listener = prepareListener(profile)
    return {
      open: (port, connection) => new Pop3Preauth(port, listener, connection.secure),
      tooBusy: LINES.tooBusy,
    }
  },
  backend: (port, options) => new Pop3Backend(port, options),
  claims: pop3Claims,
}
