/**
 * Every event that operators and scripts may rely on, one function each, so that names of events and fields live in one
 * place. The sentence of an event is constant; whatever varies is a field. Accounts come in redacted already
 * (redaction.ts): nothing here could undo that. docs/log.md describes each event and field; a test holds the two together.
 */
import type { Mechanism, ProtocolName } from '../config/config.ts'
import type { SignalboxError } from '../errors.ts'
import { quoted } from './frequent.ts'
import type { FrequentLines } from './frequent.ts'
import type { Logger } from './log.ts'

/** All that the events of mapping sources need of a log; pino's logger fits. */
export interface EventLog {
  info(fields: object, sentence: string): void
  warn(fields: object, sentence: string): void
}

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
  /** What is undefined doesn't stand on the line. */
  readonly mechanism?: Mechanism | undefined
  /** Where the route came from: `cache`, `store`, `stale`. */
  readonly route?: string
  /** Whether the client's leg is encrypted. */
  readonly tls?: boolean
  /** From the complete login command to the backend's answer. */
  readonly seconds: number
}

const LOGIN_ACCEPTED = 'login accepted'
const SESSION_CLOSED = 'session closed'

/** The backend took the login. */
export function loginAccepted(log: Logger, fields: LoginFields): void {
  log.info({ event: 'login', ...fields }, LOGIN_ACCEPTED)
}

/** The same line at less cost. */
export function loginAcceptedOften(lines: FrequentLines, fields: LoginFields): void {
  const { account, destination, mechanism, route, tls, seconds } = fields
  lines.write(
    `"event":"login",${sessionMembers(fields)},"account":${quoted(account)},"destination":${quoted(destination)}` +
      `${mechanism === undefined ? '' : `,"mechanism":"${mechanism}"`}${route === undefined ? '' : `,"route":"${route}"`}` +
      `${tls === undefined ? '' : `,"tls":${tls}`},"seconds":${seconds}`,
    LOGIN_ACCEPTED,
  )
}

function sessionMembers({ session, listener, protocol, client }: SessionFields): string {
  return `"session":${quoted(session)},"listener":${quoted(listener)},"protocol":"${protocol}","client":${quoted(client)}`
}

/** A connection without a login (SMTP, LMTP) reached its destination and is bridged. */
export function passedThrough(
  log: Logger,
  fields: SessionFields & { destination: string; tls: boolean; seconds: number },
): void {
  log.info({ event: 'passed_through', ...fields }, 'connection passed through')
}

/** A request on an http listener is over; `status`: what the client was told; `code`: why it could not be carried out, or not to its end. */
export function requestDone(
  log: Logger,
  fields: SessionFields & { account: string; destination?: string; method: string; status?: number; code?: string; bytes_in: number; bytes_out: number; seconds: number },
): void {
  log.debug({ event: 'request', ...fields }, 'request done')
}

export interface RefusedFields extends SessionFields {
  /** Absent when the client never named one that could be read. */
  readonly account?: string
  readonly destination?: string
  readonly mechanism?: Mechanism
  /** `backend`: the backend said no; `identifier`: the name can be no account's, and it never got there. */
  readonly reason: 'backend' | 'identifier'
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
  readonly account?: string | undefined
  readonly destination?: string | undefined
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
  log.info({ event: 'session_closed', ...fields }, SESSION_CLOSED)
}

/** The same line at less cost, for an end without an error. */
export function sessionClosedOften(lines: FrequentLines, fields: Omit<ClosedFields, 'error'>): void {
  const { account, destination, bytes_in: bytesIn, bytes_out: bytesOut, seconds, reason } = fields
  lines.write(
    `"event":"session_closed",${sessionMembers(fields)}${account === undefined ? '' : `,"account":${quoted(account)}`}` +
      `${destination === undefined ? '' : `,"destination":${quoted(destination)}`},"bytes_in":${bytesIn},"bytes_out":${bytesOut}` +
      `,"seconds":${seconds},"reason":${quoted(reason)}`,
    SESSION_CLOSED,
  )
}

/**
 * The end of a connection that never logged in, or of one of HTTP, on which there is no login: `requests` says how many came.
 * At `debug`: scanners would fill the log.
 */
export function connectionClosed(log: Logger, fields: SessionFields & { requests?: number; seconds: number; reason: string }): void {
  log.debug({ event: 'connection_closed', ...fields }, fields.requests === undefined ? 'connection closed before login' : 'connection closed')
}

