/** Entry of the stub backend's process: IMAP with and without TLS, and HTTP, on free loopback ports. */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { answerWith } from './http-session.ts'
import { serveImap } from './imap-session.ts'
import type { BackendOptions, BackendPorts } from './options.ts'

const BACKLOG = 4_096
const options: BackendOptions = JSON.parse(process.argv[2] ?? '{}')

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0, backlog: BACKLOG }, resolve))
  return (server.address() as AddressInfo).port
}

// One key exchange for all proxies, as in the load generator.
const tls = { cert: readFileSync(options.cert), key: readFileSync(options.key), noDelay: true, ecdhCurve: 'X25519' }
const ports: BackendPorts = {
  imap: await listen(createServer({ noDelay: true }, serveImap)),
  imaps: await listen(createTlsServer(tls, serveImap)),
  http: await listen(createServer({ noDelay: true }, answerWith(options.bodySize))),
}
process.send?.(ports)
process.once('disconnect', () => process.exit())
