/**
 * HTTP/2 by hand (RFC 9113 §4.1, RFC 7541), for what no library sends: frames, and fields without Huffman coding. Lengths of
 * names and values are whole octets as they stand; there is no client here, only its bytes.
 */

/** What a client says first, with empty settings. */
export const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(0x4, 0, 0)])

export function frame(type: number, flags: number, stream: number, ...payload: readonly Buffer[]): Buffer {
  const body = Buffer.concat(payload)
  const head = Buffer.alloc(9)
  head.writeUIntBE(body.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, body])
}

/** A field as it is, in no table (RFC 7541 §6.2.2). */
export function literal([name, value]: readonly [string, string]): Buffer {
  return Buffer.concat([Buffer.from([0x00]), text(name), text(value)])
}

/** The same, and in the table from now on (§6.2.1): its newest entry is 62. */
export function indexed([name, value]: readonly [string, string]): Buffer {
  return Buffer.concat([Buffer.from([0x40]), text(name), text(value)])
}

/** The newest entry of the table, so many times, one octet each (§6.1). */
export function again(times: number): Buffer {
  return Buffer.alloc(times, 0x80 | 62)
}

function text(said: string): Buffer {
  const bytes = Buffer.from(said, 'latin1')
  return Buffer.concat([integer(bytes.length), bytes])
}

/** With a prefix of seven bits (§5.1). */
function integer(value: number): Buffer {
  if (value < 127) return Buffer.from([value])
  const octets = [127]
  let rest = value - 127
  for (; rest >= 128; rest = Math.floor(rest / 128)) octets.push((rest % 128) + 128)
  return Buffer.from([...octets, rest])
}

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

/** The whole frames at the beginning of what was said. */
export function framesOf(said: Buffer): Frame[] {
  const frames: Frame[] = []
  for (let at = 0; at + 9 <= said.length; ) {
    const end = at + 9 + said.readUIntBE(at, 3)
    if (end > said.length) break
    frames.push({ type: said.readUInt8(at + 3), flags: said.readUInt8(at + 4), stream: said.readUInt32BE(at + 5), payload: said.subarray(at + 9, end) })
    at = end
  }
  return frames
}
