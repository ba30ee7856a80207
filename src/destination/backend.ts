/**
 * A backend as the session sees it: dialled, encrypted, announced, ready for one replay, then handed over as a socket.
 */
import type { Socket } from 'node:net'
import type { CancelSignal } from '../cancel.ts'
import type { DestinationConfig, LegConfig } from '../config/config.ts'
import type { SignalboxError } from '../errors.ts'
import type { ClientAnnouncement, DialogueFacts, Login, Protocol, Refusal, RequestProtocol } from '../protocol/protocol.ts'

export type ReplayOutcome =
  /** The backend took the login; `bytes` belong to the client. */
  | { readonly kind: 'accepted'; readonly bytes: Buffer }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** The client itself must answer this; go on with `respond`. */
  | { readonly kind: 'challenge'; readonly challenge: Buffer }

export interface Backend {
  /** What the backend says it can do, as written; empty where there is no login, and once one was decided. */
  readonly capabilities: readonly string[]
  /** One login, within server.backend_timeout. Rejects with a SignalboxError of side backend. */
  replay(login: Login): Promise<ReplayOutcome>
  /** The client's answer to a challenge. */
  respond(answer: Buffer | undefined): Promise<ReplayOutcome>
  /**
   * After `accepted` (without a login: after the dial): the socket, held and without an owner (wire.ts; a request's: paused, without listeners of ours), allowHalfOpen, no time-out set, and what the backend
   * sent since. The dialogue (and with it every credential) is dropped.
   */
  release(): { readonly socket: Socket; readonly early: Buffer }
  /** Aborts at any moment, idempotent; a pending replay rejects with `error`. */
  destroy(error?: SignalboxError): void
}

export interface DialRequest {
  readonly destination: DestinationConfig
  readonly leg: LegConfig
  readonly protocol: Protocol | RequestProtocol
  /** Who the client is; failures after connecting are put down to its address. The leg decides what the backend is told of it. */
  readonly client: ClientAnnouncement
  /** What the client's dialogue learned; empty where there was none. */
  readonly facts: DialogueFacts
}

/** What happened to a dial, for the health of the destination. A refused login is a success. */
export type DialOutcome =
  | { readonly ok: true }
  /** `connecting`: DNS, TCP, the establishment deadline. `after`: TLS, greeting, closed by the backend. */
  | { readonly ok: false; readonly phase: 'connecting' | 'after'; readonly error: SignalboxError }

export interface Dialer {
  /**
   * Connects, encrypts, reads the greeting, within one deadline (server.backend_timeout) and with retries
   * (server.backend_connect_retries, 200 ms apart with jitter). `cancel` aborts: the promise then rejects with its reason.
   */
  dial(request: DialRequest, cancel: CancelSignal): Promise<Backend>
}
