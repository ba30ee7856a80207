/**
 * Message submission (RFC 6409, RFC 5321 with AUTH: RFC 4954, STARTTLS: RFC 3207) as a protocol of the proxy: makes a
 * listener's fixed answers once, and opens the two dialogues.
 */
import type { LoginProtocol, PreauthFactory } from '../protocol.ts'
import { SubmissionBackend } from './backend.ts'
import { submissionClaims } from './claims.ts'
import { prepareListener } from './listener.ts'
import { SubmissionPreauth } from './preauth.ts'
import { LINES } from './replies.ts'

export const submission: LoginProtocol = {
  kind: 'login',
  name: 'submission',
  prepare(profile): PreauthFactory {
    const listener = prepareListener(profile)
    return {
      open: (port, connection) => new SubmissionPreauth(port, listener, connection),
      tooBusy: LINES.tooBusy,
    }
  },
  backend: (port, options) => new SubmissionBackend(port, options),
  claims: submissionClaims,
}
