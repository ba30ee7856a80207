/**
 * The PROXY protocol's headers as they arrive, versions 1 and 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt, §2).
 * A grammar without a socket: it is shown all bytes so far and says what they are. Whether the sender may be believed is
 * not its business.
 *
 * Addresses come out in one form each (RFC 5952), IPv4-mapped ones as IPv4. Of TLVs only the length is read.
 */
import { isIPv4, isIPv6 } from 'node:net'
import ipaddr from 'ipaddr.js'
import { PROXY_HEADER } from '../limits.ts'

/** Both ends of the connection that a header speaks of: the client's, and the one it connected to. */
export interface Endpoints {
  readonly clientAddress: string
  readonly clientPort: number
  readonly localAddress: string
  readonly localPort: number
}

export type ProxyHeader =
  /** So far it may become a header. */
  | { readonly kind: 'more' }
  /** These bytes begin no header. */
  | { readonly kind: 'none' }
  | { readonly kind: 'malformed'; readonly reason: string }
  /** `length` bytes of it; `endpoints` undefined: it announces nobody (LOCAL, UNKNOWN), the socket's own addresses count. */
  | { readonly kind: 'header'; readonly length: number; readonly endpoints: Endpoints | undefined }

/** What version 2 begins with. */
export const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const TEXT_SIGNATURE = Buffer.from('PROXY ', 'latin1')
/** The longest line of version 1 (§2.1), its CRLF included. */
const TEXT = 107
/** Signature, version and command, family, length. */
const HEAD = 16
const UNSPECIFIED = 0x00
const TCP4 = 0x11
const TCP6 = 0x21
const UNIX_STREAM = 0x31

const MORE: ProxyHeader = { kind: 'more' }
const NONE: ProxyHeader = { kind: 'none' }

/** What `bytes`, all that came so far, are. */
export function readProxyHeader(bytes: Buffer): ProxyHeader {
  if (begins(bytes, SIGNATURE)) return bytes.length <= SIGNATURE.length ? MORE : binary(bytes)
  if (begins(bytes, TEXT_SIGNATURE)) return bytes.length <= TEXT_SIGNATURE.length ? MORE : text(bytes)
  return NONE
}

/** Whether the bytes agree with the signature as far as they go. */
function begins(bytes: Buffer, signature: Buffer): boolean {
  const common = Math.min(bytes.length, signature.length)
  return bytes.compare(signature, 0, common, 0, common) === 0
}

/** §2.2. Judged as early as a byte is wrong. */
function binary(bytes: Buffer): ProxyHeader {
  const command = bytes[12] ?? 0
  if (command !== 0x20 && command !== 0x21) return malformed('a version or command that does not exist')
  if (bytes.length < HEAD) return MORE
  const body = bytes.readUInt16BE(14)
  const length = HEAD + body
  if (length > PROXY_HEADER) return malformed('it is too long')
  const family = bytes[13] ?? 0
  const local = command === 0x20
  const addresses = local ? 0 : sizeOf(family)
  if (addresses === undefined) return malformed('an address family that is no TCP')
  if (body < addresses) return malformed('its addresses are cut off')
  if (bytes.length < length) return MORE
  if (addresses === 0 || family === UNIX_STREAM) return { kind: 'header', length, endpoints: undefined }
  const size = family === TCP4 ? 4 : 16
  const ports = HEAD + 2 * size
  return {
    kind: 'header',
    length,
    endpoints: {
      clientAddress: addressOf(bytes.subarray(HEAD, HEAD + size)),
      clientPort: bytes.readUInt16BE(ports),
      localAddress: addressOf(bytes.subarray(HEAD + size, ports)),
      localPort: bytes.readUInt16BE(ports + 2),
    },
  }
}

/** Bytes of both addresses and ports; undefined: a family that no TCP connection can have. */
function sizeOf(family: number): number | undefined {
  switch (family) {
    case UNSPECIFIED:
      return 0
    case TCP4:
      return 12
    case TCP6:
      return 36
    case UNIX_STREAM:
      return 216
    default:
      return undefined
  }
}

function addressOf(bytes: Buffer): string {
  const address = ipaddr.fromByteArray([...bytes])
  return (address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress() ? address.toIPv4Address() : address).toString()
}

/** §2.1: single spaces, decimal ports without leading zeros, CRLF. */
function text(bytes: Buffer): ProxyHeader {
  const seen = bytes.subarray(0, TEXT)
  const wrong = seen.findIndex((byte) => byte < 0x20 || byte > 0x7e)
  if (wrong < 0) return seen.length < TEXT ? MORE : malformed('its line is too long')
  if (seen[wrong] !== CR) return malformed('a byte that does not belong into its line')
  if (wrong + 1 >= TEXT) return malformed('its line is too long')
  if (seen.length <= wrong + 1) return MORE
  if (seen[wrong + 1] !== LF) return malformed('its line does not end as it should')
  const length = wrong + 2
  const line = seen.toString('latin1', 0, wrong)
  if (line === 'PROXY UNKNOWN' || line.startsWith('PROXY UNKNOWN ')) return { kind: 'header', length, endpoints: undefined }
  const [, family = '', client = '', local = '', clientPort = '', localPort = ''] = LINE.exec(line) ?? []
  const right = family === '4' ? isIPv4(client) && isIPv4(local) : plainIPv6(client) && plainIPv6(local)
  if (!right) return malformed('its line does not hold two addresses and two ports')
  const ports = { clientPort: Number(clientPort), localPort: Number(localPort) }
  if (ports.clientPort > 65_535 || ports.localPort > 65_535) return malformed('a port above 65535')
  const addresses = { clientAddress: ipaddr.process(client).toString(), localAddress: ipaddr.process(local).toString() }
  return { kind: 'header', length, endpoints: { ...addresses, ...ports } }
}

const LINE = /^PROXY TCP([46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})$/
const CR = 0x0d
const LF = 0x0a

/** No zone: it means nothing on another host. */
function plainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes('%')
}

function malformed(what: string): ProxyHeader {
  return { kind: 'malformed', reason: `the PROXY header is malformed: ${what}` }
}
