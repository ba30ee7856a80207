/**
 * Every event that operators and scripts may rely on, one function each, so that names of events and fields live in one
 * place. The sentence of an event is constant; whatever varies is a field. Accounts come in redacted already
 * (redaction.ts): nothing here could undo that. docs/log.md describes each event and field; a test holds the two together.
 */
import type { Mechanism, ProtocolName } from '../config/config.ts'
import type { SignalboxError } from '../errors.ts'
import type { Logger } from './log.ts'

/** What the lines of one session have in common. */
export interface SessionFields {
  /** Identifier of the session, the same on all its lines. */
  readonly session: string
  readonly listener: string
  readonly protocol: ProtocolName
  /** The client's address (after a PROXY header), without port. */
  readonly client: string
}

export interface LoginFields extends SessionFields {
  /** Redacted account. */
  readonly account: string
  readonly destination: string
  readonly mechanism?: Mechanism
  /** Where the route came from: `cache`, `store`, `stale`. */
  readonly route?: string
  /** Whether the client's leg is encrypted. */
  readonly tls?: boolean
  /** From the complete login command to the backend's answer. */
  readonly seconds: number
}

/** The backend took the login. */
export function loginAccepted(log: Logger, fields: LoginFields): void {
  log.info({ event: 'login', ...fields }, 'login accepted')
}

export interface RefusedFields extends SessionFields {
  /** Absent when the client never named one that could be read. */
  readonly account?: string
  readonly destination?: string
  readonly mechanism?: Mechanism
  /** `backend`: the backend said no; `malformed`, `unsupported`: it never got there. */
  readonly reason: 'backend' | 'malformed' | 'unsupported' | 'identifier'
  /** Which attempt of this connection, from 1. */
  readonly attempt: number
}

/** A refused login, fit for fail2ban: at `warn`, so that it is there at every usual level. */
export function loginRefused(log: Logger, fields: RefusedFields): void {
  log.warn({ event: 'login_refused', ...fields }, 'login refused')
}

export interface UnavailableFields extends SessionFields {
  readonly account?: string
  readonly destination?: string
  readonly error: SignalboxError
}

/** The login could not be tried (no route, no backend): nobody's fault at the client's end, so never for fail2ban. */
export function loginUnavailable(log: Logger, fields: UnavailableFields): void {
  log.warn({ event: 'login_unavailable', code: fields.error.code, ...fields }, 'login not possible at the moment')
}

export interface ClosedFields extends SessionFields {
  readonly account?: string
  readonly destination?: string
  /** Bytes from the client to the backend, and back, since the hand-over. */
  readonly bytes_in: number
  readonly bytes_out: number
  readonly seconds: number
  /** Why it ended: a word such as `client`, `backend`, `idle`, `kicked`, or a code. */
  readonly reason: string
  readonly error?: SignalboxError
}

/** The end of a session that had been bridged. */
export function sessionClosed(log: Logger, fields: ClosedFields): void {
  log.info({ event: 'session_closed', ...fields }, 'session closed')
}

/** The end of a connection that never logged in. At `debug`: scanners would fill the log. */
export function connectionClosed(log: Logger, fields: SessionFields & { seconds: number; reason: string }): void {
  log.debug({ event: 'connection_closed', ...fields }, 'connection closed before login')
}

/** A connection was turned away before it became a session. */
export function connectionRefused(
  log: Logger,
  fields: { listener: string; protocol: ProtocolName; client: string; reason: string },
): void {
  log.warn({ event: 'connection_refused', ...fields }, 'connection refused')
}

/** The mapping source can't be asked. Once per outage. */
export function sourceOutage(log: Logger, fields: { source: string; error: SignalboxError }): void {
  log.error({ event: 'source_outage', code: fields.error.code, ...fields }, 'the mapping source is not available')
}

export function sourceRecovered(log: Logger, fields: { source: string; seconds: number }): void {
  log.info({ event: 'source_recovered', ...fields }, 'the mapping source is available again')
}

/** The bus is silent or refused us. Once per outage. */
export function busLost(log: Logger, fields: { reason: string; error?: SignalboxError }): void {
  log.error({ event: 'bus_lost', ...fields }, 'the bus is lost')
}

export function busRecovered(log: Logger, fields: { seconds: number }): void {
  log.info({ event: 'bus_recovered', ...fields }, 'the bus is back')
}

export function peerJoined(log: Logger, fields: { peer: string }): void {
  log.info({ event: 'peer_joined', ...fields }, 'a peer joined')
}

export function peerLost(log: Logger, fields: { peer: string; reason: string }): void {
  log.warn({ event: 'peer_lost', ...fields }, 'a peer is lost')
}

export function destinationDown(
  log: Logger,
  fields: { destination: string; failures: number; sources: number; seconds: number; error: string },
): void {
  log.error({ event: 'destination_down', ...fields }, 'a destination is down')
}

export function destinationUp(log: Logger, fields: { destination: string; seconds: number }): void {
  log.info({ event: 'destination_up', ...fields }, 'a destination is up again')
}

export function workerReady(log: Logger, fields: { worker: number; pid: number }): void {
  log.info({ event: 'worker_ready', ...fields }, 'a worker is ready')
}

/** A worker's process ended; `expected` when it was asked to. `exit_code` or `signal` says how. */
export function workerExited(
  log: Logger,
  fields: { worker: number; pid: number; exit_code?: number; signal?: string; expected: boolean; sessions: number },
): void {
  log[fields.expected ? 'info' : 'error']({ event: 'worker_exited', ...fields }, 'a worker ended')
}

/** A cached route differed from the source without an invalidation in flight; it has been corrected. */
export function auditStale(log: Logger, fields: { account: string; cached: string; stored: string }): void {
  log.error({ event: 'audit_stale', ...fields }, 'a cached route differed from the source')
}

/** The source names a destination that isn't declared; the account goes to the default one. At most once a minute per value. */
export function mappingUndeclared(log: Logger, fields: { account: string; value: string }): void {
  log.warn({ event: 'mapping_undeclared', ...fields }, 'a mapping names an undeclared destination')
}

/** Somebody without the right token. Lockout: this failure was the one too many, for `seconds`. */
export function managementRefused(
  log: Logger,
  fields: { client: string; reason: 'missing' | 'malformed' | 'wrong'; failures: number; locked_seconds?: number },
): void {
  log.warn({ event: 'management_refused', ...fields }, 'management request refused')
}

/** A mistake of ours while answering the management API; `error_id` stands in the answer too. */
export function managementFailed(
  log: Logger,
  fields: { error_id: string; method: string; route: string; client: string; error: unknown },
): void {
  log.error({ event: 'management_failed', ...fields }, 'management request failed')
}
