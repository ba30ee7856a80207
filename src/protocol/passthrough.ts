/**
 * SMTP (RFC 5321) and LMTP (RFC 2033) pass-through: the connection is bridged whole, so nothing here is read. What the
 * proxy itself says, it says in place of the greeting that the client waits for (RFC 5321 §3.1, §3.8).
 */
import type { PassthroughProtocol } from './protocol.ts'

const TOO_BUSY = Buffer.from('421 4.3.2 Too many connections, please try again later\r\n')
const UNAVAILABLE = Buffer.from('421 4.3.0 Service temporarily unavailable, please try again later\r\n')

export const smtp: PassthroughProtocol = { kind: 'passthrough', name: 'smtp', tooBusy: TOO_BUSY, unavailable: UNAVAILABLE }
export const lmtp: PassthroughProtocol = { kind: 'passthrough', name: 'lmtp', tooBusy: TOO_BUSY, unavailable: UNAVAILABLE }
