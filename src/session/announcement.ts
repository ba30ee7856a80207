/**
 * What a backend may be told of the client. Addresses and ports are those of the client's own connection. Which of it is
 * told, and how, is decided by the destination's leg.
 */
import type { ClientAnnouncement } from '../protocol/protocol.ts'
import type { AcceptedConnection } from './services.ts'

/** @param ttl what is left of the forwarding's time-to-live, for the backend */
export function announcement(connection: AcceptedConnection, ttl: number, clientTls: string | undefined): ClientAnnouncement {
  const { clientAddress, clientPort, localAddress, localPort, id } = connection
  return { clientAddress, clientPort, localAddress, localPort, session: id, ttl, clientTls }
}
