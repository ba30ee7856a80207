/**
 * Frames that leave together, as one piece of bytes: the channel serialises one array instead of hundreds, which costs
 * more than all that is in them. Each frame follows its length (4 bytes, big endian).
 */
import { SignalboxError } from '../errors.ts'

const LENGTH = 4

export function joinFrames(frames: readonly Uint8Array[]): Uint8Array {
  let size = LENGTH * frames.length
  for (const frame of frames) size += frame.length
  const batch = Buffer.allocUnsafe(size)
  let at = 0
  for (const frame of frames) {
    batch.writeUInt32BE(frame.length, at)
    batch.set(frame, at + LENGTH)
    at += LENGTH + frame.length
  }
  return batch
}

/**
 * The frames of a batch one by one, in order.
 *
 * @param take Told where each begins in the batch, and before which byte it ends
 * @throws SignalboxError FRAME_INVALID where what follows is no whole frame; those before it have been given
 */
export function splitFrames(batch: Uint8Array, take: (start: number, end: number) => void): void {
  const bytes = Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength)
  for (let at = 0; at < bytes.length; ) {
    const start = at + LENGTH
    const end = start > bytes.length ? Number.POSITIVE_INFINITY : start + bytes.readUInt32BE(at)
    if (end > bytes.length) throw new SignalboxError('FRAME_INVALID', 'a batch of frames ends within one')
    take(start, end)
    at = end
  }
}
