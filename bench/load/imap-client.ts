/**
 * One IMAP session of the load generator: greeting, LOGIN, OK, then either LOGOUT and close, or it is kept, or it
 * fetches much. It reads no more of the protocol than that takes, and its bytes are made once.
 */
import { connect as connectPlain } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls, createSecureContext } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import type { Target } from './job.ts'

export const PASSWORD = 'secret'
const LOGOUT = Buffer.from('z LOGOUT\r\n')
/** The same key exchange for all: left to themselves newer libraries agree on a costlier one (with ML-KEM), older ones don't know it. */
const CONTEXT = createSecureContext({ minVersion: 'TLSv1.3', ecdhCurve: 'X25519' })

/** What a slot of the generator keeps from one session to the next. */
export interface Slot {
  session: Buffer | undefined
}

export interface ImapEvents {
  /** The login was accepted. The session goes on as the answer says. */
  loggedIn(): 'logout' | 'keep' | { readonly fetch: number }
  /** All bytes of a fetch are there. */
  fetched?(): void
  /** It is over, as it should, or for the reason given. */
  over(failure: string | undefined): void
}

type Stage = 'greeting' | 'login' | 'kept' | 'fetch' | 'logout' | 'over'

export class ImapClient {
  readonly #socket: Socket
  readonly #events: ImapEvents
  readonly #login: string
  #stage: Stage = 'greeting'
  #pending = ''
  #left = 0
  resumed = false

  constructor(target: Target, user: number, slot: Slot, events: ImapEvents) {
    this.#events = events
    this.#login = `a LOGIN "user${user % target.users}@example.com" "${PASSWORD}"\r\n`
    this.#socket = dial(target, slot, (resumed) => (this.resumed = resumed))
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk))
    this.#socket.on('error', (error: NodeJS.ErrnoException) => this.#end(error.code ?? error.message))
    this.#socket.on('close', () => this.#end(this.#stage === 'kept' ? 'closed' : `closed in ${this.#stage}`))
  }

  /** Logs out a session that was kept. */
  logout(): void {
    this.#stage = 'logout'
    this.#socket.write(LOGOUT)
  }

  fetch(bytes: number): void {
    this.#stage = 'fetch'
    // The stub answers with one literal of that size.
    this.#left = fetchAnswerSize(bytes)
    this.#socket.write(`f FETCH ${bytes}\r\n`)
  }

  /** Closes it without a word and without a report. */
  drop(): void {
    this.#stage = 'over'
    this.#socket.destroy()
  }

  #read(chunk: Buffer): void {
    if (this.#stage === 'fetch') {
      this.#left -= chunk.length
      if (this.#left < 0) return this.#end('more than was asked for')
      if (this.#left > 0) return
      this.#stage = 'kept'
      return this.#events.fetched?.()
    }
    const text = this.#pending + chunk.toString('latin1')
    // A login's answer may come in several lines; only the tagged one counts.
    const line = this.#stage === 'login' ? tagged(text, 'a ') : this.#stage === 'logout' ? tagged(text, 'z ') : text.endsWith('\n') ? text : undefined
    if (line === undefined) {
      this.#pending = text
      return
    }
    this.#pending = ''
    if (this.#stage === 'greeting') {
      if (!line.startsWith('* OK')) return this.#end('refused at the greeting')
      this.#stage = 'login'
      this.#socket.write(this.#login, 'latin1')
    } else if (this.#stage === 'login') {
      if (!line.startsWith('OK')) return this.#end('login refused')
      this.#stage = 'kept'
      const next = this.#events.loggedIn()
      if (next === 'logout') this.logout()
      else if (next !== 'keep') this.fetch(next.fetch)
    } else if (this.#stage === 'logout') this.#end(undefined)
  }

  #end(failure: string | undefined): void {
    if (this.#stage === 'over') return
    this.#stage = 'over'
    this.#socket.destroy()
    this.#events.over(failure)
  }
}

/** Bytes of the stub's answer to FETCH. */
export function fetchAnswerSize(bytes: number): number {
  return `* 1 FETCH (BODY[] {${bytes}}\r\n`.length + bytes + ')\r\nf OK done\r\n'.length
}

/** What stands behind the tag in its line, when that line is whole. */
function tagged(text: string, tag: string): string | undefined {
  if (!text.endsWith('\n')) return undefined
  if (text.startsWith(tag)) return text.slice(tag.length)
  const at = text.indexOf(`\n${tag}`)
  return at === -1 ? undefined : text.slice(at + 1 + tag.length)
}

function dial(target: Target, slot: Slot, secured: (resumed: boolean) => void): Socket {
  const { port } = target
  if (!target.tls) return connectPlain({ host: '127.0.0.1', port, noDelay: true })
  const session = target.resume && slot.session !== undefined ? { session: slot.session } : {}
  // Whom it talks to is no question on loopback, and verifying is the client's cost, not the proxy's.
  const socket: TLSSocket = connectTls({ host: '127.0.0.1', port, servername: 'localhost', secureContext: CONTEXT, rejectUnauthorized: false, ...session })
  socket.setNoDelay(true)
  if (target.resume) {
    socket.on('session', (fresh: Buffer) => (slot.session = fresh))
    socket.on('secureConnect', () => secured(socket.isSessionReused()))
  }
  return socket
}
