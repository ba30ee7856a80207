/**
 * Free loopback ports for servers that must be told theirs. They are taken from below the range that the kernel hands
 * out by itself, at random, so that neither an outgoing connection nor another test file is likely to take one between
 * our look and the server's bind.
 */
import { createServer } from 'node:net'
import type { Server } from 'node:net'

const LOWEST = 12_000
const HIGHEST = 32_000
const TRIES = 200
/** Given out by this process already: who asked may not have bound it yet. */
const given = new Set<number>()

/** As many different free ports as asked for. */
export async function freePorts(count: number): Promise<number[]> {
  const held: Server[] = []
  const ports: number[] = []
  try {
    for (let tries = 0; ports.length < count && tries < TRIES; tries++) {
      const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST))
      if (given.has(port)) continue
      const server = await hold(port)
      if (server === undefined) continue
      held.push(server)
      ports.push(port)
      given.add(port)
    }
  } finally {
    await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))))
  }
  if (ports.length < count) throw new Error(`found ${ports.length} of ${count} free ports`)
  return ports
}

/** One free port. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1)
  if (port === undefined) throw new Error('no free port')
  return port
}

function hold(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(undefined))
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
}
