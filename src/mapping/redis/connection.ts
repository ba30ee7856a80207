/**
 * One client of Redis, whatever stands behind the URL: a connection, a connection to whom the sentinels name, or one to
 * each node of a cluster. It reconnects for ever with growing, jittered pauses, never queues a command while it is
 * away, drops a handshake or a reply that has no end, and gives its errors without what is secret in them. It speaks
 * RESP2: the guard over replies stays small, and every server understands it.
 */
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type { ConnectionOptions } from 'node:tls'
import { isIP } from 'node:net'
import { authorities } from '../../authorities.ts'
import type { Clock, Timer } from '../../clock.ts'
import type { RedisNode, RedisTarget } from '../../config/redis-url.ts'
import { SignalboxError } from '../../errors.ts'
import { REDIS_HANDSHAKE_MS, REDIS_REPLY } from '../../limits.ts'
import { reconnectPause } from '../backoff.ts'
import { plainWords } from './failure.ts'
import { ReplyGuard } from './reply-guard.ts'

export interface RedisConnectionOptions {
  readonly target: RedisTarget
  readonly clock: Clock
  /** Shown by CLIENT LIST. */
  readonly name: string
  /** PEM bundle that verifies `rediss://`; undefined: the system's store. */
  readonly ca?: string | undefined
  /** Commands of one turn of the event loop leave in one write. */
  readonly pipelining?: boolean
}

/**
 * A client for the watch: not connected yet, and lost for good when it is lost. In a cluster `node` says to which of its
 * servers. No guard over replies: on the connection that invalidations arrive on they may be large.
 */
export function makeWatchClient(options: RedisConnectionOptions, node?: RedisNode): Redis {
  const target: RedisTarget = node === undefined ? options.target : { ...options.target, kind: 'single', nodes: [node] }
  const never = (): null => null
  return new Redis({
    ...singleOptions({ ...options, target }),
    lazyConnect: true,
    retryStrategy: never,
    sentinelRetryStrategy: never,
    // Each new pair asks the sentinels anew.
    failoverDetector: false,
  })
}

export class RedisConnection {
  readonly commands: Redis | Cluster
  /** Commands under way; counted by the user. */
  busy = 0
  /** Replies so far, errors included; counted by the user. */
  replies = 0
  /** How often the guard has cut the connection. */
  cuts = 0
  readonly #clock: Clock
  readonly #pipelining: boolean
  #gathering = false
  #lastError = 'not connected yet'
  #closed = false
  #again: Timer | undefined
  #tries = 0

