/**
 * What a session is given and what it tells: its connection, its listener's profile, the services of its worker, and the
 * facts that are reported of it. No behaviour; session.ts hands these names on.
 */
import type { Socket } from 'node:net'
import type { ActorRef } from '../actor/message.ts'
import type { Clock } from '../clock.ts'
import type { DestinationConfig, ListenerConfig, Mechanism, ServerConfig } from '../config/config.ts'
import type { Dialer } from '../destination/backend.ts'
import type { SignalboxError } from '../errors.ts'
import type { Counters } from '../observe/counters.ts'
import type { Login, LoginProtocol, PassthroughProtocol, PreauthFactory } from '../protocol/protocol.ts'
import type { Resolver, ResolverMessage } from '../resolver/resolver.ts'
import type { OpenRoute } from '../resolver/route.ts'
import type { InboundTls } from '../tls/inbound.ts'
import type { BridgeResult } from './bridge.ts'
import type { PlaceDesk } from './place.ts'
import type { PreauthMemory } from './preauth-memory.ts'
import type { EndedBy, Sessions, SessionsMessage } from './sessions.ts'

/** What the sessions of a listener with logins have in common. */
export interface LoginProfile {
  readonly listener: ListenerConfig
  readonly protocol: LoginProtocol
  readonly factory: PreauthFactory
}

/** … of a listener whose connections are bridged whole. */
export interface PassthroughProfile {
  readonly listener: ListenerConfig
  readonly protocol: PassthroughProtocol
  /** routing.smtp_passthrough_destination. */
  readonly destination: string
}

export type SessionProfile = LoginProfile | PassthroughProfile

/** A connection as the accept stage gets it. */
export interface AcceptedConnection {
  /** Paused; nothing of it has been read. */
  readonly socket: Socket
  readonly id: string
  /** What the primary calls it. */
  readonly number: number
  /** The client's: the peer's own, or what the PROXY header of a trusted peer says. */
  readonly clientAddress: string
  readonly clientPort: number
  readonly localAddress: string
  readonly localPort: number
}

/** Why a session ended, for its closing log line. */
export type SessionEnd = BridgeResult['reason'] | EndedBy | 'logout' | 'error'

export interface LoginFacts {
  readonly account: string | undefined
  readonly destination: string | undefined
  /** Undefined where there is no login (passthrough). */
  readonly mechanism: Mechanism | undefined
  readonly secure: boolean
  /** Which attempt of this connection, from 1. */
  readonly attempt: number
  /** From the complete login command to the decision, milliseconds. */
  readonly took: number
  readonly route: OpenRoute | undefined
}

/** What the operator is told of a session: a connection, or one request on it. */
export interface Reported {
  readonly connection: Pick<AcceptedConnection, 'id' | 'clientAddress'>
  readonly profile: { readonly listener: ListenerConfig }
  /** A connection of HTTP: how many requests came on it. */
  readonly requests?: number
}

/** `backend` where nothing is said. `identifier`: the name that was sent can be no account's, so that no backend was asked. */
export type RefusalReason = 'backend' | 'identifier'

/** What the operator is told of a session. */
export interface SessionReport {
  accepted(session: Reported, login: LoginFacts): void
  /** A connection without a login was bridged. */
  passedThrough(session: Reported, facts: LoginFacts): void
  refused(session: Reported, login: LoginFacts, reason?: RefusalReason): void
  unavailable(session: Reported, login: LoginFacts, error: SignalboxError): void
  closed(session: Reported, end: SessionClosed): void
}

export interface SessionClosed {
  readonly reason: SessionEnd
  readonly error: SignalboxError | undefined
  /** Bytes from the client to the backend and back, since the hand-over. */
  readonly bytesIn: number
  readonly bytesOut: number
  /** From the accepted connection to now. */
  readonly seconds: number
  /** The login that was let in; undefined: none was. */
  readonly login: LoginFacts | undefined
}

/** What a session needs of its worker. */
export interface SessionServices {
  readonly clock: Clock
  readonly server: ServerConfig
  readonly tls: InboundTls
  readonly dialer: Dialer
  readonly resolver: Resolver
  readonly resolverRef: ActorRef<ResolverMessage>
  readonly sessions: Sessions
  readonly sessionsRef: ActorRef<SessionsMessage>
  /** From a login to its account; undefined: it names none. Throws CLIENT_BAD_IDENTIFIER. */
  readonly identify: (login: Login) => string | undefined
  readonly destination: (id: number) => DestinationConfig | undefined
  readonly destinationNamed: (name: string) => DestinationConfig | undefined
  /** Whether a destination may be dialled now; a promise when the primary must be asked (a probe of one that is down). */
  readonly admit: (destination: string) => boolean | Promise<boolean>
  /**
   * Counts a connection for the address that it was announced with. False: that address has as many as it may. Never
   * rejects.
   */
  readonly countAddress: (connection: AcceptedConnection) => Promise<boolean>
  /** Milliseconds to wait before a refusal is answered. Never rejects. */
  readonly penalty: (clientAddress: string) => Promise<number>
  readonly places: PlaceDesk
  readonly preauth: PreauthMemory
  readonly report: SessionReport
  /** Times its stages and counts its bytes; logins are counted by whoever hears the report. */
  readonly counters: Counters
}
