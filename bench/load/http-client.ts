/** One kept HTTP connection of the load generator: a request, its whole answer, the next request. */
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { PASSWORD } from './imap-client.ts'

export interface HttpEvents {
  /** An answer is whole. True: ask again. */
  answered(): boolean
  over(failure: string | undefined): void
}

const HEAD_END = '\r\n\r\n'

export function requestAs(user: string): Buffer {
  const login = Buffer.from(`${user}:${PASSWORD}`).toString('base64')
  return Buffer.from(
    `GET /dav/calendar HTTP/1.1\r\nHost: mail.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\nAuthorization: Basic ${login}\r\n\r\n`,
  )
}

export class HttpClient {
  readonly #socket: Socket
  readonly #request: Buffer
  readonly #events: HttpEvents
  #pending = ''
  /** Bytes of the body that are still to come; undefined while the head is awaited. */
  #left: number | undefined
  #over = false

  constructor(port: number, user: string, events: HttpEvents) {
    this.#events = events
    this.#request = requestAs(user)
    this.#socket = connect({ host: '127.0.0.1', port, noDelay: true })
    this.#socket.once('connect', () => this.#ask())
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk))
    this.#socket.on('error', (error: NodeJS.ErrnoException) => this.#end(error.code ?? error.message))
    this.#socket.on('close', () => this.#end('closed'))
  }

  #ask(): void {
    this.#socket.write(this.#request)
  }

  #read(chunk: Buffer): void {
    if (this.#left === undefined) {
      const text = this.#pending + chunk.toString('latin1')
      const head = text.indexOf(HEAD_END)
      if (head === -1) {
        this.#pending = text
        return
      }
      this.#pending = ''
      if (!text.startsWith('HTTP/1.1 200')) return this.#end(text.slice(9, 12))
      const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1]
      if (length === undefined) return this.#end('no length')
      this.#left = Number(length) - (text.length - head - HEAD_END.length)
    } else this.#left -= chunk.length
    if (this.#left > 0) return
    this.#left = undefined
    if (this.#events.answered()) this.#ask()
    else this.#end(undefined)
  }

  #end(failure: string | undefined): void {
    if (this.#over) return
    this.#over = true
    this.#socket.destroy()
    this.#events.over(failure)
  }
}
