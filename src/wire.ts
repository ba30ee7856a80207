/**
 * Who hears a socket. A session's sockets pass from hand to hand (dial, dialogue, bridge); listeners that were taken off and
 * put on at each of these steps cost more than what they hear. So each socket is wired once, and its events go to whoever owns it
 * at the moment. A socket without an owner must be paused: what it reads is nobody's then.
 */
import type { Socket } from 'node:net'

export interface WireOwner {
  onData(chunk: Buffer): void
  /** The other side has said all it had to say. */
  onEnd(): void
  onError(error: Error): void
  onClose(): void
  /** It was being connected, and is. */
  onConnect?(): void
  /** What was too much to write at once has left. */
  onDrain?(): void
  /** Nothing was read or written for as long as socket.setTimeout said. */
  onTimeout?(): void
}

const OWNER = Symbol('owner')

/** A socket that may be wired. */
interface Wired extends Socket {
  [OWNER]?: WireOwner | undefined
}

/** From now on the socket's events are this owner's, in place of any other's. Sets a socket flowing that was never paused. */
export function own(socket: Socket, owner: WireOwner): void {
  const wired: Wired = socket
  const known = OWNER in wired
  wired[OWNER] = owner
  if (known) return
  if (socket.connecting) socket.on('connect', onConnect)
  socket.on('data', onData)
  socket.on('end', onEnd)
  socket.on('error', onError)
  socket.on('close', onClose)
  socket.on('drain', onDrain)
  socket.on('timeout', onTimeout)
}

/** Nobody hears it until the next owner comes; it is paused. Its errors are nobody's concern either, but go unheard. */
export function disown(socket: Socket): void {
  const wired: Wired = socket
  wired[OWNER] = undefined
  socket.pause()
}

/** Takes the wire off: the socket is somebody else's from here on, as it came. */
export function unwire(socket: Socket): void {
  const wired: Wired = socket
  delete wired[OWNER]
  socket.pause()
  socket.off('connect', onConnect)
  socket.off('data', onData)
  socket.off('end', onEnd)
  socket.off('error', onError)
  socket.off('close', onClose)
  socket.off('drain', onDrain)
  socket.off('timeout', onTimeout)
}

function onConnect(this: Wired): void {
  this[OWNER]?.onConnect?.()
}

function onData(this: Wired, chunk: Buffer): void {
  this[OWNER]?.onData(chunk)
}

function onEnd(this: Wired): void {
  this[OWNER]?.onEnd()
}

function onError(this: Wired, error: Error): void {
  this[OWNER]?.onError(error)
}

function onClose(this: Wired): void {
  this[OWNER]?.onClose()
}

function onDrain(this: Wired): void {
  this[OWNER]?.onDrain?.()
}

function onTimeout(this: Wired): void {
  this[OWNER]?.onTimeout?.()
}
