/**
 * Frames on the bus: a header that never changes between versions, so that an instance of any version can follow any
 * other's sequence, then a msgpackr payload. With `cluster.secret` an HMAC-SHA256 over channel and frame stands at the end:
 * whoever can publish on the Redis could otherwise kick users or move their routes into doubt.
 *
 *   byte 0       version of the payload (1)
 *   byte 1       kind
 *   byte 2       flags: 1 = authenticated
 *   byte 3       length of the instance's name
 *   bytes 4-9    epoch: start of the sender, milliseconds since 1970, big endian
 *   bytes 10-15  sequence in that epoch, big endian; 0 in frames to one instance, which nobody else could follow
 *   then         the instance's name in ASCII, the payload, the HMAC (32 bytes)
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { decodePayload, encodePayload } from '../actor/frame.ts'
import { SignalboxError } from '../errors.ts'
import { FRAME } from '../limits.ts'

export const BUS_VERSION = 1

export const BUS_KINDS = {
  hello: 1,
  welcome: 2,
  heartbeat: 3,
  bye: 4,
  invalidate: 5,
  'invalidate-all': 6,
  kick: 7,
  hold: 8,
  release: 9,
  query: 10,
  answer: 11,
  acknowledge: 12,
  state: 13,
  drain: 14,
} as const
export type BusKind = keyof typeof BUS_KINDS

export interface BusHeader {
  /** The payload's version; a receiver that doesn't know it can still follow the sequence. */
  readonly version: number
  /** Undefined: a kind that this version doesn't know. */
  readonly kind: BusKind | undefined
  readonly instance: string
  readonly epoch: number
  readonly sequence: number
}

/** What could be read of a frame: its header, and the payload or why there is none. */
export interface BusFrame {
  readonly header: BusHeader
  readonly body: { readonly ok: true; readonly payload: unknown } | { readonly ok: false; readonly error: SignalboxError }
}

const FIXED = 16
const AUTHENTICATED = 1
const MAC = 32

const KINDS = new Map<number, BusKind>()
for (const [kind, number] of Object.entries(BUS_KINDS)) if (isKind(kind)) KINDS.set(number, kind)

function isKind(kind: string): kind is BusKind {
  return Object.hasOwn(BUS_KINDS, kind)
}

/** Names end up in channels, logs and answers: visible ASCII, of a bounded length. Host names are. */
export function isInstanceName(name: string): boolean {
  return /^[\x21-\x7e]{1,128}$/.test(name)
}

export interface OutgoingFrame {
  readonly kind: BusKind
  readonly instance: string
  readonly epoch: number
  readonly sequence: number
  readonly payload: unknown
}

/**
 * @param channel the Redis channel, bound into the HMAC so that a frame can't be replayed on another
 * @throws SignalboxError CONFIG_INVALID for a name that no receiver would take, FRAME_INVALID for a payload that has no
 * form or is too large
 */
export function encodeBusFrame(frame: OutgoingFrame, channel: string, secret: string | undefined): Buffer {
  if (!isInstanceName(frame.instance)) {
    throw new SignalboxError('CONFIG_INVALID', "an instance's name has 1 to 128 visible ASCII characters")
  }
  const name = Buffer.from(frame.instance, 'latin1')
  const payload = encodePayload(frame.payload)
  const size = FIXED + name.length + payload.length
  if (size + MAC > FRAME) throw new SignalboxError('FRAME_INVALID', `a bus frame of ${size} bytes is too large`)
  const plain = Buffer.allocUnsafe(size)
  plain[0] = BUS_VERSION
  plain[1] = BUS_KINDS[frame.kind]
  plain[2] = secret === undefined ? 0 : AUTHENTICATED
  plain[3] = name.length
  plain.writeUIntBE(frame.epoch, 4, 6)
  plain.writeUIntBE(frame.sequence, 10, 6)
  name.copy(plain, FIXED)
  payload.copy(plain, FIXED + name.length)
  return secret === undefined ? plain : Buffer.concat([plain, mac(plain, channel, secret)])
}

/**
 * Reads a frame. Throws FRAME_INVALID when not even the header can be believed: too short, too long, no or a wrong HMAC
 * where a secret is configured, or an HMAC where none is.
 */
export function decodeBusFrame(bytes: Buffer, channel: string, secret: string | undefined): BusFrame {
  if (bytes.length < FIXED || bytes.length > FRAME) {
    throw new SignalboxError('FRAME_INVALID', `a bus frame of ${bytes.length} bytes is out of bounds`)
  }
  const authenticated = ((bytes[2] ?? 0) & AUTHENTICATED) !== 0
  if (authenticated !== (secret !== undefined)) {
    const message = authenticated ? 'a bus frame is authenticated, this instance has no secret' : 'a bus frame is not authenticated'
    throw new SignalboxError('FRAME_INVALID', message)
  }
  const end = authenticated ? bytes.length - MAC : bytes.length
  const name = FIXED + (bytes[3] ?? 0)
  if (end < name) throw new SignalboxError('FRAME_INVALID', 'a bus frame is cut short')
  const plain = bytes.subarray(0, end)
  if (secret !== undefined && !timingSafeEqual(bytes.subarray(end), mac(plain, channel, secret))) {
    throw new SignalboxError('FRAME_INVALID', 'a bus frame has a wrong HMAC')
  }
  const instance = bytes.toString('latin1', FIXED, name)
  if (!isInstanceName(instance)) throw new SignalboxError('FRAME_INVALID', "a bus frame has a sender's name that is none")
  const header: BusHeader = {
    version: bytes[0] ?? 0,
    kind: KINDS.get(bytes[1] ?? 0),
    instance,
    epoch: bytes.readUIntBE(4, 6),
    sequence: bytes.readUIntBE(10, 6),
  }
  return { header, body: decodeBody(header, plain.subarray(name)) }
}

/** The sender's name as a frame bears it that could not be believed: for a log, for nothing else. Undefined: none that is one. */
export function claimedName(bytes: Buffer): string | undefined {
  const end = FIXED + (bytes[3] ?? 0)
  if (end > bytes.length) return undefined
  const name = bytes.toString('latin1', FIXED, end)
  return isInstanceName(name) ? name : undefined
}

function decodeBody(header: BusHeader, payload: Buffer): BusFrame['body'] {
  if (header.version !== BUS_VERSION) {
    return { ok: false, error: new SignalboxError('FRAME_INVALID', `a bus frame has payload version ${header.version}`) }
  }
  try {
    return { ok: true, payload: decodePayload(payload) }
  } catch (error) {
    return { ok: false, error: new SignalboxError('FRAME_INVALID', 'a bus frame has a payload that does not decode', { cause: error }) }
  }
}

function mac(plain: Buffer, channel: string, secret: string): Buffer {
  return createHmac('sha256', secret).update(channel).update('\0').update(plain).digest()
}
