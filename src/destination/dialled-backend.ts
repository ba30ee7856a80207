/**
 * One connection to a backend from the moment TCP is up until the bridge takes the socket: the TLS handshake (first, or
 * when the dialogue asks for it), the protocol's backend dialogue, one replay. It owns the socket and the dialogue.
 *
 * The socket is heard only while the dialogue has a use for bytes: it is held once the backend is announced and
 * again the moment a login is decided. What the backend sends meanwhile waits in the socket's buffer, with the end
 * of the stream behind it, and belongs to the bridge; nothing is taken out and put back.
 *
 * Two things don't depend on a dialogue getting them right: nothing that was read before a TLS upgrade is used after
 * it, and no login is repeated over an unencrypted leg unless the destination allows it.
 */
import type { Socket } from 'node:net'
import type { Clock, Timer } from '../clock.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import type { BackendDialogue, BackendPort, Login, Refusal } from '../protocol/protocol.ts'
import { disown, flow, hold, own, unwire } from '../wire.ts'
import type { WireOwner } from '../wire.ts'
import type { BackendTls } from './backend-tls.ts'
import type { Backend, DialOutcome, DialRequest, ReplayOutcome } from './backend.ts'
import type { Halt } from './halt.ts'

type State =
  | 'establishing'
  | 'encrypting'
  | 'announced'
  | 'replaying'
  | 'challenged'
  | 'accepted'
  | 'refused'
  | 'released'
  | 'failed'

export interface DialledBackendOptions {
  /** Connected, held, nothing heard. */
  readonly socket: Socket
  readonly request: DialRequest
  readonly tls: BackendTls
  readonly clock: Clock
  /** One replay, milliseconds. */
  readonly timeout: number
  /** Called at most once, after the backend was announced. */
  readonly decided: (outcome: DialOutcome) => void
  /** The backend doesn't take what was to tell it who the client is. */
  readonly addressLost: () => void
}

interface Waiting<T> {
  readonly resolve: (value: T) => void
  readonly reject: (error: Error) => void
}

const NOTHING = Buffer.alloc(0)

export class DialledBackend implements Backend, BackendPort, WireOwner {
  readonly #request: DialRequest
  readonly #tls: BackendTls
  readonly #clock: Clock
  readonly #timeout: number
  readonly #addressLost: () => void
  #decided: ((outcome: DialOutcome) => void) | undefined
  #socket: Socket
  #state: State = 'establishing'
  #encrypted = false
  #dialogue: BackendDialogue | undefined
  #establishing: Waiting<void> | undefined
  #answer: Waiting<ReplayOutcome> | undefined
  #timer: Timer | undefined
  #failure: SignalboxError | undefined

