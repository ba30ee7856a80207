/**
 * The accept stage: from a connection on which nothing has been read to one that the preauth dialogue (or the bridge) may
 * have: TLS where the listener begins with it, all within listener.preauth_timeout. It owns the socket until it returns.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Clock } from '../clock.ts'
import type { ListenerConfig } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import type { InboundTls } from '../tls/inbound.ts'
import type { AcceptedConnection } from './services.ts'

export interface AcceptOptions {
  readonly connection: AcceptedConnection
  readonly listener: ListenerConfig
  readonly tls: InboundTls
  readonly clock: Clock
  /** Aborted at the deadline, and by whoever ends the session. */
  readonly cancel: AbortController
}

/** @throws SignalboxError CLIENT_TLS, CLIENT_TIMEOUT, or why the session was ended; the socket is closed then */
export async function accept({ connection, listener, tls, clock, cancel }: AcceptOptions): Promise<AcceptedConnection> {
  if (listener.tls !== 'implicit') return connection
  const deadline = clock.after(listener.preauthTimeout, () => {
    cancel.abort(new SignalboxError('CLIENT_TIMEOUT', 'the TLS handshake took too long'))
  })
  try {
    const socket = await tls.accept(connection.socket, cancel.signal)
    if (cancel.signal.aborted) {
      socket.destroy()
      throw cancel.signal.reason
    }
    return { ...connection, socket }
  } finally {
    deadline.cancel()
  }
}

/** The TLS version that a socket speaks, as OpenSSL names it; undefined: none. */
export function tlsVersion(socket: Socket): string | undefined {
  return socket instanceof TLSSocket ? (socket.getProtocol() ?? undefined) : undefined
}
