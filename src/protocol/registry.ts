/**
 * The protocols that Signalbox carries connection by connection. Outside its own folder, a protocol is a line here.
 */
import type { ProtocolName } from '../config/config.ts'
import { imap } from './imap/imap.ts'
import { managesieve } from './managesieve/managesieve.ts'
import { lmtp, smtp } from './passthrough.ts'
import { pop3 } from './pop3/pop3.ts'
import type { ListenerProfile, Protocol } from './protocol.ts'
import { submission } from './submission/submission.ts'

export const protocols: readonly Protocol[] = [imap, pop3, managesieve, submission, smtp, lmtp]

/** The protocol of a listener or leg; undefined: it is routed request by request (HTTP). */
export function protocolByName(name: ProtocolName): Protocol | undefined {
  return protocols.find((protocol) => protocol.name === name)
}

/** What a client is told when its listener is full; empty: nothing can be said (TLS from the first byte on, or HTTP). */
export function tooBusy(profile: ListenerProfile): Buffer {
  const protocol = profile.listener.tls === 'implicit' ? undefined : protocolByName(profile.listener.protocol)
  if (protocol === undefined) return Buffer.alloc(0)
  return protocol.kind === 'login' ? protocol.prepare(profile).tooBusy : protocol.tooBusy
}
