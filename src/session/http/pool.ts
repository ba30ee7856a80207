/**
 * Connections to backends that are kept for further requests: Node's own agent, which dials through our dialer (addresses,
 * retries, TLS and pins, PROXY headers, health) instead of by itself. One agent per destination, shared by all clients; where
 * the backend is told whose connection it is, one per client connection and destination.
 *
 * A connection on which a backend speaks unasked is closed by the agent and used for nobody. Idle ones are kept for a
 * shorter time than servers commonly keep them, because a request that meets a connection in its closing may be lost.
 */
import { Agent } from 'node:http'
import type { ClientRequestArgs } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { DestinationConfig, LegConfig } from '../../config/config.ts'
import { asSignalboxError, SignalboxError } from '../../errors.ts'
import { HTTP_BACKEND_IDLE_MS, HTTP_BACKENDS_IDLE } from '../../limits.ts'
import type { ClientAnnouncement } from '../../protocol/protocol.ts'
import type { SessionServices } from '../services.ts'
import { HTTP } from './services.ts'

/** Whom a connection is dialled for. */
export class Caller {
  readonly client: () => ClientAnnouncement
  /** Ends the dial. */
  readonly cancel: () => AbortSignal

  constructor(client: () => ClientAnnouncement, cancel: () => AbortSignal) {
    this.client = client
    this.cancel = cancel
  }
}

/** What the agent's requests carry for it. */
export interface CallerOption {
  readonly caller: Caller
}

type PoolServices = Pick<SessionServices, 'clock' | 'counters' | 'dialer' | 'places'>

/** The agents of a worker (forwarding none), or of one client connection. */
export class Pools {
  /** All that were ever made in this process: no two connections may have the same name where places are counted. */
  static #agentsMade = 0
  readonly #services: PoolServices
  /** By the configuration itself: a destination that was changed gets other connections. */
  #agents = new Map<DestinationConfig, BackendAgent>()

  constructor(services: PoolServices) {
    this.#services = services
  }

  of(destination: DestinationConfig, leg: LegConfig): BackendAgent {
    const known = this.#agents.get(destination)
    if (known !== undefined) return known
    // Another configuration of the same destination is out of force: what is idle there is closed, what is under way ends by itself.
    for (const [old, agent] of this.#agents) {
      if (old.name !== destination.name) continue
      agent.retire()
      this.#agents.delete(old)
    }
    const agent = new BackendAgent(this.#services, destination, leg, `http-${Pools.#agentsMade++}`)
    this.#agents.set(destination, agent)
    return agent
  }

  /** Closes every connection. */
  destroy(): void {
    for (const agent of this.#agents.values()) agent.destroy()
    this.#agents = new Map()
  }
}

export class BackendAgent extends Agent {
  readonly #services: PoolServices
  readonly #destination: DestinationConfig
  readonly #leg: LegConfig
  readonly #prefix: string
  #dialled = 0

  constructor(services: PoolServices, destination: DestinationConfig, leg: LegConfig, prefix: string) {
    super({ keepAlive: true, timeout: HTTP_BACKEND_IDLE_MS, maxFreeSockets: HTTP_BACKENDS_IDLE, scheduling: 'lifo' })
    this.#services = services
    this.#destination = destination
    this.#leg = leg
    this.#prefix = prefix
  }

  /** All its connections are alike. */
  override getName(): string {
    return this.#destination.name
  }

  /** Closes what is idle; what is in use is closed after its request. */
  retire(): void {
    this.maxFreeSockets = 0
    this.discardIdle()
  }

  /** Closes what is idle. */
  discardIdle(): void {
    for (const sockets of Object.values(this.freeSockets)) for (const socket of sockets ?? []) socket.destroy()
  }

  override createConnection(options: ClientRequestArgs, callback?: (error: Error | null, stream: Duplex) => void): undefined {
    const caller = 'caller' in options && options.caller instanceof Caller ? options.caller : undefined
    if (caller === undefined || callback === undefined) throw new SignalboxError('INTERNAL', 'a backend connection is dialled for somebody')
    void this.#give(caller, callback)
  }

  async #give(caller: Caller, done: (error: Error | null, stream: Duplex) => void): Promise<void> {
    let socket: Socket
    try {
      socket = await this.#dial(caller)
    } catch (thrown) {
      // Node reads the second argument only where there is no error.
      return (done as (error: Error) => void)(asSignalboxError(thrown))
    }
    done(null, socket)
  }

  async #dial({ client, cancel }: Caller): Promise<Socket> {
    const { clock, counters, dialer, places } = this.#services
    const began = clock.now()
    const destination = this.#destination
    const holder = `${this.#prefix}-${this.#dialled++}`
    const place = { of: 'destination', name: destination.name } as const
    const answer = places.take(place, holder)
    const giveBack = (): void => {
      if (answer !== true) places.giveBack(place, holder)
    }
    try {
      if (answer !== true && !(await answer)) {
        throw new SignalboxError('BACKEND_FULL', `destination "${destination.name}" has as many connections as it may`)
      }
      const backend = await dialer.dial({ destination, leg: this.#leg, protocol: HTTP, client: client(), facts: {} }, cancel())
      const { socket } = backend.release()
      socket.on('error', unheard)
      socket.once('close', giveBack)
      // The agent's way: what has ended can't be used for another request.
      socket.allowHalfOpen = false
      return socket
    } catch (thrown) {
      giveBack()
      throw thrown
    } finally {
      counters.stage('http', 'dial', clock.now() - began)
    }
  }
}

/** The request that is under way hears of it, and an idle connection is simply gone. */
function unheard(): void {}
