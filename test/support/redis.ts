/**
 * Real Redis servers for tests: on free loopback ports, in temporary directories, ended by their process id. Beside
 * single servers: TLS, replicas, sentinels, a cluster.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { programPath } from './programs.ts'
import { freePort, freePorts } from './ports.ts'
import { ServerProcess, startedWhole } from './server-process.ts'
import { makeTemporary, type Temporary } from './temporary.ts'

const START_MS = 15_000

export interface RedisServerOptions {
  readonly port?: number
  /** Further arguments: "--requirepass", "x" … */
  readonly args?: readonly string[]
  /** PEM texts: the server then speaks TLS only. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string }
  /** Text of a configuration file. */
  readonly file?: string
}

export class RedisServer implements AsyncDisposable {
  readonly port: number
  readonly #temporary: Temporary
  readonly #process: ServerProcess
  readonly #clients: Redis[] = []

  private constructor(port: number, temporary: Temporary, args: readonly string[]) {
    this.port = port
    this.#temporary = temporary
    this.#process = new ServerProcess({ program: programPath('redis-server'), args, port })
  }

  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    const temporary = await makeTemporary('redis')
    const port = options.port ?? (await freePort())
    const file: string[] = []
    if (options.file !== undefined) {
      const path = join(temporary.path, 'server.conf')
      await writeFile(path, options.file)
      file.push(path)
    }
    const args = [...file, '--bind', '127.0.0.1', '--dir', temporary.path, ...(await listenArgs(options, port, temporary.path))]
    args.push(...(options.args?.includes('--sentinel') === true ? [] : ['--save', '', '--appendonly', 'no']), ...(options.args ?? []))
    return startedWhole(new RedisServer(port, temporary, args))
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** Starts it again after a stop, on the same port; empty, as nothing is saved. */
  start(): Promise<void> {
    return this.#process.start()
  }

  /** Ends the process (SIGKILL) and waits for it. */
  stop(): Promise<void> {
    return this.#process.stop()
  }

  /** SIGSTOP: connections stay, nothing answers. */
  freeze(): void {
    process.kill(this.#process.pid, 'SIGSTOP')
  }

  thaw(): void {
    process.kill(this.#process.pid, 'SIGCONT')
  }

  /** A client for the test's own hand, RESP2; disconnected with the server's end. */
  client(options: { username?: string; password?: string } = {}): Redis {
    const client = new Redis({ host: '127.0.0.1', port: this.port, protocol: 2, disableClientInfo: true, ...options })
    // What fails says so where it was asked for; the server may be stopped on purpose.
    client.on('error', () => {})
    this.#clients.push(client)
    return client
  }

  /** Ids of the connections whose CLIENT SETNAME begins so. */
  async clientsNamed(name: string): Promise<string[]> {
    const hand = this.client()
    const list = String(await hand.client('LIST')).split('\n')
    hand.disconnect()
    return list.filter((line) => line.includes(` name=${name}`)).map((line) => /^id=(\d+)/.exec(line)?.[1] ?? '')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.disconnect()
    await this.stop()
    await this.#temporary.remove()
  }
}

/** Three primaries without replicas that share the slots. */
export async function startRedisCluster(): Promise<{ servers: RedisServer[]; url: string } & AsyncDisposable> {
  const servers: RedisServer[] = []
  const dispose = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()))
  }
  try {
    const ports = await freePorts(6)
    // Left to itself, the cluster's bus takes port + 10000, which may be anybody's.
    const buses = ports.splice(3)
    for (const [index, port] of ports.entries()) {
      servers.push(await RedisServer.start({ port, args: ['--cluster-enabled', 'yes', '--cluster-port', String(buses[index]), '--cluster-node-timeout', '5000'] }))
    }
    const [first] = servers
    const [firstBus] = buses
    if (first === undefined || firstBus === undefined) throw new Error('no server')
    const clients = servers.map((server) => server.client())
    try {
      for (const [index, client] of clients.entries()) {
        const from = Math.floor((16_384 * index) / 3)
        const to = Math.floor((16_384 * (index + 1)) / 3) - 1
        await client.call('CLUSTER', 'ADDSLOTSRANGE', from, to)
        await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1)
        if (index > 0) await client.call('CLUSTER', 'MEET', '127.0.0.1', first.port, firstBus)
      }
      const until = Date.now() + START_MS
      for (const client of clients) {
        while (!String(await client.call('CLUSTER', 'INFO')).includes('cluster_state:ok') || !(await knowsAll(client, 3))) {
          if (Date.now() > until) throw new Error('the cluster did not form')
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      }
    } finally {
      for (const client of clients) client.disconnect()
    }
    const url = `redis+cluster://${servers.map((server) => `127.0.0.1:${server.port}`).join(',')}`
    return { servers, url, [Symbol.asyncDispose]: dispose }
  } catch (error) {
    await dispose()
    throw error
  }
}

/** A primary, a replica that has caught up, and one sentinel that fails over by itself or when asked. */
export async function startRedisGroup(
  name = 'mygroup',
): Promise<{ primary: RedisServer; replica: RedisServer; sentinel: RedisServer; url: string } & AsyncDisposable> {
  const servers: RedisServer[] = []
  const dispose = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()))
  }
  try {
    const primary = await RedisServer.start({ args: ['--repl-diskless-sync-delay', '0'] })
    servers.push(primary)
    const replica = await RedisServer.start({ args: ['--replicaof', '127.0.0.1', String(primary.port)] })
    servers.push(replica)
    const hand = primary.client()
    try {
      const until = Date.now() + START_MS
      while (!/state=online/.test(await hand.info('replication'))) {
        if (Date.now() > until) throw new Error('the replica did not connect')
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    } finally {
      hand.disconnect()
    }
    const file = [
      `sentinel monitor ${name} 127.0.0.1 ${primary.port} 1`,
      `sentinel down-after-milliseconds ${name} 500`,
      `sentinel failover-timeout ${name} 2000`,
      '',
    ].join('\n')
    const sentinel = await RedisServer.start({ file, args: ['--sentinel'] })
    servers.push(sentinel)
    return {
      primary,
      replica,
      sentinel,
      url: `redis+sentinel://127.0.0.1:${sentinel.port}/${name}/0`,
      [Symbol.asyncDispose]: dispose,
    }
  } catch (error) {
    await dispose()
    throw error
  }
}

async function listenArgs(options: RedisServerOptions, port: number, directory: string): Promise<string[]> {
  if (options.tls === undefined) return ['--port', String(port)]
  const paths = { cert: join(directory, 'cert.pem'), key: join(directory, 'key.pem'), ca: join(directory, 'ca.pem') }
  await writeFile(paths.cert, options.tls.cert)
  await writeFile(paths.key, options.tls.key, { mode: 0o600 })
  await writeFile(paths.ca, options.tls.ca)
  const tls = ['--tls-cert-file', paths.cert, '--tls-key-file', paths.key, '--tls-ca-cert-file', paths.ca, '--tls-auth-clients', 'no']
  return ['--port', '0', '--tls-port', String(port), ...tls]
}

async function knowsAll(client: Redis, count: number): Promise<boolean> {
  const nodes = String(await client.call('CLUSTER', 'NODES'))
  return nodes.trim().split('\n').filter((line) => /\bconnected\b/.test(line) && /\d+-\d+/.test(line)).length === count
}
