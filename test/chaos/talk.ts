/**
 * A connection as a conversation: lines and counted bytes are asked for one after the other, and nothing is read that nobody
 * has asked for, so that who asks slowly is a slow reader to the other side. Clients and servers of the chaos run speak through it.
 */
import { connect as connectTcp } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { systemClock } from '../../src/clock.ts'

const LONGEST_LINE = 65_536

/** The other side ended the connection, by whatever means. */
export class Ended extends Error {}
/** Nobody listens. */
export class Refused extends Error {}
/** Nothing came within the patience: neither an answer nor an end. */
export class Unanswered extends Error {}

export interface TalkOptions {
  readonly port: number
  readonly host?: string
  /** PEM: TLS from the first byte. */
  readonly ca?: string | undefined
  /** The address to come from. */
  readonly from?: string | undefined
  /** Milliseconds for each wait. */
  readonly patience: number
}

export class Talk {
  #socket: Socket
  readonly #patience: number
  #rest: Buffer = Buffer.alloc(0)
  #over = false
  #wake: (() => void) | undefined
  #alive = systemClock.now()
  #answered: number | undefined

  /** @param patience milliseconds for each wait; 0: for ever */
  constructor(socket: Socket, patience = 0) {
    this.#socket = socket
    this.#patience = patience
    this.#listen()
  }

  /** Rejects with Refused, Ended or Unanswered. */
  static async connect({ port, host = '127.0.0.1', ca, from, patience }: TalkOptions): Promise<Talk> {
    const socket = connectTcp({ port, host, noDelay: true, ...(from === undefined ? {} : { localAddress: from }) })
    await opened(socket, 'connect', patience)
    const talk = new Talk(socket, patience)
    if (ca !== undefined) await talk.encrypt(ca)
    return talk
  }

  /** Clock time of the last sign of life: the connection, the end of a handshake, bytes that came. */
  get alive(): number {
    return this.#alive
  }

  /** Clock time of the first word, or of the end of the first TLS handshake; undefined: there was none. */
  get answered(): number | undefined {
    return this.#answered
  }

  /** Nothing more will come. */
  get over(): boolean {
    return this.#over
  }

  /** The client's side of a TLS handshake on this connection. */
  async encrypt(ca: string): Promise<void> {
    this.#unlisten()
    this.#socket = connectTls({ socket: this.#socket, ca, servername: 'localhost' })
    await opened(this.#socket, 'secureConnect', this.#patience)
    this.#heard()
    this.#listen()
  }

  /** Goes on over another socket that this one has become. */
  replace(socket: Socket): void {
    this.#unlisten()
    this.#socket = socket
    this.#listen()
  }

  /** The socket, for a server that is about to encrypt it. */
  get socket(): Socket {
    return this.#socket
  }

  write(bytes: string | Buffer): void {
    if (!this.#socket.destroyed) this.#socket.write(bytes)
  }

  /** Writes and waits until the other side has taken most of it in. */
  async pour(bytes: Buffer): Promise<void> {
    if (this.#socket.destroyed) throw new Ended()
    if (this.#socket.write(bytes)) return
    await this.#until(() => !this.#socket.writableNeedDrain)
    if (this.#socket.destroyed) throw new Ended()
  }

  /** The next line without its end. */
  async line(): Promise<string> {
    for (;;) {
      const end = this.#rest.indexOf(10)
      if (end >= 0) {
        const line = this.#rest.toString('latin1', 0, end).replace(/\r$/, '')
        this.#rest = this.#rest.subarray(end + 1)
        return line
      }
      if (this.#rest.length > LONGEST_LINE) throw new Error('a line without an end')
      this.#rest = Buffer.concat([this.#rest, await this.#more()])
    }
  }

  /** Lines until one fits; gives that one. */
  async until(fits: RegExp): Promise<string> {
    for (;;) {
      const line = await this.line()
      if (fits.test(line)) return line
    }
  }

  /** The next bytes, as they come, `count` in all. */
  async bytes(count: number, take: (chunk: Buffer) => void | Promise<void>): Promise<void> {
    for (let left = count; left > 0; ) {
      const chunk = this.#rest.length > 0 ? this.#rest : await this.#more()
      const taken = chunk.subarray(0, left)
      this.#rest = chunk.subarray(taken.length)
      left -= taken.length
      await take(taken)
    }
  }

  /** Resolves when the connection is over; bytes that still come are thrown away. */
  async end(): Promise<void> {
    this.#socket.end()
    try {
      for (;;) await this.#more()
    } catch (error) {
      if (!(error instanceof Ended)) throw error
    } finally {
      this.destroy()
    }
  }

  destroy(): void {
    this.#socket.destroy()
  }

  async #more(): Promise<Buffer> {
    let chunk: Buffer | null = null
    await this.#until(() => (chunk = this.#socket.read() as Buffer | null) !== null || this.#over)
    if (chunk === null) throw new Ended()
    this.#heard()
    return chunk
  }

  #heard(): void {
    this.#alive = systemClock.now()
    this.#answered ??= this.#alive
  }

  async #until(condition: () => boolean): Promise<void> {
    const deadline = this.#patience === 0 ? Number.POSITIVE_INFINITY : systemClock.now() + this.#patience
    while (!condition()) {
      const left = deadline - systemClock.now()
      if (left <= 0) throw new Unanswered(`nothing within ${this.#patience} ms`)
      await new Promise<void>((resolve) => {
        const timer = left === Number.POSITIVE_INFINITY ? undefined : systemClock.after(left, resolve, { keepAlive: true })
        this.#wake = () => {
          timer?.cancel()
          resolve()
        }
      })
    }
  }

  readonly #stir = (): void => {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  readonly #finish = (): void => {
    this.#over = true
    this.#stir()
  }

  #listen(): void {
    this.#socket.on('readable', this.#stir).on('drain', this.#stir).on('end', this.#finish).on('close', this.#finish).on('error', this.#finish)
  }

  #unlisten(): void {
    this.#socket.off('readable', this.#stir).off('drain', this.#stir).off('end', this.#finish).off('close', this.#finish).off('error', this.#finish)
    // An error of the socket below is told by the one above.
    this.#socket.on('error', () => {})
  }
}

function opened(socket: Socket, event: 'connect' | 'secureConnect', patience: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = systemClock.after(patience, () => failed(new Unanswered(`no ${event} within ${patience} ms`)), { keepAlive: true })
    const failed = (error: Error): void => {
      timer.cancel()
      socket.destroy()
      const refused = 'code' in error && error.code === 'ECONNREFUSED'
      reject(error instanceof Unanswered ? error : refused ? new Refused() : new Ended(error.message))
    }
    const closed = (): void => failed(new Ended(`closed before ${event}`))
    socket.once('error', failed)
    socket.once('close', closed)
    socket.once(event, () => {
      timer.cancel()
      socket.off('error', failed)
      socket.off('close', closed)
      resolve()
    })
  })
}
