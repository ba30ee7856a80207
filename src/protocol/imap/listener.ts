/**
 * What an IMAP listener has prepared for its dialogues: configuration, and the fixed answers made of it once.
 */
import type { ImapCapabilities } from '../../config/config.ts'
import { credentialsAllowed, passwordsOffered } from '../../sasl/policy.ts'
import type { ListenerProfile } from '../protocol.ts'
import { type ImapReplies, TAGGED, imapReplies } from './replies.ts'

export interface ImapListener {
  readonly capabilities: ImapCapabilities
  /** The listener has STARTTLS. */
  readonly startTls: boolean
  readonly maxAuthAttempts: number
  readonly preauthBuffer: number
  /** LITERAL+ is advertised. */
  readonly literalPlus: boolean
  readonly plain: ImapReplies
  readonly secure: ImapReplies
}

export function prepareListener({ listener, capabilities, preauthBuffer }: ListenerProfile): ImapListener {
  const startTls = listener.tls === 'starttls'
  return {
    capabilities: capabilities.imap,
    startTls,
    maxAuthAttempts: listener.maxAuthAttempts,
    preauthBuffer,
    literalPlus: capabilities.imap.advertise.some((name) => name.toUpperCase() === 'LITERAL+'),
    plain: imapReplies(capabilities.imap, false, startTls),
    secure: imapReplies(capabilities.imap, true, false),
  }
}

/** Why the LOGIN command is closed at the moment, as a tagged text; undefined: it is open. */
export function loginClosed({ capabilities }: ImapListener, secure: boolean): string | undefined {
  if (!credentialsAllowed(capabilities, secure)) return TAGGED.privacyRequired
  return passwordsOffered(capabilities) ? undefined : TAGGED.loginNotOffered
}
