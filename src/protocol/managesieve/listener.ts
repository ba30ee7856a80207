/**
 * What a ManageSieve listener has prepared for its dialogues: configuration, and the fixed answers made of it once.
 */
import type { ManageSieveCapabilities } from '../../config/config.ts'
import type { DialogueBounds } from '../preauth-machine.ts'
import type { ListenerProfile } from '../protocol.ts'
import { type ManageSieveReplies, manageSieveReplies } from './replies.ts'

export interface ManageSieveListener extends DialogueBounds {
  readonly capabilities: ManageSieveCapabilities
  /** The listener has STARTTLS. */
  readonly startTls: boolean
  readonly plain: ManageSieveReplies
  readonly secure: ManageSieveReplies
}

export function prepareListener({ listener, capabilities, preauthBuffer }: ListenerProfile): ManageSieveListener {
  const startTls = listener.tls === 'starttls'
  const { managesieve } = capabilities
  return {
    capabilities: managesieve,
    startTls,
    maxAuthAttempts: listener.maxAuthAttempts,
    preauthBuffer,
    plain: manageSieveReplies(managesieve, false, startTls),
    secure: manageSieveReplies(managesieve, true, false),
  }
}
