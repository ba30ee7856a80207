/**
 * One kept HTTP connection that asks for one account or another, a request at a time, and tells by the length of the answer
 * which server gave it.
 */
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { requestAs } from './http-client.ts'

const HEAD_END = '\r\n\r\n'

interface Waiting {
  readonly resolve: (length: number) => void
  readonly reject: (error: Error) => void
}

export class HttpAsker implements AsyncDisposable {
  readonly #socket: Socket
  #pending = ''
  #waiting: Waiting | undefined
  #ended = false

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#read(chunk.toString('latin1')))
    socket.on('error', (error) => this.#fail(error))
    socket.on('close', () => this.#fail(new Error('the connection was closed')))
  }

  static connect(port: number): Promise<HttpAsker> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port, noDelay: true })
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(new HttpAsker(socket))
      })
    })
  }

  /** Bytes of the answer's body. The one before must have been answered. */
  ask(user: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      if (this.#ended) this.#fail(new Error('the connection was closed'))
      else this.#socket.write(requestAs(user))
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy()
  }

  #read(text: string): void {
    this.#pending += text
    const head = this.#pending.indexOf(HEAD_END)
    if (head === -1) return
    if (!this.#pending.startsWith('HTTP/1.1 200')) return this.#fail(new Error(`answered ${this.#pending.slice(9, 12)}`))
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(this.#pending)?.[1])
    if (this.#pending.length < head + HEAD_END.length + length) return
    this.#pending = this.#pending.slice(head + HEAD_END.length + length)
    this.#waiting?.resolve(length)
    this.#waiting = undefined
  }

  #fail(error: Error): void {
    this.#ended = true
    this.#socket.destroy()
    this.#waiting?.reject(error)
    this.#waiting = undefined
  }
}
