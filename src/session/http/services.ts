/** What requests need of their worker, and what they know of the connection that they came on. No behaviour. */
import type { HttpConfig, ListenerConfig } from '../../config/config.ts'
import type { DialOutcome } from '../../destination/backend.ts'
import type { RequestProtocol } from '../../protocol/protocol.ts'
import type { AcceptedConnection, SessionServices } from '../services.ts'

export const HTTP: RequestProtocol = { kind: 'request', name: 'http' }

export interface HttpServices extends SessionServices {
  readonly http: HttpConfig
  /** oauth.jwt_username_claim. */
  readonly usernameClaim: string
  /** The identifier of a name. Throws CLIENT_BAD_IDENTIFIER. */
  readonly identifier: (name: string) => string
  /** What an answer, or its absence, says about a destination's health. */
  readonly outcome: (destination: string, clientAddress: string, outcome: DialOutcome) => void
  /** A request is over. */
  readonly requested: (request: RequestReport) => void
}

export interface RequestReport {
  readonly session: string
  readonly listener: string
  readonly client: string
  readonly account: string | undefined
  readonly destination: string | undefined
  readonly method: string
  /** Undefined: the client was told nothing. */
  readonly status: number | undefined
  /** Why it could not be carried out, or not to its end; a SignalboxError's. */
  readonly code: string | undefined
  readonly bytesIn: number
  readonly bytesOut: number
  readonly seconds: number
}

/** The connection of a request. */
export interface RequestOrigin {
  readonly connection: AcceptedConnection
  readonly listener: ListenerConfig
  readonly secure: boolean
  /** The TLS version as OpenSSL names it; undefined: none. */
  readonly clientTls: string | undefined
}
