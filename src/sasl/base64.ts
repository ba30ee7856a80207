/**
 * Base64 as SASL profiles have it on the wire (RFC 4648 §4, RFC 9051 §9 `base64`): the standard alphabet, padded,
 * nothing else in it. Node's own decoder skips what it doesn't know, which would let one message be written in many ways.
 */

/** Decodes strictly; undefined when the text is not exactly what an encoder would write. Empty text: empty message. */
export function decodeBase64(text: Buffer): Buffer | undefined {
  if (text.length % 4 !== 0) return undefined
  const written = text.toString('latin1')
  const decoded = Buffer.from(written, 'base64')
  return decoded.toString('base64') === written ? decoded : undefined
}
