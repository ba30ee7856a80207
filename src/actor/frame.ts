/**
 * Frames between processes: a fixed header that never changes between versions, then a msgpackr payload. Used on the
 * cluster's IPC; the bus has a header of its own (bus/frame.ts) around the same payloads. A frame that does not decode
 * is a FRAME_INVALID error for whoever received it, never a crash.
 *
 *   byte 0      version (1)
 *   byte 1      kind
 *   bytes 2-3   target: number of the actor at the receiver, big endian
 *   bytes 4-7   correlation: number of the question, 0 for none
 *   bytes 8-    payload: the message, the answer, or the error
 */
import { Packr, RESERVE_START_SPACE } from 'msgpackr'
import { ERROR_CODES, SignalboxError } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import { FRAME } from '../limits.ts'

export const FRAME_VERSION = 1
export const FRAME_HEADER = 8

export const FRAME_KINDS = { tell: 1, ask: 2, answer: 3, failure: 4 } as const
export type FrameKind = keyof typeof FRAME_KINDS

export interface Frame {
  readonly kind: FrameKind
  readonly target: number
  readonly correlation: number
  readonly payload: unknown
}

// No shared structures: both ends may be of different versions, and a frame must decode by itself.
const packr = new Packr({ useRecords: false, moreTypes: false, int64AsType: 'number' })

/** @throws SignalboxError FRAME_INVALID for what msgpack has no form for */
export function encodePayload(payload: unknown): Buffer {
  return pack(payload)
}

/** @throws SignalboxError FRAME_INVALID */
export function decodePayload(bytes: Uint8Array): unknown {
  return unpack(bytes, 0, bytes.length)
}

function unpack(bytes: Uint8Array, start: number, end: number): unknown {
  // The unpacker takes an end of 0 for none, and would look behind the frame for the value of one that is empty.
  if (start >= end) throw new SignalboxError('FRAME_INVALID', 'a frame has no payload')
  try {
    return packr.unpack(bytes, { start, end })
  } catch (error) {
    throw new SignalboxError('FRAME_INVALID', 'a frame has a payload that does not decode', { cause: error })
  }
}

/** @throws SignalboxError FRAME_INVALID for a payload that msgpack has no form for, or that no receiver would take */
export function encodeFrame(frame: Frame): Buffer {
  // The packer leaves room in front of the payload.
  const bytes = pack(frame.payload, RESERVE_START_SPACE | FRAME_HEADER)
  if (bytes.length > FRAME) {
    throw new SignalboxError('FRAME_INVALID', `a message of ${bytes.length - FRAME_HEADER} bytes is too large for a frame`)
  }
  bytes[0] = FRAME_VERSION
  bytes[1] = FRAME_KINDS[frame.kind]
  bytes.writeUInt16BE(frame.target, 2)
  bytes.writeUInt32BE(frame.correlation, 4)
  return bytes
}

/**
 * @param start Where the frame begins in `bytes`, and before which byte it ends: many come in one piece
 * @throws SignalboxError FRAME_INVALID for a size, version, kind or payload that is none
 */
export function decodeFrame(bytes: Uint8Array, start = 0, end = bytes.length): Frame {
  const length = end - start
  if (length < FRAME_HEADER || length > FRAME) {
    throw new SignalboxError('FRAME_INVALID', `a frame of ${length} bytes is out of bounds`)
  }
  const at = (index: number): number => bytes[start + index] ?? 0
  if (at(0) !== FRAME_VERSION) throw new SignalboxError('FRAME_INVALID', `a frame has version ${at(0)}`)
  return {
    kind: kindOf(at(1)),
    target: (at(2) << 8) | at(3),
    correlation: ((at(4) << 24) | (at(5) << 16) | (at(6) << 8) | at(7)) >>> 0,
    payload: unpack(bytes, start + FRAME_HEADER, end),
  }
}

function pack(payload: unknown, options?: number): Buffer {
  try {
    return packr.pack(payload, options)
  } catch (error) {
    throw new SignalboxError('FRAME_INVALID', 'a message holds what no frame can carry', { cause: error })
  }
}

function kindOf(byte: number): FrameKind {
  switch (byte) {
    case FRAME_KINDS.tell:
      return 'tell'
    case FRAME_KINDS.ask:
      return 'ask'
    case FRAME_KINDS.answer:
      return 'answer'
    case FRAME_KINDS.failure:
      return 'failure'
    default:
      throw new SignalboxError('FRAME_INVALID', `a frame has the unknown kind ${byte}`)
  }
}

/** What of an error crosses a process border: code and message, never a cause (it may hold what must stay inside). */
export interface WireError {
  readonly code: ErrorCode
  readonly message: string
}

export function errorToWire(error: Error): WireError {
  return error instanceof SignalboxError
    ? { code: error.code, message: error.message }
    : { code: 'INTERNAL', message: error.message }
}

export function errorFromWire(payload: unknown): SignalboxError {
  if (typeof payload === 'object' && payload !== null && 'code' in payload && 'message' in payload) {
    const { code, message } = payload
    if (typeof code === 'string' && Object.hasOwn(ERROR_CODES, code) && typeof message === 'string') {
      return new SignalboxError(code as ErrorCode, message)
    }
  }
  return new SignalboxError('FRAME_INVALID', 'a failure came in an unknown form')
}
