/**
 * The accept stage: from a connection on which nothing has been read to one that the preauth dialogue (or the bridge) may
 * have. In this order: the PROXY header of a trusted peer, which says who the client is; TLS where the listener begins
 * with it. All of it within listener.preauth_timeout. Each step owns the socket until it returns, and has closed it where
 * it throws.
 *
 * Who is not trusted is never read as a PROXY header: with `optional` its bytes are the client's own, whatever they look
 * like; with `required` it is closed unread.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { CancelSignal } from '../cancel.ts'
import type { Clock } from '../clock.ts'
import type { ListenerConfig } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import { takeProxyHeader } from '../listener/inbound-proxy.ts'
import { isTrusted } from '../listener/trusted.ts'
import type { InboundTls } from '../tls/inbound.ts'
import { lastWords } from './last-words.ts'
import type { AcceptedConnection } from './services.ts'

/** By their names in TLS (RFC 7301, RFC 9113 §3.1). */
const HTTP_VERSIONS = ['h2', 'http/1.1'] as const

export interface AcceptOptions {
  readonly listener: ListenerConfig
  readonly clock: Clock
  /** Aborted at the deadline, and by whoever ends the session. */
  readonly cancel: { readonly signal: CancelSignal; abort(reason: SignalboxError): void }
}

/** Whether there is anything to do before the dialogue. */
export function hasSteps({ proxyProtocol, tls }: ListenerConfig): boolean {
  return proxyProtocol !== 'off' || tls === 'implicit'
}

/** Runs the steps of the stage under their one deadline. */
export async function inTime({ listener, clock, cancel }: AcceptOptions, steps: () => Promise<void>): Promise<void> {
  const deadline = clock.after(listener.preauthTimeout, () => {
    cancel.abort(new SignalboxError('CLIENT_TIMEOUT', 'the PROXY header or the TLS handshake took too long'))
  })
  try {
    await steps()
  } finally {
    deadline.cancel()
  }
}

/** Whether a connection's address is known only once its PROXY header was (or was not) read: the sender may announce others. */
export function speaksForOthers(listener: ListenerConfig, peer: string): boolean {
  return listener.proxyProtocol !== 'off' && isTrusted(listener, peer)
}

/**
 * The connection with the addresses that its PROXY header announces.
 *
 * @throws SignalboxError CLIENT_PROXY_HEADER, CLIENT_CLOSED, or why the session was ended
 */
export async function announced(connection: AcceptedConnection, { listener, clock, cancel }: AcceptOptions): Promise<AcceptedConnection> {
  const { proxyProtocol, tls, protocol } = listener
  if (proxyProtocol === 'off') return connection
  const { socket, clientAddress } = connection
  const required = proxyProtocol === 'required'
  if (!isTrusted(listener, clientAddress)) {
    if (!required) return connection
    socket.destroy()
    throw new SignalboxError('CLIENT_PROXY_HEADER', 'not one of those who may connect here')
  }
  const clientFirst = tls === 'implicit' || protocol === 'http'
  const endpoints = await takeProxyHeader({ socket, required, clientFirst, clock, cancel: cancel.signal })
  return endpoints === undefined ? connection : { ...connection, ...endpoints }
}

export interface CountOptions extends AcceptOptions {
  /** Whether one more connection of its address may come in, which is counted then. Never rejects. */
  readonly count: (connection: AcceptedConnection) => Promise<boolean>
  /** The protocol's words for "no". */
  readonly tooBusy: Buffer
}

/**
 * Counts the connection for the address that was announced, as the primary counts others before a worker has them.
 *
 * @throws SignalboxError CLIENT_TOO_MANY_CONNECTIONS, CLIENT_CLOSED, or why the session was ended
 */
export async function counted(connection: AcceptedConnection, { listener, clock, cancel, count, tooBusy }: CountOptions): Promise<void> {
  const { socket } = connection
  socket.on('error', unheard)
  const admitted = await count(connection)
  if (cancel.signal.aborted) {
    socket.destroy()
    throw cancel.signal.reason
  }
  if (!admitted) {
    // Nothing can be said ahead of a TLS handshake.
    lastWords(socket, listener.tls === 'implicit' ? Buffer.alloc(0) : tooBusy, clock)
    throw new SignalboxError('CLIENT_TOO_MANY_CONNECTIONS', 'the announced address has too many connections')
  }
  if (socket.destroyed) throw new SignalboxError('CLIENT_CLOSED', 'the client closed the connection')
  socket.off('error', unheard)
}

export interface EncryptOptions extends AcceptOptions {
  readonly tls: InboundTls
}

/** @throws SignalboxError CLIENT_TLS, CLIENT_CLOSED, or why the session was ended */
export async function encrypted(connection: AcceptedConnection, { listener, tls, cancel }: EncryptOptions): Promise<AcceptedConnection> {
  if (listener.tls !== 'implicit') return connection
  const socket = await tls.accept(connection.socket, cancel.signal, listener.protocol === 'http' ? HTTP_VERSIONS : undefined)
  if (cancel.signal.aborted) {
    socket.destroy()
    throw cancel.signal.reason
  }
  return over(connection, socket)
}

/** The same connection, spoken over another socket. */
function over(connection: AcceptedConnection, socket: Socket): AcceptedConnection {
  return {
    ...connection,
    socket,
    get localAddress() {
      return connection.localAddress
    },
    get localPort() {
      return connection.localPort
    },
  }
}

/** The TLS version that a socket speaks, as OpenSSL names it; undefined: none. */
export function tlsVersion(socket: Socket): string | undefined {
  return socket instanceof TLSSocket ? (socket.getProtocol() ?? undefined) : undefined
}

/** An error of a socket that nobody reads for the moment: that it is destroyed says enough. */
function unheard(): void {}
