/** Two ends of a TCP connection over the loopback: ours as a listener gives it (paused, half-open), and the other side's. */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

export interface SocketPair {
  /** Paused, nothing read, allowHalfOpen. */
  readonly near: Socket
  /** Reads into `received` unless it was paused; allowHalfOpen, so that an end is only what a test does. */
  readonly far: Peer
}

export class Peer {
  readonly socket: Socket
  #chunks: Buffer[] = []
  ended = false
  closed = false
  failed: Error | undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => this.#chunks.push(chunk))
    socket.on('end', () => (this.ended = true))
    socket.on('close', () => (this.closed = true))
    socket.on('error', (error) => (this.failed = error))
  }

  /** Everything received so far, as latin1. */
  get received(): string {
    return this.bytes.toString('latin1')
  }

  get bytes(): Buffer {
    const whole = Buffer.concat(this.#chunks)
    this.#chunks = [whole]
    return whole
  }

  /** The connection is over as this side sees it: the other one has closed or reset it. */
  get gone(): boolean {
    return this.ended || this.closed
  }

  send(text: string): void {
    this.socket.write(text, 'latin1')
  }
}

export async function socketPair(): Promise<SocketPair> {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  const peer = new Peer(far)
  const [near] = (await once(server, 'connection')) as [Socket]
  server.close()
  return { near, far: peer }
}