/** A backend doesn't take what was to tell it who the client is: it sees the proxy's address. Once per destination, protocol and worker. */
export function clientAddressLost(log: Logger, fields: { destination: string; protocol: ProtocolName }): void {
  log.warn({ event: 'client_address_lost', ...fields }, "a destination does not learn its clients' addresses")
}

/** Connections were turned away before they became a session. `times`: how many since the last such line; `client`: the latest. */
export function connectionRefused(
  log: Logger,
  fields: { listener: string; protocol: ProtocolName; client: string; reason: string; times: number; error?: SignalboxError },
): void {
  log.warn({ event: 'connection_refused', ...fields }, 'connection refused')
}

/** The system could not accept a connection on a listening socket (descriptors, memory); the listener goes on. */
export function acceptFailed(log: Logger, fields: { listener: string; protocol: ProtocolName; error: Error }): void {
  log.error({ event: 'accept_failed', ...fields }, 'a connection could not be accepted')
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

/** A bus that was derived from the source's URL refused us: this instance goes on alone. */
export function busRefused(log: Logger, fields: { error: SignalboxError }): void {
  log.warn({ event: 'bus_refused', code: fields.error.code, ...fields }, 'the bus refused this instance, which goes on alone')
}

/** Frames may have been missed: everything cached is looked up again. `times`: how often since the last such line. */
export function busDoubt(log: Logger, fields: { reason: string; times: number }): void {
  log.warn({ event: 'bus_doubt', ...fields }, 'changes of peers may have been missed')
}

/** Kicks may have been missed: one worker's sessions were compared with the source. */
export function sessionsReviewed(log: Logger, fields: { accounts: number; ended: number; unknown: number }): void {
  log.info({ event: 'sessions_reviewed', ...fields }, 'sessions were compared with the source')
}

/** Another live instance uses this one's name. */
export function busTwin(log: Logger, fields: { times: number }): void {
  log.error({ event: 'bus_twin', ...fields }, 'another instance uses the name of this one')
}

/** Frames on our channel could not be believed: another secret, or none. The names are those that they bear. */
export function busStrangers(log: Logger, fields: { names: readonly string[]; reason: string; times: number }): void {
  log.warn({ event: 'bus_strangers', ...fields }, 'frames on the bus could not be believed')
}

/** A frame could not be sent or obeyed. */
export function busFailed(log: Logger, fields: { what: string; error: SignalboxError; times: number }): void {
  log.warn({ event: 'bus_failed', code: fields.error.code, ...fields }, 'a frame of the bus could not be sent or obeyed')
}

/** A peer said that it leaves. */
export function peerLeft(log: Logger, fields: { peer: string }): void {
  log.info({ event: 'peer_left', ...fields }, 'a peer left')
}

/** A peer's configuration differs in what must agree. */
export function peerDiffers(log: Logger, fields: { peer: string }): void {
  log.warn({ event: 'peer_differs', ...fields }, 'the configuration of a peer differs in what must agree')
}

export function peerJoined(log: Logger, fields: { peer: string }): void {
  log.info({ event: 'peer_joined', ...fields }, 'a peer joined')
}

export function peerLost(log: Logger, fields: { peer: string; reason: string }): void {
  log.warn({ event: 'peer_lost', ...fields }, 'a peer is lost')
}

export function destinationDown(
  log: Logger,
  fields: { destination: string; failures: number; sources: number; seconds: number; reason: string },
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

/** A worker's event loop has not turned for `seconds`; it is killed and replaced. */
export function workerStalled(log: Logger, fields: { worker: number; pid: number; seconds: number }): void {
  log.error({ event: 'worker_stalled', ...fields }, 'a worker stands still and is replaced')
}

/** A worker's process could not begin to serve; it ends. */
export function workerFailed(log: Logger, fields: { error: SignalboxError }): void {
  log.fatal({ event: 'worker_failed', ...fields }, 'a worker cannot begin')
}

/** Something was thrown that nobody catches: a mistake of ours, after which the worker's process ends. */
export function workerCrashed(log: Logger, fields: { error: unknown }): void {
  log.fatal({ event: 'worker_crashed', ...fields }, 'a worker ends because of a mistake of ours')
}

/** The same in the primary: the whole instance ends. */
export function primaryCrashed(log: Logger, fields: { error: unknown }): void {
  log.fatal({ event: 'primary_crashed', ...fields }, 'the instance ends because of a mistake of ours')
}

/** An actor threw while it worked on a message of type `message`; it goes on with the next one. */
export function actorCrashed(log: Logger, fields: { actor: string; message: string; error: SignalboxError }): void {
  log.error({ event: 'actor_crashed', ...fields }, 'an actor crashed')
}

/** What came over the channel between primary and worker could not be read. `worker`: the one it came from, in the primary. */
export function frameInvalid(log: Logger, fields: { worker?: number; error: SignalboxError }): void {
  log.error({ event: 'frame_invalid', ...fields }, 'an unusable frame came from another process of this instance')
}

export interface ReadyFields {
  readonly version: string
  readonly instance: string
  readonly workers: number
  /** One text each: name, protocol, tls, addresses. */
  readonly listeners: readonly string[]
  /** Address of the management API; absent without one. */
  readonly management?: string
}

/** Every listener takes connections. */
export function instanceReady(log: Logger, fields: ReadyFields): void {
  log.info({ event: 'ready', ...fields }, 'ready')
}

/** The instance was asked to end: no more connections, `sessions` may go on for `grace_seconds`. */
export function instanceDraining(log: Logger, fields: { grace_seconds: number; sessions: number }): void {
  log.info({ event: 'draining', ...fields }, 'shutting down')
}

/** `unfinished`: what was not closed in time and ends with the process. */
export function instanceStopped(log: Logger, unfinished: readonly string[] = []): void {
  const whole = unfinished.length === 0
  log[whole ? 'info' : 'warn']({ event: 'stopped', ...(whole ? {} : { unfinished }) }, 'stopped')
}

/** The instance could not start, or can't go on; its process ends with status 1, or 2 for a mistake in configuration or mappings. */
export function instanceFailed(log: Logger, fields: { error: SignalboxError }): void {
  log.fatal({ event: 'failed', code: fields.error.code, ...fields }, 'the instance cannot go on')
}

/** The configuration is valid, but holds something that its author may not have meant. */
export function configWarning(log: Logger, fields: { warning: string }): void {
  log.warn({ event: 'config_warning', ...fields }, 'the configuration has a point to look at')
}

/** The limit of file descriptors leaves none beyond those that are open and the reserve: everybody is told that it is too busy. */
export function descriptorsExhausted(log: Logger, fields: { limit: number; open: number; reserve: number }): void {
  log.error({ event: 'descriptors_exhausted', ...fields }, 'nobody can connect: too few file descriptors, raise the limit')
}

/** Another configuration is in force. `restart`: keys that differ and need a restart. */
export function configReloaded(
  log: Logger,
  fields: {
    by: 'signal' | 'management'
    changed: readonly string[]
    restart: readonly string[]
    workers: number
    workers_expected: number
    seconds: number
  },
): void {
  log.info({ event: 'config_reloaded', ...fields }, 'the configuration was read again')
}

/** The configuration was read again and can't be used: everything stays as it was. */
export function configRefused(log: Logger, fields: { by: 'signal' | 'management'; count: number; mistakes: readonly string[] }): void {
  log.error({ event: 'config_refused', ...fields }, 'the configuration was read again and refused, the old one stays')
}

/** A reload that was asked for by a signal failed for another reason than a mistake in the configuration; nothing has changed. */
export function reloadFailed(log: Logger, fields: { error: SignalboxError }): void {
  log.error({ event: 'reload_failed', code: fields.error.code, ...fields }, 'the configuration could not be read again')
}

/** The workers are being replaced, one by one. */
export function rollBegun(log: Logger, fields: { by: 'signal' | 'reload'; workers: number; grace_seconds: number }): void {
  log.info({ event: 'roll_begun', ...fields }, 'the workers are being replaced')
}

/** Every worker was replaced; sessions of the old ones may go on. */
export function rolled(log: Logger, fields: { workers: number; seconds: number }): void {
  log.info({ event: 'rolled', ...fields }, 'every worker was replaced')
}

/** A new worker could not begin: the old ones that are left stay. */
export function rollFailed(log: Logger, fields: { reason: string }): void {
  log.error({ event: 'roll_failed', ...fields }, 'the workers were not all replaced')
}

/** A worker takes no more connections; its sessions may go on for a while. */
export function workerDraining(log: Logger, fields: { worker: number; pid: number; sessions: number; grace_seconds: number }): void {
  log.info({ event: 'worker_draining', ...fields }, 'a worker takes no more connections')
}

/** The service manager did not take a message: it may think that the instance never started, or stands still. */
export function notifyFailed(log: EventLog, fields: { message: string; error: unknown; times: number }): void {
  log.warn({ event: 'notify_failed', ...fields }, 'the service manager could not be told')
}

/** Node.js warned of something in this process: a leak that it suspects, a deprecation, an experiment. */
export function processWarning(log: Logger, fields: { error: Error }): void {
  log.warn({ event: 'process_warning', ...fields }, 'the runtime warned of something')
}

/** A signal came that means nothing here. */
export function signalIgnored(log: Logger, fields: { signal: string }): void {
  log.warn({ event: 'signal_ignored', ...fields }, 'a signal that means nothing now was ignored')
}

/** No certificate is configured: one was made for this run, which no client will trust. */
export function selfSigned(log: Logger): void {
  log.warn({ event: 'self_signed' }, 'no certificate is configured: a self-signed one was made')
}

/** A certificate's files were replaced: handshakes from now on get the new one. `valid_until`: ISO time. */
export function certificateRenewed(log: Logger, fields: { certificate: string; valid_until: string }): void {
  log.info({ event: 'certificate_renewed', ...fields }, 'a certificate was replaced')
}

/** A certificate's files have changed and can't be used: the old one stays. Once for each state of the files. */
export function certificateBroken(log: Logger, fields: { certificate: string; reason: string }): void {
  log.error({ event: 'certificate_broken', ...fields }, 'a changed certificate cannot be used, the old one stays')
}

/** Session tickets are sealed with other keys from now on: from ticket_key_file, or made here. */
export function ticketKeysRenewed(log: Logger, fields: { origin: 'file' | 'made' }): void {
  log.info({ event: 'ticket_keys_renewed', ...fields }, 'the keys of session tickets were replaced')
}

/** ticket_key_file has changed and can't be used: the old keys stay. */
export function ticketKeysBroken(log: Logger, fields: { reason: string }): void {
  log.error({ event: 'ticket_keys_broken', ...fields }, 'the changed keys of session tickets cannot be used, the old ones stay')
}

/** A change is not in force in a worker of this instance (`worker`), or nobody knows where (a change that was watched). */
export function changeUnconfirmed(log: Logger, fields: { worker?: number; change: string; error: unknown; times?: number }): void {
  log.error({ event: 'unconfirmed', ...fields }, 'a change was not confirmed in time')
}

/** The mapping file was read, and has something in it that somebody may not have meant. */
export function mappingWarning(log: EventLog, fields: { warning: string }): void {
  log.warn({ event: 'mapping_warning', ...fields }, 'the mapping file has a point to look at')
}

/** Somebody else changed the source, and the routes concerned are void. `accounts`: how many, or `all`. */
export function mappingChanged(log: Logger, fields: { accounts: number | 'all' }): void {
  log.debug({ event: 'mapping_changed', ...fields }, 'the mapping source was changed')
}

/** Changes may have been missed: every cached route is looked up again before it is used. */
export function mappingDoubt(log: Logger, fields: { reason: string }): void {
  log.warn({ event: 'mapping_doubt', ...fields }, 'changes of the mapping source may have been missed')
}

/** What the source holds for an account can't be a destination's name; the login got the temporary failure. Once a minute per account. */
export function mappingUnreadable(log: EventLog, fields: { account?: string; reason: string }): void {
  log.warn({ event: 'mapping_unreadable', ...fields }, 'a mapping cannot be read')
}

/** The watch over the source can't be set up: what others change there is seen when a cached route expires. */
export function watchUnavailable(log: EventLog, fields: { reason: string }): void {
  log.warn({ event: 'watch_unavailable', ...fields }, 'changes in the mapping source are not seen at once')
}

/** The watch over the source was lost; it is set up again. */
export function watchLost(log: EventLog, fields: { reason: string }): void {
  log.warn({ event: 'watch_lost', ...fields }, 'the watch over the mapping source was lost')
}

export function watchUp(log: EventLog): void {
  log.info({ event: 'watch_up' }, 'changes in the mapping source are seen at once again')
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
