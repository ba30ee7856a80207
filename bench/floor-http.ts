/**
 * The floor of HTTP: node:http on both sides with a kept pool of connections, and an account looked up in a Map for
 * every request. Run as `node bench/floor-http.ts JSON` (HttpFloorOptions); says "ready" when every worker listens.
 */
import cluster from 'node:cluster'
import http from 'node:http'

export interface HttpFloorOptions {
  readonly workers: number
  readonly port: number
  readonly backendPort: number
  readonly accounts: number
}

const options: HttpFloorOptions = JSON.parse(process.argv[2] ?? '{}')

if (cluster.isPrimary) {
  cluster.schedulingPolicy = cluster.SCHED_NONE
  let listening = 0
  cluster.on('listening', () => {
    if (++listening === options.workers) process.stdout.write('ready\n')
  })
  for (let index = 0; index < options.workers; index++) cluster.fork()
} else {
  const servers = new Map<string, number>()
  for (let index = 0; index < options.accounts; index++) servers.set(`user${index}@example.com`, options.backendPort)
  const agent = new http.Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY })
  const server = http.createServer({ noDelay: true, keepAliveTimeout: 60_000 }, (request, response) => {
    const [user = ''] = Buffer.from((request.headers.authorization ?? '').slice('Basic '.length), 'base64').toString().split(':', 1)
    const port = servers.get(user)
    if (port === undefined) return void response.writeHead(403).end()
    const { method, url: path, headers } = request
    const onward = http.request({ host: '127.0.0.1', port, method, path, headers, agent }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  })
  server.maxRequestsPerSocket = 0
  server.listen({ host: '127.0.0.1', port: options.port, backlog: 4_096 })
}
