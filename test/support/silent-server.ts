/** A server that takes connections and never says a word: whoever asks it waits. */
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'

export interface SilentServer extends Disposable {
  readonly port: number
  /** Resolves when the first has connected. */
  readonly asked: Promise<void>
}

export async function silentServer(): Promise<SilentServer> {
  const asked = Promise.withResolvers<void>()
  const server = createServer((socket) => {
    socket.on('error', () => {})
    asked.resolve()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, asked: asked.promise, [Symbol.dispose]: () => void server.close() }
}
