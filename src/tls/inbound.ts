/** TLS towards clients: certificates by SNI, session tickets, protocol policy. One object per worker, replaced as a whole at a reload. */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'

export interface InboundTls {
  /**
   * Runs the server side of a handshake on a socket from which no byte of it has been read into JavaScript. Resolves
   * with the encrypted socket (paused, allowHalfOpen), rejects with CLIENT_TLS or, when `cancel` aborts, with its
   * reason; the socket is destroyed then. Applies no deadline of its own.
   */
  accept(socket: Socket, cancel: AbortSignal): Promise<TLSSocket>
}
