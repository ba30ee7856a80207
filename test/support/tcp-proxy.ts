/**
 * A TCP relay between a program and a server, whose network a test can break: cut (connections end, by FIN or RST),
 * refuse (new ones are closed at once), pause (nothing moves, nothing ends: a lost cable), delay (every chunk comes so
 * much later). Backpressure is passed on, so that a pause fills buffers as a real network does.
 */
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'

export interface TcpProxyTarget {
  readonly host?: string
  readonly port: number
}

export interface TcpProxyOptions {
  /** Port to listen on at 127.0.0.1; default any. */
  readonly port?: number
}

interface Pair {
  readonly client: Socket
  readonly server: Socket
}

export class TcpProxy implements AsyncDisposable {
  readonly #target: TcpProxyTarget
  readonly #server: Server
  readonly #pairs = new Set<Pair>()
  #refusing = false
  #paused = false
  #delayMs = 0
  #accepted = 0
  #resumed: (() => void)[] = []

  private constructor(target: TcpProxyTarget) {
    this.#target = target
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (client) => this.#accept(client))
  }

  /** Listens on loopback in front of `target`. */
  static async open(target: TcpProxyTarget, options: TcpProxyOptions = {}): Promise<TcpProxy> {
    const proxy = new TcpProxy(target)
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject)
      proxy.#server.listen(options.port ?? 0, '127.0.0.1', () => resolve())
    })
    return proxy
  }

  get host(): string {
    return '127.0.0.1'
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Neither refusing nor paused. */
  get whole(): boolean {
    return !this.#refusing && !this.#paused
  }

  /** Connections that are open at the moment. */
  get connections(): number {
    return this.#pairs.size
  }

  /** Connections that were ever accepted, refused ones included. */
  get accepted(): number {
    return this.#accepted
  }

  /** Ends all connections: `reset` (RST, the default) or `end` (FIN). New ones are relayed again. */
  cut(how: 'reset' | 'end' = 'reset'): void {
    for (const { client, server } of this.#pairs) {
      if (how === 'reset') {
        client.resetAndDestroy()
        server.resetAndDestroy()
      } else {
        client.destroySoon()
        server.destroySoon()
      }
    }
    this.#pairs.clear()
  }

  /** Cuts, and closes every new connection at once until `accept()`. */
  refuse(): void {
    this.#refusing = true
    this.cut()
  }

  /** Relays new connections again. */
  accept(): void {
    this.#refusing = false
  }

  /** Nothing moves in either direction, nothing ends; new connections are accepted and get no answer. */
  pause(): void {
    this.#paused = true
  }

  /** What was held back moves on. */
  resume(): void {
    this.#paused = false
    const waiting = this.#resumed
    this.#resumed = []
    for (const go of waiting) go()
  }

  /** Every chunk from now on comes `ms` milliseconds later, in both directions; 0: at once. */
  delay(ms: number): void {
    this.#delayMs = ms
  }

  /** Ends everything. Idempotent. */
  async close(): Promise<void> {
    this.cut()
    this.resume()
    if (!this.#server.listening) return
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #accept(client: Socket): void {
    this.#accepted++
    if (this.#refusing) {
      client.resetAndDestroy()
      return
    }
    const server = connect({ host: this.#target.host ?? '127.0.0.1', port: this.#target.port, allowHalfOpen: true, noDelay: true })
    const pair = { client, server }
    this.#pairs.add(pair)
    const gone = (): void => {
      this.#pairs.delete(pair)
      client.destroy()
      server.destroy()
    }
    client.on('error', gone)
    server.on('error', gone)
    client.on('close', gone)
    server.on('close', gone)
    void this.#relay(client, server, pair)
    void this.#relay(server, client, pair)
  }

  /** Moves chunks one at a time, in order, holding them while paused or delayed. */
  async #relay(from: Socket, to: Socket, pair: Pair): Promise<void> {
    try {
      // Not the plain iterator: at the end of one direction it would destroy the socket, and the other with it.
      for await (const chunk of from.iterator({ destroyOnReturn: false })) {
        if (this.#delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.#delayMs))
        await this.#moving()
        if (!this.#pairs.has(pair)) return
        if (!to.write(chunk as Buffer)) await new Promise((resolve) => to.once('drain', resolve).once('close', resolve))
      }
      await this.#moving()
      to.end()
    } catch {
      // The pair's own handlers have seen the error and ended both sides.
    }
  }

  async #moving(): Promise<void> {
    while (this.#paused) await new Promise<void>((resolve) => this.#resumed.push(resolve))
  }
}
