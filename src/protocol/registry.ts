/**
 * The protocols that have a dialogue before login. Outside its own folder, a protocol is a line here.
 */
import type { ProtocolName } from '../config/config.ts'
import { imap } from './imap/imap.ts'
import type { Protocol } from './protocol.ts'

export const protocols: readonly Protocol[] = [imap]

/** The protocol of a listener or leg; undefined: it has no dialogue (bridged whole, or HTTP). */
export function protocolByName(name: ProtocolName): Protocol | undefined {
  return protocols.find((protocol) => protocol.name === name)
}