  constructor(options: RedisConnectionOptions) {
    this.#clock = options.clock
    this.#pipelining = options.pipelining === true
    const client = options.target.kind === 'cluster' ? makeCluster(options) : new Redis(singleOptions(options))
    this.commands = client
    client.on('error', (error: unknown) => this.#noteError(error))
    if (client instanceof Redis) this.#watchOver(client)
    else {
      client.on('node error', (error: unknown) => this.#noteError(error))
      client.on('+node', (node: Redis) => this.#watchOver(node))
    }
    client.on('ready', () => (this.#tries = 0))
    // The library gives up for good when it is interrupted while the sentinels are asked.
    client.on('end', () => this.#startAgain())
  }

  get ready(): boolean {
    return this.commands.status === 'ready'
  }

  /** Why there is no connection, for messages. */
  get lastError(): string {
    return this.#lastError
  }

  /** Whether commands of this turn of the event loop wait here for company. */
  get gathering(): boolean {
    return this.#gathering
  }

  /**
   * To be called before a command: it leaves together with all others of this turn. The library's own pipelining does the
   * same at twice the price (an object per batch, two promises per command); it is used where a batch must be split by
   * server, in a cluster.
   */
  gather(): void {
    const client = this.commands
    if (this.#gathering || !this.#pipelining || client instanceof Cluster || client.status !== 'ready') return
    const { stream } = client
    this.#gathering = true
    stream.cork()
    setImmediate(() => {
      this.#gathering = false
      stream.uncork()
    })
  }

  /** Resolves when it is ready; rejects with SOURCE_UNAVAILABLE after `ms`, or at once when the first try failed and `patient` is false. */
  whenReady(ms: number, patient: boolean): Promise<void> {
    if (this.ready) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const done = (error?: SignalboxError): void => {
        timer.cancel()
        this.commands.off('ready', ready)
        this.commands.off('close', closed)
        this.commands.off('end', closed)
        if (error === undefined) resolve()
        else reject(error)
      }
      const ready = (): void => done()
      // A failed try tells its reason before it closes; a cluster names it only as its nodes' errors.
      const closed = (): void => {
        if (!patient) done(this.unavailable())
      }
      const timer = this.#clock.after(ms, () => done(this.unavailable()), { keepAlive: true })
      this.commands.on('ready', ready)
      this.commands.on('close', closed)
      this.commands.on('end', closed)
    })
  }

  /** The error of everything that needs the connection while it is away. */
  unavailable(): SignalboxError {
    return new SignalboxError('SOURCE_UNAVAILABLE', `Redis is not available: ${this.#lastError}`)
  }

  /** Drops the connection, whose commands all fail, and makes it again. */
  remake(reason: string): void {
    if (this.#closed || !this.ready) return
    this.#lastError = reason
    this.#destroySockets()
  }

  close(): void {
    this.#closed = true
    this.#again?.cancel()
    this.commands.disconnect()
    this.#destroySockets()
  }

  /** At once: a polite end would leave commands with a server that doesn't answer for two seconds more. */
  #destroySockets(): void {
    const clients = this.commands instanceof Cluster ? this.commands.nodes('all') : [this.commands]
    // Typed as always there; before the first connection it isn't.
    for (const { stream } of clients as readonly { stream?: Redis['stream'] }[]) stream?.destroy()
  }

  #startAgain(): void {
    if (this.#closed) return
    this.#again = this.#clock.after(reconnectPause(++this.#tries), () => {
      this.commands.connect().catch((error: unknown) => this.#noteError(error))
    })
  }

  #noteError(error: unknown): void {
    this.#lastError = plainWords(error)
  }

  /** A deadline over the handshake and a guard over replies, for each TCP connection of this client. */
  #watchOver(client: Redis): void {
    let handshake: Timer | undefined
    client.on('connect', () => {
      const stream = client.stream
      const guard = new ReplyGuard(REDIS_REPLY)
      stream.on('data', (bytes: Buffer) => {
        if (guard.accept(bytes)) return
        this.cuts++
        this.#lastError = `a reply exceeds ${REDIS_REPLY} bytes`
        stream.destroy()
      })
      handshake?.cancel()
      handshake = this.#clock.after(REDIS_HANDSHAKE_MS, () => {
        if (client.status === 'ready' || client.stream !== stream) return
        this.#lastError = `no answer within ${REDIS_HANDSHAKE_MS} ms of connecting`
        stream.destroy()
      })
    })
    let wasReady = false
    client.on('ready', () => {
      handshake?.cancel()
      wasReady = true
      this.#lastError = ''
    })
    client.on('close', () => {
      handshake?.cancel()
      // A polite end comes without an error; a try that failed has told its own.
      if (wasReady && this.#lastError === '') this.#lastError = 'the connection was closed'
      wasReady = false
    })
    client.on('end', () => handshake?.cancel())
  }
}

/** Without what is for RESP3 only, and typed so that it can't be left out. */
type Options = Omit<RedisOptions, 'replyMapping'>

function makeCluster(options: RedisConnectionOptions): Cluster {
  const { target } = options
  const pause = (times: number): number => reconnectPause(times)
  return new Cluster(
    target.nodes.map(({ host, port }) => ({ host, port })),
    {
      enableOfflineQueue: false,
      enableAutoPipelining: options.pipelining === true,
      clusterRetryStrategy: pause,
      clusterNodeRetryStrategy: pause,
      slotsRefreshTimeout: REDIS_HANDSHAKE_MS,
      redisOptions: commonOptions(options, undefined),
    },
  )
}

function singleOptions(options: RedisConnectionOptions): Options {
  const { target } = options
  const [first] = target.nodes
  if (first === undefined) throw new SignalboxError('CONFIG_INVALID', 'a Redis URL without a host')
  const pause = (times: number): number => reconnectPause(times)
  const shared: Options = {
    ...commonOptions(options, target.kind === 'single' ? first : undefined),
    db: target.database,
    retryStrategy: pause,
    enableOfflineQueue: false,
  }
  if (target.kind === 'single') return { ...shared, host: first.host, port: first.port, enableReadyCheck: false }
  return {
    ...shared,
    sentinels: target.nodes.map(({ host, port }) => ({ host, port })),
    name: target.group,
    role: 'master',
    // Needed here: it is what refuses a demoted primary.
    enableReadyCheck: true,
    failoverDetector: true,
    sentinelRetryStrategy: pause,
    sentinelReconnectStrategy: pause,
    sentinelCommandTimeout: REDIS_HANDSHAKE_MS,
    ...(target.tls ? { enableTLSForSentinelMode: true, sentinelTLS: tlsOptions(options.ca, undefined) } : {}),
  }
}

/** What holds for every connection, those to the nodes of a cluster included. */
function commonOptions(options: RedisConnectionOptions, node: RedisNode | undefined): Options {
  const { target } = options
  return {
    protocol: 2,
    connectionName: options.name,
    disableClientInfo: true,
    connectTimeout: REDIS_HANDSHAKE_MS,
    // A command whose connection is lost fails at once instead of being sent twice.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    // After a failover without sentinels the old primary is a replica that refuses writes: look where the name points now.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    ...(target.username === undefined ? {} : { username: target.username }),
    ...(target.password === undefined ? {} : { password: target.password }),
    ...(target.tls ? { tls: tlsOptions(options.ca, node) } : {}),
  }
}

/** Certificate and name are verified: Node's default, and nothing here turns it off. */
function tlsOptions(ca: string | undefined, node: RedisNode | undefined): ConnectionOptions {
  return {
    ca: authorities(ca),
    ...(node === undefined || isIP(node.host) !== 0 ? {} : { servername: node.host }),
  }
}
