/**
 * Who hears a socket. A session's sockets pass from hand to hand (dial, dialogue, bridge); listeners that were taken off and
 * put on at each of these steps cost more than what they hear. So each socket is wired once, and its events go to whoever owns it
 * at the moment. A socket without an owner must be held: what it reads is nobody's then.
 */
import type { Socket } from 'node:net'

export interface WireOwner {
  onData(chunk: Buffer): void
  /**
   * As onData, of bytes whose memory is only lent (src/inlet.ts). True: it needs them no longer, or no longer than until
   * it resumes the socket that it has paused.
   */
  onLent?(chunk: Buffer): boolean
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

/** What reads a socket in place of its stream (src/inlet.ts). */
export interface Reading {
  hold(): void
  flow(): void
  /** The socket has ended. False: it is held, and the end will be told when it flows. */
  takeEnd(): boolean
  /** The socket has ended, and nobody was told yet. */
  readonly keepsEnd: boolean
}

const OWNER = Symbol('owner')
const READING = Symbol('reading')

/** A socket that may be wired. */
interface Wired extends Socket {
  [OWNER]?: WireOwner | undefined
  [READING]?: Reading
}

/** From now on the socket's events are this owner's, in place of any other's. Sets a socket flowing that was never paused. */
export function own(socket: Socket, owner: WireOwner): void {
  const wired: Wired = socket
  const known = OWNER in wired
  wired[OWNER] = owner
  if (!known) listen(wired)
}

function listen(socket: Wired): void {
  if (socket.connecting) socket.on('connect', onConnect)
  if (socket[READING] === undefined) socket.on('data', onData)
  socket.on('end', onEnd)
  socket.on('error', onError)
  socket.on('close', onClose)
  socket.on('drain', onDrain)
  socket.on('timeout', onTimeout)
}

/** Nobody hears it until the next owner comes; it is held. Its errors are nobody's concern either, but go unheard. */
export function disown(socket: Socket): void {
  const wired: Wired = socket
  wired[OWNER] = undefined
  hold(socket)
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

/** Its bytes don't come as events, from the beginning; it is held. Such a socket can't be unwired. */
export function readBy(socket: Socket, reading: Reading): void {
  const wired: Wired = socket
  wired[READING] = reading
  wired[OWNER] = undefined
  listen(wired)
}

/** Its owner hears no bytes and no end until it flows again: they wait. */
export function hold(socket: Socket): void {
  const reading = (socket as Wired)[READING]
  if (reading === undefined) socket.pause()
  else reading.hold()
}

export function flow(socket: Socket): void {
  const reading = (socket as Wired)[READING]
  if (reading === undefined) socket.resume()
  else reading.flow()
}

/** Its owner of before has heard the end, or nobody ever will: it doesn't wait for the next one. */
export function hasEnded(socket: Socket): boolean {
  return socket.readableEnded && (socket as Wired)[READING]?.keepsEnd !== true
}

/** Bytes that are the owner's from here on. */
export function deliver(socket: Socket, chunk: Buffer): void {
  const wired: Wired = socket
  wired[OWNER]?.onData(chunk)
}

/** The end that was kept. */
export function deliverEnd(socket: Socket): void {
  const wired: Wired = socket
  wired[OWNER]?.onEnd()
}

/** Bytes that the owner may use for a while. False: he keeps them. */
export function lend(socket: Socket, chunk: Buffer): boolean {
  const owner = (socket as Wired)[OWNER]
  if (owner === undefined) return true
  if (owner.onLent !== undefined) return owner.onLent(chunk)
  owner.onData(chunk)
  return false
}

function onConnect(this: Wired): void {
  this[OWNER]?.onConnect?.()
}

function onData(this: Wired, chunk: Buffer): void {
  this[OWNER]?.onData(chunk)
}

function onEnd(this: Wired): void {
  if (this[READING]?.takeEnd() !== false) this[OWNER]?.onEnd()
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
