/**
 * The floor: the barest mail proxy that this runtime allows, against which the real one is held. It greets by itself,
 * reads a LOGIN, finds the account's server in a Map, connects there, replays the login and lets the bytes through:
 * no log, no metrics, no limits, no health, no deadline, and an unexpected word ends the connection.
 * Workers accept from the shared socket ("kernel") or are handed connections by node:cluster's round robin.
 * Run as `node bench/floor.ts JSON` (FloorOptions); says "ready" when every worker listens.
 */
import cluster from 'node:cluster'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import tls from 'node:tls'

export interface FloorOptions {
  readonly distribution: 'kernel' | 'round-robin'
  readonly workers: number
  readonly port: number
  /** Without TLS, to be warmed up through. */
  readonly plainPort?: number
  readonly backendPort: number
  /** Whether each leg is encrypted. */
  readonly clientTls: boolean
  readonly backendTls: boolean
  /** PEM files. */
  readonly cert: string
  readonly key: string
  readonly ca: string
  /** 48 bytes in hex, shared by the workers: sessions resume whoever accepts. */
  readonly ticketKeys: string
  readonly accounts: number
}

const options: FloorOptions = JSON.parse(process.argv[2] ?? '{}')
const GREETING = Buffer.from('* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL- ID ENABLE AUTH=PLAIN] floor ready\r\n')

if (cluster.isPrimary) {
  cluster.schedulingPolicy = options.distribution === 'kernel' ? cluster.SCHED_NONE : cluster.SCHED_RR
  let listening = 0
  cluster.on('listening', () => {
    if (++listening === options.workers * (options.plainPort === undefined ? 1 : 2)) process.stdout.write('ready\n')
  })
  for (let index = 0; index < options.workers; index++) cluster.fork()
} else {
  const servers = new Map<string, number>()
  for (let index = 0; index < options.accounts; index++) servers.set(`user${index}@example.com`, options.backendPort)
  const tlsToBackend = tls.createSecureContext({ ca: readFileSync(options.ca) })
  let session: Buffer | undefined

  const dial = (port: number): net.Socket => {
    if (!options.backendTls) return net.connect({ host: '127.0.0.1', port, noDelay: true })
    const resumed = session === undefined ? {} : { session }
    const socket = tls.connect({ host: '127.0.0.1', port, servername: 'localhost', secureContext: tlsToBackend, ...resumed })
    socket.setNoDelay(true)
    return socket.once('session', (fresh: Buffer) => (session = fresh))
  }

  const accept = (client: net.Socket): void => {
    client.setNoDelay(true)
    client.write(GREETING)
    client.on('error', () => client.destroy())
    client.once('data', (line: Buffer) => {
      const [, word, user = ''] = line.toString('latin1', 0, line.indexOf('\r\n')).split(' ')
      const port = word === 'LOGIN' ? servers.get(user.replaceAll('"', '').toLowerCase()) : undefined
      if (port === undefined) return void client.end('* BYE\r\n')
      client.pause()
      const backend = dial(port)
      backend.on('error', () => client.destroy())
      client.on('close', () => backend.destroy())
      backend.once('data', () => {
        backend.write(line)
        client.pipe(backend)
        backend.pipe(client)
      })
    })
  }

  const server = options.clientTls
    ? tls.createServer({ key: readFileSync(options.key), cert: readFileSync(options.cert), ticketKeys: Buffer.from(options.ticketKeys, 'hex'), noDelay: true }, accept)
    : net.createServer({ noDelay: true }, accept)
  server.listen({ host: '127.0.0.1', port: options.port, backlog: 4_096 })
  if (options.plainPort !== undefined) net.createServer({ noDelay: true }, accept).listen({ host: '127.0.0.1', port: options.plainPort, backlog: 4_096 })
}
