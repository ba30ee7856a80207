/**
 * TLS towards the destinations: one SecureContext per set of trust and client certificate (a context per connection
 * would cost more than the rest of the handshake), verification, pins, and the sessions that make the next handshake
 * cheap.
 *
 * What is demanded of a certificate: with a pin, that it is exactly the pinned one, and nothing else (neither chain nor
 * name nor dates: the operator has looked at it; that is also how a self-signed one is trusted). Without a pin, a chain
 * to the configured CA or the system's store and the expected name. With tls_allow_invalid_certs nothing, unless there
 * is a pin.
 *
 * A resumed handshake shows no certificate, so a session is only as good as the full handshake that it came from.
 * Therefore: sessions are kept per destination, port and whole TLS configuration; only from handshakes that passed all
 * checks; no longer than TLS_SESSION_MS after the full handshake; and a destination whose configuration changes in
 * anything that TLS depends on begins with none. The newest ticket is used first and once (RFC 8446 §C.4); only the
 * last one left is used again, since a server that hands out none while resuming would otherwise get a full handshake
 * for every burst of logins.
 */
import { createHash } from 'node:crypto'
import { isIP, type Socket } from 'node:net'
import {
  connect,
  createSecureContext,
  type ConnectionOptions,
  type SecureContext,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls'
import { authorities } from '../authorities.ts'
import type { Clock } from '../clock.ts'
import type { DestinationConfig } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import { TLS_SESSION_MS, TLS_SESSIONS } from '../limits.ts'

/**
 * Key exchange: no post-quantum hybrid. OpenSSL would make a key of 1.2 KB for each handshake, resumed ones included,
 * which costs a quarter of it on both sides, for legs that mostly run inside one network. Clients may use it towards us.
 */
const GROUPS = 'X25519:P-256:P-384:P-521'

interface KeptSession {
  readonly data: Buffer
  /** When the certificate behind it was last looked at. */
  readonly verifiedAt: number
}

/** A destination's TLS configuration, ready for use, with the sessions that were made under it. */
interface Profile {
  /** Everything that TLS depends on; another one is another profile. */
  readonly fingerprint: string
  readonly options: ConnectionOptions
  readonly pin: string | undefined
  /** By port; the newest at the end. */
  readonly sessions: Map<number, KeptSession[]>
}

/** A handshake that was begun. */
export interface Handshake {
  readonly socket: TLSSocket
  /**
   * To be called on 'secureConnect', before a byte is written or read: checks the pin and keeps the session.
   * Undefined: all is well; else BACKEND_CERTIFICATE, and the socket must be destroyed.
   */
  verify(): SignalboxError | undefined
  /** What an 'error' (or end) during the handshake means: BACKEND_CERTIFICATE or BACKEND_TLS. */
  failure(error: Error | undefined): SignalboxError
}

export class BackendTls {
  readonly #clock: Clock
  readonly #contexts = new Map<string, SecureContext>()
  #profiles = new Map<string, Profile>()
  readonly #byConfig = new WeakMap<DestinationConfig, Profile>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Begins the client's side of a handshake over a connected socket from which nothing may be left unread.
   *
   * @throws SignalboxError CONFIG_INVALID when OpenSSL doesn't take the CA or the client certificate
   */
  begin(socket: Socket, destination: DestinationConfig, port: number): Handshake {
    const profile = this.#profileOf(destination)
    const offered = this.#take(profile, port)
    const options: ConnectionOptions = { ...profile.options, socket }
    if (offered !== undefined) options.session = offered.data
    const secured = connect(options)
    return {
      socket: secured,
      verify: () => this.#verify(secured, profile, port, offered),
      failure: (error) => failureOf(secured, error, destination),
    }
  }

  /**
   * The destinations from now on, at start and at a reload: makes their contexts ready (the system's store alone takes a
   * noticeable time, which no login should pay) and drops what belonged to destinations that are gone or whose TLS
   * configuration changed.
   *
   * @throws SignalboxError CONFIG_INVALID as `begin`; what was in force stays in force then
   */
  replace(destinations: Iterable<DestinationConfig>): void {
    const profiles = new Map<string, Profile>()
    const contexts = new Set<string>()
    for (const destination of destinations) {
      if (!Object.values(destination.legs).some((leg) => leg.tls !== 'plain')) continue
      this.#contextOf(destination)
      contexts.add(contextKey(destination))
      const profile = this.#profiles.get(destination.name)
      if (profile?.fingerprint === fingerprintOf(destination)) profiles.set(destination.name, profile)
    }
    this.#profiles = profiles
    for (const key of this.#contexts.keys()) if (!contexts.has(key)) this.#contexts.delete(key)
  }

  /**
   * Makes the contexts of these destinations without using them yet.
   *
   * @throws SignalboxError CONFIG_INVALID as `begin`
   */
  check(destinations: Iterable<DestinationConfig>): void {
    for (const destination of destinations) {
      if (Object.values(destination.legs).some((leg) => leg.tls !== 'plain')) this.#contextOf(destination)
    }
  }

  #profileOf(destination: DestinationConfig): Profile {
    const known = this.#byConfig.get(destination)
    if (known !== undefined) return known
    const fingerprint = fingerprintOf(destination)
    let profile = this.#profiles.get(destination.name)
    if (profile?.fingerprint !== fingerprint) {
      profile = {
        fingerprint,
        options: this.#optionsOf(destination),
        pin: destination.pinnedCertSha256,
        sessions: new Map(),
      }
      this.#profiles.set(destination.name, profile)
    }
    this.#byConfig.set(destination, profile)
    return profile
  }

  #optionsOf(destination: DestinationConfig): ConnectionOptions {
    const name = destination.tlsServerName
    const options: ConnectionOptions = {
      secureContext: this.#contextOf(destination),
      // The name that the certificate is checked against; an address must not be sent as SNI (RFC 6066 §3).
      ...(isIP(name) === 0 ? { servername: name } : { host: name }),
      rejectUnauthorized: destination.pinnedCertSha256 === undefined && !destination.allowInvalidCerts,
    }
    return options
  }

  #contextOf(destination: DestinationConfig): SecureContext {
    const { name, ca, clientCert, clientKey } = destination
    const key = contextKey(destination)
    let context = this.#contexts.get(key)
    if (context === undefined) {
      try {
        const options: SecureContextOptions = {
          minVersion: 'TLSv1.2',
          ecdhCurve: GROUPS,
          ca: authorities(ca),
        }
        if (clientCert !== undefined && clientKey !== undefined) {
          Object.assign(options, { cert: clientCert, key: clientKey })
        }
        context = createSecureContext(options)
      } catch (thrown) {
        const message = `destination "${name}": its CA or client certificate cannot be used`
        throw new SignalboxError('CONFIG_INVALID', message, { cause: thrown })
      }
      this.#contexts.set(key, context)
    }
    return context
  }

  #verify(
    socket: TLSSocket,
    profile: Profile,
    port: number,
    offered: KeptSession | undefined,
  ): SignalboxError | undefined {
    const resumed = socket.isSessionReused()
    if (resumed && offered === undefined) {
      return new SignalboxError('BACKEND_CERTIFICATE', 'resumed a session that was not offered')
    }
    if (!resumed && profile.pin !== undefined) {
      const certificate = socket.getPeerX509Certificate()
      const found = certificate === undefined ? 'none' : createHash('sha256').update(certificate.raw).digest('hex')
      if (found !== profile.pin) {
        return new SignalboxError('BACKEND_CERTIFICATE', `certificate ${found} is not the pinned one`)
      }
    }
    const verifiedAt = resumed && offered !== undefined ? offered.verifiedAt : this.#clock.now()
    // The ticket was refused: the others of its time are no better.
    if (!resumed && offered !== undefined) profile.sessions.delete(port)
    this.#keepSessions(socket, profile, port, verifiedAt)
    return undefined
  }

  /** Tickets of TLS 1.3 come after the handshake, those of TLS 1.2 with it. */
  #keepSessions(socket: TLSSocket, profile: Profile, port: number, verifiedAt: number): void {
    if (socket.getProtocol() === 'TLSv1.3') {
      // Each ticket costs a call and a copy: a store that is full enough wants none.
      if ((profile.sessions.get(port)?.length ?? 0) >= TLS_SESSIONS) return
      socket.on('session', (data: Buffer) => keep(profile, port, { data, verifiedAt }))
    } else if (!socket.isSessionReused()) {
      const data = socket.getSession()
      if (data !== undefined) keep(profile, port, { data, verifiedAt })
    }
  }

  #take(profile: Profile, port: number): KeptSession | undefined {
    const kept = profile.sessions.get(port) ?? []
    const oldest = this.#clock.now() - TLS_SESSION_MS
    for (let i = kept.length - 1; i >= 0; i--) {
      const newest = kept[i]
      const fresh = newest !== undefined && newest.verifiedAt > oldest
      if (!fresh || i > 0) kept.length = i
      if (fresh) return newest
    }
    return undefined
  }
}

