/**
 * The client's side of a session before the bridge: its socket and its protocol's preauth dialogue, which has no socket
 * of its own. It turns the dialogue's port into values: `nextLogin` gives the next attempt, `answer` the client's reply
 * to a relayed challenge. It owns the client's socket until `release`; the dialogue, and with it every credential, is
 * dropped there.
 *
 * A client may end its half of the connection (FIN) and still be told what became of its login: the leg is over only when
 * it would be the client's turn to speak. Last words get a little time to leave (limits.LAST_WORDS_MS), no more.
 *
 * Plaintext that came before a TLS upgrade is never used after it: bytes behind STARTTLS end the connection, those in
 * the dialogue's buffer (the dialogue sees to it) as well as those still in the socket's.
 */
import type { Socket } from 'node:net'
import type { CancelSignal } from '../cancel.ts'
import type { Clock, Timer } from '../clock.ts'
import { SignalboxError } from '../errors.ts'
import type { ClientConnection, Login, Preauth, PreauthFactory, PreauthPort, Refusal } from '../protocol/protocol.ts'
import type { InboundTls } from '../tls/inbound.ts'
import { disown, own } from '../wire.ts'
import type { WireOwner } from '../wire.ts'
import { tlsVersion } from './accept.ts'
import { lastWords } from './last-words.ts'
import type { AcceptedConnection } from './services.ts'

export interface ClientLegOptions {
  readonly connection: AcceptedConnection
  readonly secure: boolean
  readonly factory: PreauthFactory
  readonly tls: InboundTls
  readonly clock: Clock
  readonly cancel: CancelSignal
  /** listener.preauth_timeout, milliseconds: to a complete login command, each time it is the client's turn. */
  readonly timeout: number
  /** What the accept stage has used up of the first of them. */
  readonly spent: number
  /** Milliseconds before a refusal is answered (limits.auth_failure_delay and the address's history). */
  readonly penalty: () => Promise<number>
  /** Told what the dialogue holds, bytes, whenever it was fed. */
  readonly holds: (bytes: number) => void
  /** The leg is over: the client went away, the dialogue ended (politely: undefined), the time is up. Called at most once. */
  readonly over: (error: SignalboxError | undefined) => void
}

interface Waiting<T> {
  readonly resolve: (value: T) => void
  readonly reject: (error: SignalboxError) => void
}

export class ClientLeg implements PreauthPort, ClientConnection, WireOwner {
  readonly #options: ClientLegOptions
  /** Undefined after the hand-over, when nothing of the time before the login may be left. */
  #dialogue: Preauth | undefined
  #socket: Socket
  #secure: boolean
  #timer: Timer | undefined
  #login: Waiting<Login> | undefined
  #reply: Waiting<Buffer | undefined> | undefined
  #spent: number
  /** A login that came before anyone asked for it. */
  #ready: Login | undefined
  #over = false
  /** A TLS handshake is under way. */
  #encrypting = false
  /** The client has sent its FIN. */
  #ended = false
  /** Who has to speak next: the client, the session (a login is on its way), or nobody until a refusal's delay is over. */
  #turn: 'client' | 'session' | 'delay' = 'client'

  constructor(options: ClientLegOptions) {
    this.#options = options
    this.#socket = options.connection.socket
    this.#secure = options.secure
    this.#spent = options.spent
    this.#dialogue = options.factory.open(this, this)
  }

  get secure(): boolean {
    return this.#secure
  }

  get session(): string {
    return this.#options.connection.id
  }

  get clientAddress(): string {
    return this.#options.connection.clientAddress
  }

  /** Asked of the system: only a dialogue that shows it should look. */
  get localAddress(): string {
    return this.#options.connection.localAddress
  }

