/**
 * Recognises peers that speak another protocol to a mail port: a browser that was lured into posting a form at it
 * (cross-protocol attack), or a TLS client on a plain port. Such a connection is closed after its first line, before
 * any of what follows could be taken for commands.
 */
const HTTP = Buffer.from(' HTTP/')
const TLS_HANDSHAKE = 0x16

/** Whether a connection's first line is an HTTP request line. */
export function looksLikeHttp(firstLine: Buffer): boolean {
  return firstLine.includes(HTTP)
}

/** Whether a connection's first byte is that of a TLS handshake record; it begins no command of any mail protocol. */
export function looksLikeTls(firstByte: number | undefined): boolean {
  return firstByte === TLS_HANDSHAKE
}
