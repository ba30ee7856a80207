/**
 * What a POP3 listener has prepared for its dialogues: configuration, and the fixed answers made of it once.
 */
import type { Pop3Capabilities } from '../../config/config.ts'
import { credentialsAllowed, passwordsOffered } from '../../sasl/policy.ts'
import type { DialogueBounds } from '../preauth-machine.ts'
import type { ListenerProfile } from '../protocol.ts'
import { type Pop3Replies, TEXTS, pop3Replies } from './replies.ts'

export interface Pop3Listener extends DialogueBounds {
  readonly capabilities: Pop3Capabilities
  /** The listener has STLS. */
  readonly startTls: boolean
  /** UTF8 is among the capabilities (RFC 6856 §2). */
  readonly utf8: boolean
  readonly plain: Pop3Replies
  readonly secure: Pop3Replies
}

export function prepareListener({ listener, capabilities, preauthBuffer }: ListenerProfile): Pop3Listener {
  const { pop3 } = capabilities
  const startTls = listener.tls === 'starttls'
  return {
    capabilities: pop3,
    startTls,
    utf8: pop3.capa.some((line) => line.split(' ')[0]?.toUpperCase() === 'UTF8'),
    maxAuthAttempts: listener.maxAuthAttempts,
    preauthBuffer,
    plain: pop3Replies(pop3, false, startTls),
    secure: pop3Replies(pop3, true, false),
  }
}

/** Why USER and PASS are closed at the moment, as the text of a failure; undefined: they are open. */
export function passwordsClosed({ capabilities }: Pop3Listener, secure: boolean): string | undefined {
  if (!credentialsAllowed(capabilities, secure)) return TEXTS.privacyRequired
  return passwordsOffered(capabilities) ? undefined : TEXTS.passwordsNotOffered
}