  constructor({ socket, request, tls, clock, timeout, decided, addressLost }: DialledBackendOptions) {
    this.#socket = socket
    this.#request = request
    this.#tls = tls
    this.#clock = clock
    this.#timeout = timeout
    this.#decided = decided
    this.#addressLost = addressLost
    const { protocol, leg, destination, client, facts } = request
    if (protocol.kind !== 'login') return
    this.#dialogue = protocol.backend(this, {
      startTls: leg.tls === 'starttls',
      hideAuthErrors: destination.hideAuthErrors,
      announceClient: leg.forwarding === 'xclient' ? client : undefined,
      headerInClear: leg.forwarding === 'proxy' && leg.tls !== 'implicit',
      facts,
    })
  }

  get capabilities(): readonly string[] {
    return this.#dialogue?.capabilities ?? []
  }

  /** TLS, greeting, capabilities. Rejects with a SignalboxError, or the reason of `halt`; the socket is closed then. */
  establish(halt: Halt): Promise<void> {
    if (halt.reason !== undefined) this.destroy()
    return halt.step((resolve, reject) => {
      this.#establishing = { resolve, reject }
      if (this.#socket.destroyed) this.#fail(closed('right after it was reached'))
      else if (this.#request.leg.tls === 'implicit') this.#encrypt(() => this.#begin())
      else {
        this.#attach()
        this.#begin()
      }
      return () => this.destroy()
    })
  }

  // ---- Backend ----

  replay(login: Login): Promise<ReplayOutcome> {
    if (!this.#encrypted && !this.#request.destination.allowPlaintextAuth && this.#state === 'announced') {
      this.#fail(new SignalboxError('BACKEND_PLAINTEXT', 'no login over an unencrypted leg'))
    }
    return this.#ask('announced', (dialogue) => dialogue.replay(login))
  }

  respond(answer: Buffer | undefined): Promise<ReplayOutcome> {
    return this.#ask('challenged', (dialogue) => dialogue.respond(answer))
  }

  /**
   * Also right after `dial`, for a protocol without a login (passthrough). `early` is always empty: see above. The
   * caller must listen for 'error' in the same turn.
   *
   * @throws SignalboxError BACKEND_CLOSED when the connection broke since, INTERNAL out of turn
   */
  release(): { readonly socket: Socket; readonly early: Buffer } {
    // A socket is destroyed a moment before it says so; without our listener that error would be nobody's.
    if (this.#socket.destroyed) this.#fail(closed('before it was handed over'))
    if (this.#failure !== undefined) throw this.#failure
    if (this.#state !== 'accepted' && this.#state !== 'announced') throw this.#outOfTurn('release')
    if (this.#encrypted) this.#socket.removeAllListeners('session')
    // Before a request was answered nothing is known yet.
    if (this.#request.protocol.kind === 'request') unwire(this.#socket)
    else {
      disown(this.#socket)
      this.#report({ ok: true })
    }
    this.#state = 'released'
    this.#dialogue = undefined
    return { socket: this.#socket, early: NOTHING }
  }

  destroy(error?: SignalboxError): void {
    this.#decided = undefined
    this.#fail(error ?? new SignalboxError('CLIENT_CLOSED', 'the backend connection was given up'))
  }

  // ---- BackendPort ----

  write(bytes: Buffer): void {
    if (this.#state === 'failed') return
    if (this.#state === 'encrypting') this.#fail(this.#outOfTurn('write'))
    else this.#socket.write(bytes)
  }

  startTls(): void {
    if (this.#state === 'failed') return
    if (this.#state !== 'establishing' || this.#encrypted) this.#fail(this.#outOfTurn('startTls'))
    else this.#encrypt(() => this.#speak((dialogue) => dialogue.secured()))
  }

  announced(): void {
    if (this.#state === 'failed') return
    if (this.#state !== 'establishing') {
      this.#fail(this.#outOfTurn('announced'))
    } else if (this.#request.leg.tls !== 'plain' && !this.#encrypted) {
      this.#fail(new SignalboxError('BACKEND_PLAINTEXT', 'the leg demands TLS and the backend did not do it'))
    } else {
      this.#state = 'announced'
      hold(this.#socket)
      this.#establishing?.resolve()
      this.#establishing = undefined
    }
  }

  accepted(bytes: Buffer): void {
    this.#settle('accepted', { kind: 'accepted', bytes })
  }

  refused(refusal: Refusal): void {
    this.#settle('refused', { kind: 'refused', refusal })
  }

  challenge(challenge: Buffer): void {
    this.#settle('challenged', { kind: 'challenge', challenge })
  }

  addressLost(): void {
    this.#addressLost()
  }

  trouble(error: SignalboxError): void {
    this.#fail(error)
  }

  // ---- the dialogue ----

  #ask(turn: State, say: (dialogue: BackendDialogue) => void): Promise<ReplayOutcome> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (this.#state !== turn) return Promise.reject(this.#outOfTurn('replay'))
    return new Promise((resolve, reject) => {
      this.#state = 'replaying'
      this.#answer = { resolve, reject }
      this.#timer = this.#clock.after(this.#timeout, () => {
        const message = `destination "${this.#request.destination.name}" did not decide the login in time`
        this.#fail(new SignalboxError('BACKEND_REPLAY_TIMEOUT', message))
      })
      this.#speak(say)
      this.#read()
    })
  }

  #settle(state: 'accepted' | 'refused' | 'challenged', outcome: ReplayOutcome): void {
    if (this.#state === 'failed') return
    if (this.#state !== 'replaying') {
      this.#fail(this.#outOfTurn(state))
      return
    }
    this.#state = state
    hold(this.#socket)
    this.#timer?.cancel()
    // A backend that asks back is as well as one that decides, and how long the client lets it wait is not its fault.
    this.#report({ ok: true })
    // Whatever was decided, the login is of no further use here.
    if (state !== 'challenged') this.#dialogue = undefined
    this.#answer?.resolve(outcome)
    this.#answer = undefined
  }

  /** Bytes may flow. Where nothing is said before the bridge, that is all there is to wait for. */
  #begin(): void {
    if (this.#request.protocol.kind !== 'login') this.announced()
    else this.#speak((dialogue) => dialogue.start())
    this.#read()
  }

  /** A dialogue that throws is a defect; it costs its own session only. */
  #speak(say: (dialogue: BackendDialogue) => void): void {
    if (this.#dialogue === undefined) return
    try {
      say(this.#dialogue)
    } catch (thrown) {
      this.#fail(asSignalboxError(thrown))
    }
  }

  #read(): void {
    if (this.#state === 'establishing' || this.#state === 'replaying') flow(this.#socket)
  }

  // ---- the socket ----

  #encrypt(then: () => void): void {
    const { destination, leg } = this.#request
    this.#state = 'encrypting'
    disown(this.#socket)
    if (this.#socket.readableLength > 0) {
      this.#fail(new SignalboxError('BACKEND_INJECTION', 'the backend sent plaintext ahead of the TLS handshake'))
      return
    }
    try {
      const handshake = this.#tls.begin(this.#socket, destination, leg.port)
      const { socket } = handshake
      this.#socket = socket
      const onError = (error: Error): void => this.#fail(handshake.failure(error))
      const onClose = (): void => this.#fail(handshake.failure(undefined))
      socket.on('error', onError)
      socket.on('close', onClose)
      socket.once('secureConnect', () => {
        if (this.#state !== 'encrypting') return
        const error = handshake.verify()
        if (error !== undefined) {
          this.#fail(error)
          return
        }
        this.#encrypted = true
        this.#state = 'establishing'
        this.#attach()
        socket.off('error', onError)
        socket.off('close', onClose)
        then()
        this.#read()
      })
    } catch (thrown) {
      this.#fail(asSignalboxError(thrown))
    }
  }

  onData(chunk: Buffer): void {
    if (this.#state !== 'establishing' && this.#state !== 'replaying') return
    this.#speak((dialogue) => dialogue.receive(chunk))
  }

  onError(error: Error): void {
    // A server that wants a client certificate says so only after a TLS 1.3 handshake is done.
    const tls = 'code' in error && typeof error.code === 'string' && error.code.startsWith('ERR_SSL')
    this.#fail(new SignalboxError(tls ? 'BACKEND_TLS' : 'BACKEND_CLOSED', error.message, { cause: error }))
  }

  onEnd(): void {
    this.#fail(closed(this.#state === 'replaying' ? 'during the login' : 'before it was ready'))
  }

  onClose(): void {
    this.onEnd()
  }

  #attach(): void {
    own(this.#socket, this)
    // A listener for data makes an untouched stream flow; reading is begun by #read alone.
    hold(this.#socket)
  }

  // ---- the end ----

  /** The listeners stay on the closed socket: what it still reports is nobody's concern, but must not go unheard. */
  #fail(error: SignalboxError): void {
    if (this.#state === 'failed' || this.#state === 'released') return
    const establishing = this.#establishing
    this.#state = 'failed'
    this.#failure = error
    this.#timer?.cancel()
    this.#dialogue = undefined
    if (this.#socket.listenerCount('error') === 0) this.#socket.on('error', unheard)
    this.#socket.destroy()
    // While establishing, the dialer decides what comes of it.
    if (establishing === undefined) this.#report(isItsFailure(error) ? { ok: false, phase: 'after', error } : { ok: true })
    this.#establishing = undefined
    establishing?.reject(error)
    this.#answer?.reject(error)
    this.#answer = undefined
  }

  #report(outcome: DialOutcome): void {
    const decided = this.#decided
    this.#decided = undefined
    decided?.(outcome)
  }

  #outOfTurn(what: string): SignalboxError {
    return new SignalboxError('INTERNAL', `${what} out of turn: the backend connection is ${this.#state}`)
  }
}

/** A login that the backend has no mechanism for is the client's choice: whoever likes could take the server away from everybody. */
function isItsFailure({ code }: SignalboxError): boolean {
  return code !== 'BACKEND_NO_MECHANISM'
}

function closed(when: string): SignalboxError {
  return new SignalboxError('BACKEND_CLOSED', `the backend closed the connection ${when}`)
}

/** An error on a socket that was closed for another, known reason. */
function unheard(): void {}
