/**
 * The PROXY header, version 2, with which a backend is told who the client is
 * (haproxy.org/download/3.0/doc/proxy-protocol.txt, §2.2). It goes out before every other byte, a TLS handshake included.
 * A client whose addresses can't be told (of two families, or none at all) is announced as LOCAL: the backend then sees
 * the proxy, which is true, instead of something made up.
 */
import ipaddr from 'ipaddr.js'
import { SIGNATURE } from '../listener/proxy-header.ts'
import type { ClientAnnouncement } from '../protocol/protocol.ts'

const LOCAL = 0x20
const PROXY = 0x21
const UNSPECIFIED = 0x00
const TCP4 = 0x11
const TCP6 = 0x21

/** §2.2.5 and §2.2.6: types of TLVs. */
const UNIQUE_ID = 0x05
const SSL = 0x20
const SSL_VERSION = 0x21
/** The client's connection is encrypted. The bits of a client certificate are never set: none is asked for. */
const CLIENT_SSL = 0x01
/** Zero would say that the client presented a certificate and that it was verified. */
const NOT_VERIFIED = 1

/** The longest UNIQUE_ID that a receiver must take (§2.2.5). */
const ID = 128

export function proxyHeader(client: ClientAnnouncement): Buffer {
  const addresses = addressesOf(client)
  if (addresses === undefined) return head(LOCAL, UNSPECIFIED, Buffer.alloc(0))
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(client.clientPort, 0)
  ports.writeUInt16BE(client.localPort, 2)
  const family = addresses[0].length === 4 ? TCP4 : TCP6
  const id = Buffer.from(client.session)
  const parts = [...addresses, ports]
  if (client.clientTls !== undefined) parts.push(tlv(SSL, encryption(client.clientTls)))
  if (id.length > 0 && id.length <= ID) parts.push(tlv(UNIQUE_ID, id))
  return head(PROXY, family, Buffer.concat(parts))
}

function head(command: number, family: number, body: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(body.length)
  return Buffer.concat([SIGNATURE, Buffer.from([command, family]), length, body])
}

/** The client's and the local address, as bytes of one family. */
function addressesOf({ clientAddress, localAddress }: ClientAnnouncement): readonly [Buffer, Buffer] | undefined {
  if (!ipaddr.isValid(clientAddress) || !ipaddr.isValid(localAddress)) return undefined
  const [client, local] = [ipaddr.process(clientAddress), ipaddr.process(localAddress)]
  return client.kind() === local.kind() ? [Buffer.from(client.toByteArray()), Buffer.from(local.toByteArray())] : undefined
}

/** The value of PP2_TYPE_SSL. */
function encryption(version: string): Buffer {
  const value = Buffer.alloc(5)
  value.writeUInt8(CLIENT_SSL, 0)
  value.writeUInt32BE(NOT_VERIFIED, 1)
  return Buffer.concat([value, tlv(SSL_VERSION, Buffer.from(version, 'latin1'))])
}

function tlv(type: number, value: Buffer): Buffer {
  const start = Buffer.alloc(3)
  start.writeUInt8(type, 0)
  start.writeUInt16BE(value.length, 1)
  return Buffer.concat([start, value])
}
