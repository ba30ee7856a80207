/**
 * The listening side of the management API: node:https with every patience bounded (handshake, head, pause
 * between requests, silence), since this port is reachable by strangers before they have shown a token.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import type { Socket } from 'node:net'
import { SignalboxError } from '../errors.ts'
import * as limits from '../limits.ts'
import type { Sockets } from './sockets.ts'

/** PEM texts of the API's certificate (chain) and key. */
export interface ManagementTls {
  readonly cert: string
  readonly key: string
}

/** How long a client may take, in milliseconds. */
export interface Patience {
  readonly handshake: number
  readonly head: number
  /** Between two requests. */
  readonly keepAlive: number
  /** Without a byte in either direction, also while an answer is being made or isn't being read. */
  readonly silence: number
}

const PATIENCE: Patience = {
  handshake: limits.ADMIN_HANDSHAKE_MS,
  head: limits.ADMIN_HEAD_MS,
  keepAlive: limits.ADMIN_KEEPALIVE_MS,
  silence: limits.ADMIN_SILENCE_MS,
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void

/** Makes the server, its connections watched by `sockets`. Throws CONFIG_INVALID for a certificate that can't be used. */
export function createHttps(tls: ManagementTls, sockets: Sockets, handler: Handler, patience = PATIENCE): Server {
  const server = checkedTls(() =>
    createServer(
      {
        ...tls,
        minVersion: 'TLSv1.2',
        handshakeTimeout: patience.handshake,
        maxHeaderSize: limits.ADMIN_HEAD,
        headersTimeout: patience.head,
        // How long a body may take is for its reader to say (body.ts, exchange.ts): an import takes as long as it takes.
        requestTimeout: 0,
        keepAliveTimeout: patience.keepAlive,
        connectionsCheckingInterval: Math.min(1_000, patience.head),
      },
      (request, response) => {
        sockets.begin(request, response)
        handler(request, response)
      },
    ),
  )
  server.timeout = patience.silence
  sockets.watch(server)
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    sockets.begin(request, response)
    const error = 'nothing but "100-continue" may be expected'
    const json = /application\/json/i.test(request.headers.accept ?? '')
    const text = `${json ? JSON.stringify({ error, code: 'BAD_EXPECTATION' }) : error}\n`
    // Whether its body comes nobody knows.
    const type = json ? 'application/json' : 'text/plain'
    const headers = { 'Content-Type': `${type}; charset=utf-8`, 'Content-Length': Buffer.byteLength(text), Connection: 'close' }
    response.writeHead(417, headers).end(text)
  })
  server.on('clientError', (error: Error & { code?: string }, socket: Socket) => answerUnreadable(error, socket, sockets))
  return server
}

/** Runs what reads the PEM texts; OpenSSL's errors become CONFIG_INVALID. */
export function checkedTls<T>(use: () => T): T {
  try {
    return use()
  } catch (cause) {
    throw new SignalboxError('CONFIG_INVALID', 'the certificate of the management API cannot be used', { cause })
  }
}

const UNREADABLE: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
}

/**
 * What node:http could not read as a request. On a connection whose earlier requests are still being answered, those
 * answers are all that may follow (one more would be taken for theirs); otherwise a last word, then the end.
 */
function answerUnreadable(error: Error & { code?: string }, socket: Socket, sockets: Sockets): void {
  // Before the end of the handshake (or after a failed one) nothing can be said: an answer would wait for it for ever.
  if (!socket.writable || !sockets.secured(socket) || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  if (!sockets.mayStillAnswer(socket)) {
    sockets.endAfterAnswers(socket)
    return
  }
  const status = UNREADABLE[error.code ?? ''] ?? '400 Bad Request'
  const text = `${status.slice(4)}\n`
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`,
    () => socket.destroy(),
  )
}