function keep(profile: Profile, port: number, session: KeptSession): void {
  const kept = profile.sessions.get(port)
  if (kept === undefined) {
    profile.sessions.set(port, [session])
    return
  }
  // The oldest one leaves: it would be the first to expire at the server.
  if (kept.length >= TLS_SESSIONS) kept.shift()
  kept.push(session)
}

function failureOf(socket: TLSSocket, error: Error | undefined, { name }: DestinationConfig): SignalboxError {
  if (error === undefined) return new SignalboxError('BACKEND_TLS', `destination "${name}" closed during the handshake`)
  // Node sets this before it destroys the socket for what it found in the certificate, and never otherwise.
  const code = isAbsent(socket.authorizationError) ? 'BACKEND_TLS' : 'BACKEND_CERTIFICATE'
  return new SignalboxError(code, `destination "${name}": ${error.message}`, { cause: error })
}

/** Typed as an Error, but null before the verification and a string after it. */
function isAbsent(value: unknown): boolean {
  return value === null || value === undefined
}

/** What a SecureContext is made of; destinations that agree in it share one. */
function contextKey({ ca, clientCert, clientKey }: DestinationConfig): string {
  return hashOf([ca, clientCert, clientKey])
}

function fingerprintOf(destination: DestinationConfig): string {
  const { host, tlsServerName, pinnedCertSha256, allowInvalidCerts, ca, clientCert, clientKey } = destination
  return hashOf([host, tlsServerName, pinnedCertSha256, String(allowInvalidCerts), ca, clientCert, clientKey])
}

/** Of texts that may be missing; a hash, because one of them is a private key. */
function hashOf(parts: readonly (string | undefined)[]): string {
  return createHash('sha256')
    .update(JSON.stringify(parts.map((part) => part ?? null)))
    .digest('hex')
}
