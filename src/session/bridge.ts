/**
 * The bridge: two sockets, bytes unread in both directions, with back-pressure and half-close, until both sides have
 * ended or either fails. It owns the sockets from here on; at its end both are closed. Node's own idle time-outs (one
 * list per duration, no timer per session) end a session without a byte in either direction.
 *
 * Every byte read from one side is written to the other, and a socket's time-out is refreshed by reads and writes, so
 * one time-out on the client's socket watches both directions. When one socket has closed in good order, the other one
 * is left to send what is still written to it, and gets the time-out.
 */
import type { Socket } from 'node:net'

export type BridgeEnd = 'client' | 'backend' | 'client-error' | 'backend-error' | 'idle' | 'ended'

export interface BridgeResult {
  /** Who ended it: the side that sent its FIN or failed first, `idle`, or `ended` when `end` was called. */
  readonly reason: BridgeEnd
  /** Bytes from the client to the backend and back, counted from the hand-over. */
  readonly bytesIn: number
  readonly bytesOut: number
}

export interface BridgeOptions {
  readonly client: Socket
  readonly backend: Socket
  /** server.bridge_idle, milliseconds. */
  readonly idle: number
  /** Called once, when both sockets are closed. */
  readonly done: (result: BridgeResult) => void
  /** Counts what all bridges of a kind carry. */
  readonly meter?: Meter
}

/** Bytes from clients to backends, and back. */
export interface Meter {
  bytesIn: number
  bytesOut: number
}

export interface Bridge {
  /** Ends it at once (kick, drain): nothing is injected. Idempotent. */
  end(): void
  /** Carried so far. */
  readonly bytesIn: number
  readonly bytesOut: number
}

export function bridge({ client, backend, idle, done, meter }: BridgeOptions): Bridge {
  let reason: BridgeEnd | undefined
  let open = 2

  const because = (why: BridgeEnd) => {
    reason ??= why
  }
  const destroy = () => {
    client.destroy()
    backend.destroy()
  }
  const idled = () => {
    because('idle')
    destroy()
  }
  const closed = (socket: Socket, other: Socket) => {
    open--
    if (open === 0) return done({ reason: reason ?? 'ended', bytesIn: inward.bytes, bytesOut: outward.bytes })
    // A side that is through in good order has said all it had to say; the other may still be on its way to take it.
    if (socket.readableEnded && socket.writableFinished) other.setTimeout(idle, idled)
    else destroy()
  }

  client.on('error', () => {
    because('client-error')
    destroy()
  })
  backend.on('error', () => {
    because('backend-error')
    destroy()
  })
  client.once('close', () => closed(client, backend))
  backend.once('close', () => closed(backend, client))
  client.setTimeout(idle, idled)
  const inward = flow(client, backend, () => because('client'), (bytes) => {
    if (meter !== undefined) meter.bytesIn += bytes
  })
  const outward = flow(backend, client, () => because('backend'), (bytes) => {
    if (meter !== undefined) meter.bytesOut += bytes
  })

  return {
    get bytesIn() {
      return inward.bytes
    },
    get bytesOut() {
      return outward.bytes
    },
    end() {
      because('ended')
      destroy()
    },
  }
}

/** One direction: data with back-pressure, then the half-close. Gives what it has carried so far. */
function flow(from: Socket, to: Socket, ended: () => void, counted: (bytes: number) => void): { readonly bytes: number } {
  const carried = { bytes: 0 }
  from.on('data', (chunk: Buffer) => {
    carried.bytes += chunk.length
    counted(chunk.length)
    if (!to.write(chunk)) from.pause()
  })
  to.on('drain', () => {
    from.resume()
  })
  from.once('end', () => {
    ended()
    to.end()
  })
  if (from.readableEnded) {
    ended()
    to.end()
  } else {
    from.resume()
  }
  return carried
}
