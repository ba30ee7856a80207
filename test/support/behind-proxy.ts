/**
 * A client behind a balancer: what the balancer says first (a PROXY header), and a stream that carries a TLS handshake over
 * the same connection with the header and the first bytes of the handshake cut as a test wants them.
 */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { proxyHeader } from '../../src/destination/proxy-header.ts'

/** Version 2, as a balancer would announce 203.0.113.9:4711 connecting to 198.51.100.7:993. */
export function headerOf(clientAddress = '203.0.113.9', localAddress = clientAddress.includes(':') ? '2001:db8::7' : '198.51.100.7'): Buffer {
  return proxyHeader({ clientAddress, clientPort: 4711, localAddress, localPort: 993, session: 'balancer', ttl: 1, clientTls: undefined })
}

/** The same in version 1. */
export const LINE = 'PROXY TCP4 203.0.113.9 198.51.100.7 4711 993\r\n'

/** Says the header, then shakes hands. `pieces` cuts what the header and the first flight make together. */
export async function tlsBehind(raw: Socket, header: Buffer, pieces: (bytes: Buffer) => readonly Buffer[]): Promise<TLSSocket> {
  raw.removeAllListeners('data')
  raw.setNoDelay(true)
  let first = true
  const send = async (chunk: Buffer, done: (error?: Error) => void): Promise<void> => {
    const bytes = first ? pieces(Buffer.concat([header, chunk])) : [chunk]
    first = false
    await writeAll(raw, bytes)
    done()
  }
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      send(chunk, done).catch((error: Error) => stream.destroy(error))
    },
    final(done) {
      raw.end(done)
    },
    destroy(error, done) {
      raw.destroy()
      done(error)
    },
  })
  raw.on('data', (chunk: Buffer) => stream.push(chunk))
  raw.on('end', () => stream.push(null))
  raw.on('close', () => stream.destroy())
  const socket = connect({ socket: stream, rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  return socket
}

/** One after the other, each in a packet of its own as far as that can be brought about. */
export async function writeAll(raw: Socket, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces) {
    await new Promise<void>((resolve, reject) => {
      raw.write(piece, (error) => (error ? reject(error) : resolve()))
    })
    // The other end, in the same process, gets to read it.
    await new Promise((resolve) => setImmediate(resolve))
    await new Promise((resolve) => setImmediate(resolve))
  }
}

export function bytewise(bytes: Buffer): readonly Buffer[] {
  return Array.from(bytes, (byte) => Buffer.from([byte]))
}
