/** A request in HTTP/1.1 or 1.0 (RFC 9112), over Node's own objects for it. */
import { ServerResponse, STATUS_CODES } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { pairs, type Fields } from '../../protocol/http/fields.ts'
import type { RawHead } from '../../protocol/http/head.ts'
import { whenClosed, type ClientSide, type ResponseHead } from './client-side.ts'

export function rawHead({ httpVersion, method = '', url = '', rawHeaders }: IncomingMessage): RawHead {
  const version = httpVersion === '1.1' || httpVersion === '1.0' ? httpVersion : 'unknown'
  return { version, method, target: url, fields: rawHeaders }
}

export class Http1Client implements ClientSide {
  readonly raw: RawHead
  readonly ended = false
  readonly over: Promise<'answered' | 'gone'>
  readonly #request: IncomingMessage
  readonly #response: ServerResponse

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.#request = request
    this.#response = response
    this.raw = rawHead(request)
    response.sendDate = false
    // That a client is gone is told by `over`.
    request.on('error', unheard)
    response.on('error', unheard)
    this.over = new Promise((resolve) => {
      if (response.destroyed || response.closed) resolve('gone')
      else response.once('close', () => resolve(response.writableFinished ? 'answered' : 'gone'))
    })
  }

  get body(): Readable {
    return this.#request
  }

  get cut(): boolean {
    return !this.#request.complete
  }

  get trailers(): Fields {
    return this.#request.rawTrailers
  }

  get answered(): boolean {
    return this.#response.headersSent
  }

  inform(status: number, fields: Fields): void {
    // A client of HTTP/1.0 doesn't know them (RFC 9110 §15.2).
    if (this.answered || this.#response.destroyed || this.raw.version !== '1.1') return
    try {
      if (status === 100) this.#response.writeContinue()
      else this.#response.writeInformation(status, [...fields])
    } catch {
      // Whoever called is in the midst of reading the backend. Such an answer may be left out.
    }
  }

  respond({ status, message, fields, last }: ResponseHead): Writable {
    this.#response.writeHead(status, message, last ? [...fields, 'Connection', 'close'] : [...fields])
    return this.#response
  }

  finish(trailers: Fields): void {
    if (trailers.length > 0) this.#response.addTrailers(pairs(trailers))
    this.#response.end()
  }

  abort(): void {
    this.#request.socket.destroy()
  }

  whenClosed(callback: () => void): () => void {
    return whenClosed(this.#request.socket, callback)
  }
}

/**
 * A request for another protocol. Node has given its socket up: a refusal is the last thing that is said on it, and an
 * agreement leaves it to the bridge.
 */
export class UpgradeClient implements ClientSide {
  readonly ended = false
  readonly raw: RawHead
  readonly over: Promise<'answered' | 'gone'>
  readonly #request: IncomingMessage
  readonly #socket: Socket
  #response: ServerResponse | undefined

  constructor(request: IncomingMessage, socket: Socket) {
    this.#request = request
    this.#socket = socket
    this.raw = rawHead(request)
    request.on('error', unheard)
    socket.on('error', unheard)
    this.over = new Promise((resolve) => {
      const closed = (): void => resolve(this.answered ? 'answered' : 'gone')
      if (socket.destroyed) closed()
      else socket.once('close', closed)
    })
  }

  get body(): Readable {
    return this.#request
  }

  get cut(): boolean {
    return false
  }

  get trailers(): Fields {
    return []
  }

  get answered(): boolean {
    return this.#response?.headersSent === true
  }

  inform(): void {
    // What asks for another protocol waits for that answer alone.
  }

  respond({ status, message, fields }: ResponseHead): Writable {
    const response = new ServerResponse(this.#request)
    this.#response = response
    response.sendDate = false
    response.on('error', unheard)
    response.on('finish', () => this.#socket.destroySoon())
    response.assignSocket(this.#socket)
    response.writeHead(status, message, [...fields, 'Connection', 'close'])
    // Its FIN and whatever else it says: nobody answers any more.
    this.#socket.resume()
    return response
  }

  finish(): void {
    this.#response?.end()
  }

  abort(): void {
    this.#socket.destroy()
  }

  whenClosed(callback: () => void): () => void {
    return whenClosed(this.#socket, callback)
  }

  /** Agrees: the backend's own words. */
  switchProtocols(fields: Fields): Socket {
    let head = `HTTP/1.1 101 ${STATUS_CODES[101]}\r\n`
    for (let at = 0; at + 1 < fields.length; at += 2) head += `${fields[at]}: ${fields[at + 1]}\r\n`
    this.#socket.write(`${head}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`, 'latin1')
    return this.#socket
  }
}

function unheard(): void {}