  /** As OpenSSL names it; undefined: no TLS. */
  get tlsVersion(): string | undefined {
    return tlsVersion(this.#socket)
  }

  /** Greets the client and begins to read. */
  start(): void {
    this.#attach()
    this.#clientsTurn((dialogue) => dialogue.start())
  }

  /** The next attempt to log in. Rejects with why the leg is over. */
  nextLogin(): Promise<Login> {
    const login = this.#ready
    this.#ready = undefined
    if (login !== undefined) return Promise.resolve(login)
    return new Promise((resolve, reject) => {
      if (this.#over) reject(closedByClient())
      else this.#login = { resolve, reject }
    })
  }

  /** Passes a backend's challenge on and waits, for as long as for a login, for what the client says to it. */
  challenge(challenge: Buffer): Promise<Buffer | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#over) return reject(closedByClient())
      this.#reply = { resolve, reject }
      this.#clientsTurn((dialogue) => dialogue.challenge(challenge))
    })
  }

  refused(refusal: Refusal): void {
    this.#clientsTurn((dialogue) => dialogue.refused(refusal))
  }

  unavailable(reason?: 'limit'): void {
    this.#clientsTurn((dialogue) => dialogue.unavailable(reason))
  }

  expire(reason: 'timeout' | 'shutdown'): void {
    this.#dialogue?.expire(reason)
  }

  /** Ends for want of room, with the protocol's words where any can be said. */
  crowdOut(error: SignalboxError): void {
    if (this.#encrypting) this.destroy(error)
    else this.close(this.#options.factory.tooBusy, error)
  }

  /**
   * After a login was taken: the socket, paused and without an owner, and the bytes for the backend.
   *
   * @throws SignalboxError when the leg or its dialogue is over
   */
  release(): { readonly socket: Socket; readonly behind: Buffer } {
    if (this.#over || this.#dialogue === undefined) throw closedByClient()
    const behind = this.#dialogue.accepted()
    this.#over = true
    this.#timer?.cancel()
    this.#dialogue = undefined
    disown(this.#socket)
    return { socket: this.#socket, behind }
  }

  /** Stops at once; a waiting `nextLogin` or `challenge` rejects with `error`. Idempotent; nothing once the leg is over. */
  destroy(error: SignalboxError): void {
    if (this.#over) return
    this.#finish(error)
    this.#socket.destroy()
  }

  // ---- PreauthPort ----

  write(bytes: Buffer): void {
    if (!this.#socket.destroyed) this.#socket.write(bytes)
  }

  startTls(): void {
    disown(this.#socket)
    // The dialogue saw nothing behind the command, but the socket may hold what came since.
    if (this.#socket.readableLength > 0) {
      this.destroy(new SignalboxError('CLIENT_PROTOCOL', 'plaintext was sent behind STARTTLS'))
      return
    }
    this.#encrypting = true
    this.#options.tls.accept(this.#socket, this.#options.cancel).then(
      (secured) => {
        this.#encrypting = false
        this.#socket = secured
        if (this.#over) {
          secured.destroy()
          return
        }
        this.#secure = true
        this.#attach()
        this.#dialogue?.secured()
      },
      (error: SignalboxError) => this.#finish(error),
    )
  }

  login(login: Login): void {
    this.#sessionsTurn()
    const waiting = this.#login
    this.#login = undefined
    if (waiting === undefined) this.#ready = login
    else waiting.resolve(login)
  }

  respond(answer: Buffer | undefined): void {
    this.#sessionsTurn()
    const waiting = this.#reply
    this.#reply = undefined
    waiting?.resolve(answer)
  }

  deny(answer: Buffer, final: boolean): void {
    const { penalty, clock } = this.#options
    this.#timer?.cancel()
    this.#turn = 'delay'
    void penalty().then((delay) => {
      if (this.#over) return
      this.#timer = clock.after(delay, () => this.#denied(answer, final), { keepAlive: true })
    })
  }

  close(last: Buffer, error: SignalboxError | undefined): void {
    if (this.#over) return
    lastWords(this.#socket, last, this.#options.clock)
    this.#finish(error)
  }

  // ---- turns ----

  #clientsTurn(say: (dialogue: Preauth) => void): void {
    if (this.#over || this.#dialogue === undefined) return
    this.#turn = 'client'
    this.#timer?.cancel()
    this.#timer = this.#options.clock.after(Math.max(0, this.#options.timeout - this.#spent), () => this.expire('timeout'))
    this.#spent = 0
    say(this.#dialogue)
    this.#closeIfEnded()
  }

  #sessionsTurn(): void {
    this.#turn = 'session'
    this.#timer?.cancel()
  }

  /** The delay of a refusal is over. */
  #denied(answer: Buffer, final: boolean): void {
    if (this.#over) return
    if (final) {
      this.close(answer, new SignalboxError('CLIENT_TOO_MANY_ATTEMPTS', 'too many failed logins on one connection'))
      return
    }
    this.write(answer)
    this.#clientsTurn((dialogue) => dialogue.resume())
  }

  /** A client that has ended its half is heard out, and told what became of it, before it is closed. */
  #closeIfEnded(): void {
    if (this.#ended && this.#turn === 'client') this.close(NOTHING, closedByClient())
  }

  // ---- the socket ----

  onData(chunk: Buffer): void {
    this.#dialogue?.receive(chunk)
    if (this.#dialogue !== undefined) this.#options.holds(this.#dialogue.held)
  }

  onEnd(): void {
    this.#ended = true
    this.#closeIfEnded()
  }

  onError(error: Error): void {
    this.destroy(new SignalboxError('CLIENT_CLOSED', 'the client reset the connection', { cause: error }))
  }

  onClose(): void {
    this.#finish(closedByClient())
  }

  #attach(): void {
    own(this.#socket, this)
    this.#socket.resume()
  }

  #finish(error: SignalboxError | undefined): void {
    if (this.#over) return
    this.#over = true
    this.#timer?.cancel()
    const reason = error ?? closedByClient()
    this.#login?.reject(reason)
    this.#reply?.reject(reason)
    this.#login = undefined
    this.#reply = undefined
    this.#ready = undefined
    this.#options.over(error)
  }
}

const NOTHING = Buffer.alloc(0)

function closedByClient(): SignalboxError {
  return new SignalboxError('CLIENT_CLOSED', 'the client closed the connection')
}
