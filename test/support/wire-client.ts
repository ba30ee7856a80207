/**
 * A client for tests that speaks bytes: connects plain or by TLS, sends what it is told (whole, in pieces, or not at
 * all), waits for a pattern, notices how the connection ended. Every wait has a deadline far above what it should take.
 */
import { connect as connectTcp } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { systemClock } from '../../src/clock.ts'

const PATIENCE_MS = 15_000

export interface WireOptions {
  readonly port: number
  /** PEM of the authority: TLS from the first byte. */
  readonly ca?: string
  readonly servername?: string
  readonly host?: string
  /** Local address to come from. */
  readonly from?: string
}

export class WireClient {
  readonly #plain: Socket
  /** The plain socket, or TLS over it. */
  #socket: Socket
  #text = ''
  #taken = 0
  #ended = false
  #closed = false
  #error: Error | undefined
  #wake: (() => void)[] = []

  private constructor(plain: Socket, socket: Socket) {
    this.#plain = plain
    this.#socket = socket
    this.#listen(socket)
  }

  /** Rejects when there is no connection (or no handshake). */
  static async connect(options: WireOptions): Promise<WireClient> {
    const { port, host = '127.0.0.1', from, ca } = options
    const plain = connectTcp({ port, host, noDelay: true, allowHalfOpen: true, ...(from === undefined ? {} : { localAddress: from }) })
    await opened(plain, 'connect')
    return new WireClient(plain, ca === undefined ? plain : await encrypted(plain, ca, options.servername))
  }

  /** Everything received so far. */
  get received(): string {
    return this.#text
  }

  /** The other side will send no more. */
  get ended(): boolean {
    return this.#ended || this.#closed
  }

  /** The socket is closed, whoever closed it. */
  get closed(): boolean {
    return this.#closed
  }

  /** What closed it, when that was an error (ECONNRESET). */
  get error(): Error | undefined {
    return this.#error
  }

  get localPort(): number {
    return this.#socket.localPort ?? 0
  }

  send(bytes: string | Buffer): void {
    this.#socket.write(bytes)
  }

  /** Upgrades after a STARTTLS answer. */
  async startTls(ca: string, servername?: string): Promise<void> {
    this.#plain.removeAllListeners('data')
    this.#plain.removeAllListeners('end')
    this.#socket = await encrypted(this.#plain, ca, servername)
    this.#listen(this.#socket)
  }

  /** What matched, taken off the front together with all before it. Rejects at the deadline, or when no more can come. */
  async until(pattern: RegExp, patience = PATIENCE_MS): Promise<string> {
    let found: string | undefined
    const look = (): boolean => {
      const match = pattern.exec(this.#text.slice(this.#taken))
      if (match === null) return false
      found = match[0]
      this.#taken += match.index + match[0].length
      return true
    }
    await this.#wait(() => look() || this.#ended || this.#closed, patience, () => `${pattern}`)
    if (found === undefined && !look()) throw new Error(`closed before ${pattern}; received ${JSON.stringify(this.#text.slice(-500))}`)
    return found ?? ''
  }

  /** Sends a command and gives everything up to its tagged answer. */
  async command(text: string, patience = PATIENCE_MS): Promise<string> {
    const from = this.#taken
    const tag = text.slice(0, text.indexOf(' '))
    this.send(`${text}\r\n`)
    await this.until(new RegExp(`(^|\\n)${tag.replaceAll(/[^\w]/g, '\\$&')} [^\\n]*\\n`), patience)
    return this.#text.slice(from, this.#taken)
  }

  /** Resolves when the other side has ended or reset the connection. */
  async untilClosed(patience = PATIENCE_MS): Promise<void> {
    await this.#wait(() => this.#ended || this.#closed, patience, () => 'the end of the connection')
  }

  /** Half-closes: nothing more will be sent. */
  end(): void {
    this.#socket.end()
  }

  /** Ends with a reset instead of a FIN. */
  reset(): void {
    if (!this.#plain.destroyed) this.#plain.resetAndDestroy()
  }

  destroy(): void {
    this.#socket.destroy()
    this.#plain.destroy()
  }

  #listen(socket: Socket): void {
    const wake = (): void => {
      const waiting = this.#wake
      this.#wake = []
      for (const callback of waiting) callback()
    }
    socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1')
      wake()
    })
    socket.on('end', () => {
      this.#ended = true
      wake()
    })
    socket.on('close', () => {
      this.#closed = true
      wake()
    })
    socket.on('error', (error) => {
      this.#error = error
      wake()
    })
  }

  async #wait(condition: () => boolean, patience: number, what: () => string): Promise<void> {
    const deadline = systemClock.now() + patience
    while (!condition()) {
      const left = deadline - systemClock.now()
      if (left <= 0) throw new Error(`no ${what()} within ${patience} ms; received ${JSON.stringify(this.#text.slice(-500))}`)
      await new Promise<void>((resolve) => {
        const timer = systemClock.after(left, resolve, { keepAlive: true })
        this.#wake.push(() => {
          timer.cancel()
          resolve()
        })
      })
    }
  }
}

async function encrypted(plain: Socket, ca: string, servername = 'localhost'): Promise<Socket> {
  const secure = connectTls({ socket: plain, ca, servername })
  await opened(secure, 'secureConnect')
  return secure
}

function opened(socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = (): void => reject(new Error(`closed before ${event}`))
    const failed = (error: Error): void => {
      socket.destroy()
      reject(error)
    }
    socket.once('error', failed)
    socket.once('close', closed)
    socket.once(event, () => {
      socket.off('error', failed)
      socket.off('close', closed)
      resolve()
    })
  })
}
