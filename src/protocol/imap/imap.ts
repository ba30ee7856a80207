/**
 * IMAP (RFC 9051, RFC 3501) as a protocol of the proxy: makes a listener's fixed answers once, and opens the two
 * dialogues.
 */
import type { PreauthFactory, Protocol } from '../protocol.ts'
import { ImapBackend } from './backend.ts'
import { type ImapListener, ImapPreauth } from './preauth.ts'
import { LINES, imapReplies } from './replies.ts'

export const imap: Protocol = {
  name: 'imap',
  prepare({ listener, capabilities, preauthBuffer }): PreauthFactory {
    const startTls = listener.tls === 'starttls'
    const prepared: ImapListener = {
      capabilities: capabilities.imap,
      startTls,
      maxAuthAttempts: listener.maxAuthAttempts,
      preauthBuffer,
      literalPlus: capabilities.imap.advertise.some((name) => name.toUpperCase() === 'LITERAL+'),
      plain: imapReplies(capabilities.imap, false, startTls),
      secure: imapReplies(capabilities.imap, true, false),
    }
    return {
      open: (port, connection) => new ImapPreauth(port, prepared, connection.secure),
      tooBusy: LINES.tooBusy,
    }
  },
  backend: (port, options) => new ImapBackend(port, options),
}
