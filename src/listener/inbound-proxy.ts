/**
 * Takes the PROXY header off a connection before anything else is read from it. What came behind the header goes back
 * into the socket, where a dialogue, the bridge or a TLS handshake (which takes over what a socket has read ahead)
 * finds it first. It owns the socket until it is done.
 */
import type { Socket } from 'node:net'
import type { CancelSignal } from '../cancel.ts'
import type { Clock } from '../clock.ts'
import { SignalboxError } from '../errors.ts'
import { PROXY_HEADER_WAIT_MS } from '../limits.ts'
import { readProxyHeader, type Endpoints } from './proxy-header.ts'

export interface InboundHeaderOptions {
  /** Paused, nothing read; its other end is trusted. */
  readonly socket: Socket
  readonly required: boolean
  /** The client speaks before it hears from us (TLS from the first byte, HTTP): its silence says nothing then. */
  readonly clientFirst: boolean
  readonly clock: Clock
  /** The deadline, and whoever ends the session. */
  readonly cancel: CancelSignal
}

/**
 * Whom the header announces; undefined: nobody, so that the socket's own addresses count. The socket is paused again.
 *
 * A peer that need not send a header and says nothing is waited for, limits.PROXY_HEADER_WAIT_MS at most: it may be one that
 * expects a greeting.
 *
 * @throws SignalboxError CLIENT_PROXY_HEADER, CLIENT_CLOSED, or the reason of `cancel`; the socket is closed then
 */
export function takeProxyHeader({ socket, required, clientFirst, clock, cancel }: InboundHeaderOptions): Promise<Endpoints | undefined> {
  return new Promise((resolve, reject) => {
    let bytes: Buffer = NOTHING
    const done = (): void => {
      patience?.cancel()
      cancel.removeEventListener('abort', onAbort)
      socket.pause()
      socket.off('data', onData)
      socket.off('end', onEnd)
      socket.off('error', onEnd)
      socket.off('close', onEnd)
    }
    const fail = (error: unknown): void => {
      done()
      if (socket.listenerCount('error') === 0) socket.on('error', unheard)
      socket.destroy()
      reject(error)
    }
    const give = (endpoints: Endpoints | undefined, behind: Buffer): void => {
      done()
      if (behind.length > 0) socket.unshift(behind)
      resolve(endpoints)
    }
    const onData = (chunk: Buffer): void => {
      patience?.cancel()
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
      const header = readProxyHeader(bytes)
      switch (header.kind) {
        case 'more':
          return
        case 'header':
          return give(header.endpoints, bytes.subarray(header.length))
        case 'none':
          if (required) fail(refused('a PROXY header is required'))
          else give(undefined, bytes)
          return
        case 'malformed':
          return fail(refused(header.reason))
        default:
          header satisfies never
      }
    }
    const onEnd = (): void => fail(new SignalboxError('CLIENT_CLOSED', 'the connection ended before its PROXY header was complete'))
    const onAbort = (): void => fail(cancel.reason)
    const patience = required || clientFirst ? undefined : clock.after(PROXY_HEADER_WAIT_MS, () => give(undefined, NOTHING))
    if (cancel.aborted) return onAbort()
    if (socket.destroyed) return onEnd()
    cancel.addEventListener('abort', onAbort)
    socket.on('data', onData)
    socket.on('end', onEnd)
    socket.on('error', onEnd)
    socket.on('close', onEnd)
    socket.resume()
  })
}

const NOTHING = Buffer.alloc(0)

function refused(why: string): SignalboxError {
  return new SignalboxError('CLIENT_PROXY_HEADER', why)
}

/** An error on a socket that was closed for another, known reason. */
function unheard(): void {}
