/** Where void-probe.ts tells the time: when has the last of so many workers made a route void? */
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { createInterface } from 'node:readline'

const PATIENCE_MS = 10_000

interface Awaited {
  readonly identifier: string
  readonly workers: Map<string, bigint>
  readonly resolve: (at: bigint) => void
}

export class VoidTimes implements AsyncDisposable {
  readonly port: number
  readonly #server: Server
  readonly #count: number
  #awaited: Awaited | undefined

  private constructor(server: Server, workers: number) {
    this.#server = server
    this.#count = workers
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (socket) => {
      socket.on('error', () => socket.destroy())
      createInterface({ input: socket }).on('line', (line) => this.#told(line))
    })
  }

  static async listen(workers: number): Promise<VoidTimes> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new VoidTimes(server, workers)
  }

  /** To be called before the change; one account at a time. Nanoseconds of the system's monotonic clock, of the last worker. */
  of(identifier: string): Promise<bigint> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${identifier} is never void everywhere`)), PATIENCE_MS)
      this.#awaited = {
        identifier,
        workers: new Map(),
        resolve: (at) => {
          clearTimeout(timer)
          resolve(at)
        },
      }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close()
  }

  #told(line: string): void {
    const [identifier = '', worker = '', at = ''] = line.split(' ')
    const awaited = this.#awaited
    if (awaited?.identifier !== identifier) return
    // A second word about the same change comes later than the first.
    if (!awaited.workers.has(worker)) awaited.workers.set(worker, BigInt(at))
    if (awaited.workers.size < this.#count) return
    this.#awaited = undefined
    awaited.resolve([...awaited.workers.values()].reduce((last, one) => (one > last ? one : last)))
  }
}
