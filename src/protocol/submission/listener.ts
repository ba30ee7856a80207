/**
 * What a submission listener has prepared for its dialogues: configuration, and the fixed answers made of it once. Where no
 * name is configured the server calls itself by the address that the client reached (RFC 5321 §4.1.3), so there is one set of
 * answers per address; those of the last few are kept.
 */
import { isIP } from 'node:net'
import type { SubmissionCapabilities } from '../../config/config.ts'
import type { DialogueBounds } from '../preauth-machine.ts'
import type { ListenerProfile } from '../protocol.ts'
import { type SubmissionReplies, submissionReplies } from './replies.ts'

/** Addresses whose answers are kept. */
const KEPT = 64

export interface SubmissionListener extends DialogueBounds {
  readonly capabilities: SubmissionCapabilities
  /** The listener has STARTTLS. */
  readonly startTls: boolean
  /** The answers for a connection that came in at this address. */
  replies(localAddress: string, secure: boolean): SubmissionReplies
}

export function prepareListener({ listener, capabilities, hostname, preauthBuffer }: ListenerProfile): SubmissionListener {
  const startTls = listener.tls === 'starttls'
  const { submission } = capabilities
  const made = new Map<string, { readonly plain: SubmissionReplies; readonly secure: SubmissionReplies }>()
  return {
    capabilities: submission,
    startTls,
    maxAuthAttempts: listener.maxAuthAttempts,
    preauthBuffer,
    replies(localAddress, secure) {
      const name = hostname ?? addressLiteral(localAddress)
      let both = made.get(name)
      if (both === undefined) {
        both = {
          plain: submissionReplies(submission, { secure: false, startTls, name }),
          secure: submissionReplies(submission, { secure: true, startTls: false, name }),
        }
        if (made.size >= KEPT) made.clear()
        made.set(name, both)
      }
      return secure ? both.secure : both.plain
    },
  }
}

/** An address in the form that stands in for a name. */
export function addressLiteral(address: string): string {
  switch (isIP(address)) {
    case 4:
      return `[${address}]`
    case 6:
      return `[IPv6:${address}]`
    default:
      return 'localhost'
  }
}
