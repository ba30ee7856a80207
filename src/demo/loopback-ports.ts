/** Loopback ports for the demo's listeners: the friendly ones where they are free, else any. */
import { createServer } from 'node:net'
import type { Server } from 'node:net'
import { SignalboxError } from '../errors.ts'

/**
 * One port for each wanted one, in their order, all different. They are tried and let go again, so in theory somebody
 * could take one before the proxy does; then the proxy says so and ends. Rejects with LISTEN_FAILED when none is free.
 */
export async function choosePorts(wanted: readonly number[]): Promise<number[]> {
  const held: Server[] = []
  const chosen: number[] = []
  try {
    for (const port of wanted) {
      const server = (await hold(port)) ?? (await hold(0))
      const address = server?.address()
      if (server === undefined || typeof address !== 'object' || address === null) {
        throw new SignalboxError('LISTEN_FAILED', 'no free loopback port')
      }
      held.push(server)
      chosen.push(address.port)
    }
  } finally {
    await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))))
  }
  return chosen
}

function hold(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(undefined))
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
}
