/**
 * What a mail protocol is to a session. A protocol's folder holds two dialogues as plain state machines without a
 * socket: the *preauth* dialogue with the client (up to a login) and the *backend* dialogue (greeting, STARTTLS,
 * replay). Both are fed with bytes and speak through a port; the session owns sockets, TLS, deadlines and the order
 * of things. Nothing here awaits, so every dialogue can be tested byte by byte. What is bridged whole has no dialogue.
 *
 * Adding a protocol: a folder with an object that implements LoginProtocol, and a line in registry.ts.
 */
import type { CapabilitiesConfig, DialogueProtocol, ListenerConfig, Mechanism, ProtocolName } from '../config/config.ts'
import type { SignalboxError } from '../errors.ts'

/** Name and secret as the client presented them. Lives between preauth and replay only. */
export type Credentials =
  | {
      readonly kind: 'password'
      /** The identity to act as; empty when the client named none. */
      readonly authzid: string
      /** The login name. */
      readonly authcid: string
      /** Bytes as sent, unescaped; no NUL, CR or LF. */
      readonly password: Buffer
    }
  | {
      readonly kind: 'token'
      readonly mechanism: 'OAUTHBEARER' | 'XOAUTH2'
      /** The client's whole message, decoded from base64. */
      readonly message: Buffer
      /** `a=` of the GS2 header or `user=`; undefined when the client named none. */
      readonly user: string | undefined
      /** The bearer token without its scheme. */
      readonly token: string
    }

/** What a dialogue learned on the way that the replay or the forwarding may need. Fields a protocol lacks are absent. */
export interface DialogueFacts {
  /** IMAP: the login command's tag. */
  readonly tag?: string
  /** IMAP: the client asked CAPABILITY before it logged in. */
  readonly askedCapability?: boolean
  /** SMTP: the name given in EHLO or HELO, and whether it was EHLO. */
  readonly heloName?: string
  readonly esmtp?: boolean
  /** POP3: UTF8 was asked for and answered. */
  readonly utf8?: boolean
  /** IMAP: x-proxy-ttl announced by ID. */
  readonly announcedTtl?: number
}

/** What the preauth stage gives: one attempt to log in. */
export interface Login {
  /** As the client used it; IMAP LOGIN and POP3 USER/PASS count as PLAIN. */
  readonly mechanism: Mechanism
  readonly credentials: Credentials
  readonly facts: DialogueFacts
}

/** A login that the backend turned down: the backend's own words, as protocol-specific text without tag and CRLF. */
export interface Refusal {
  /**
   * What follows the client's tag or stands for the whole answer, e.g. `NO [AUTHENTICATIONFAILED] Invalid password`
   * (IMAP), `-ERR [AUTH] …` (POP3). Undefined: the generic refusal (hide_auth_errors).
   */
  readonly text: Buffer | undefined
  /**
   * The backend could not decide for the moment (IMAP `NO [UNAVAILABLE]`, RFC 5530): not the client's failure, so it
   * is answered with `text` at once and no attempt is counted.
   */
  readonly temporary?: boolean
}

/** Where the preauth dialogue speaks to. All calls are made synchronously from within the dialogue's own methods. */
export interface PreauthPort {
  /** Bytes for the client. */
  write(bytes: Buffer): void
  /** The client asked for STARTTLS and was told OK: the session upgrades and then calls `secured`. */
  startTls(): void
  /** A login: the dialogue is silent (and keeps what it is fed) until accepted, refused, unavailable or challenge. */
  login(login: Login): void
  /** The client's answer to a relayed challenge, decoded from base64; undefined: it cancelled with `*`. */
  respond(answer: Buffer | undefined): void
  /**
   * An attempt failed. The session writes `answer` after the penalty delay, then closes when `final`, else calls
   * `resume`. Until then the dialogue keeps what it is fed.
   */
  deny(answer: Buffer, final: boolean): void
  /** The dialogue is over: `last` (may be empty) is written, then the connection is closed. `error` undefined: a polite end. */
  close(last: Buffer, error: SignalboxError | undefined): void
}

/** The dialogue with a client before its login. */
export interface Preauth {
  /** Writes the greeting. Called once, when the client leg is ready (after the handshake with implicit TLS). */
  start(): void
  /** Feeds bytes from the client, in any pieces. Keeps (bounded) what comes while it waits for the session. */
  receive(chunk: Buffer): void
  /** TLS is up after startTls. All dialogue state starts afresh. */
  secured(): void
  /** The penalty delay after `deny` is over: go on with what is buffered. */
  resume(): void
  /**
   * The backend took the login. Returns the bytes that the client sent behind its login command, to go to the backend.
   * Throws CLIENT_CLOSED when the dialogue has ended meanwhile (`close` was called).
   */
  accepted(): Buffer
  /** The backend turned the login down: leads to port.deny with the right words under the client's own tag. */
  refused(refusal: Refusal): void
  /**
   * The login could not be tried: the temporary failure (never an authentication error). Leads to port.deny-free write, and a
   * close where the dialogue can't go on. `limit`: the account has as many sessions as it may; where the protocol has words for that.
   */
  unavailable(reason?: 'limit'): void
  /** A challenge of the backend (decoded) to be passed on to the client; leads to port.respond. */
  challenge(challenge: Buffer): void
  /** The preauth time is over or the instance is closing: says so in the protocol's words through port.close. */
  expire(reason: 'timeout' | 'shutdown'): void
  /** Bytes held at the moment, for the pre-auth memory bound. */
  readonly held: number
}

/** Where the backend dialogue speaks to. */
export interface BackendPort {
  /** Bytes for the backend. */
  write(bytes: Buffer): void
  /** The backend agreed to STARTTLS: the session upgrades, verifies, then calls `secured`. */
  startTls(): void
  /** Greeting, TLS and capabilities are done: ready for `replay`. */
  announced(): void
  /** The login was taken. `bytes` go to the client as they are (final line under the client's tag, all that came with it). */
  accepted(bytes: Buffer): void
  refused(refusal: Refusal): void
  /** A challenge (decoded) that the client must answer itself (OAUTHBEARER/XOAUTH2 failures). */
  challenge(challenge: Buffer): void
  /** `announceClient` was given and the backend can't be told: it will see the proxy's address or none. The login goes on. */
  addressLost(): void
  /** Not as it should be: codes BACKEND_GREETING, BACKEND_PROTOCOL, BACKEND_INJECTION, BACKEND_NO_MECHANISM, BACKEND_CLOSED … */
  trouble(error: SignalboxError): void
}

/** The dialogue with a backend: greeting, STARTTLS, replay. */
export interface BackendDialogue {
  /** Called when bytes may flow (after the handshake with implicit TLS). */
  start(): void
  /** Feeds bytes from the backend, in any pieces. */
  receive(chunk: Buffer): void
  /** TLS is up after startTls. */
  secured(): void
  /** Repeats the login there. Called once, after announced. */
  replay(login: Login): void
  /** The client's answer to the relayed challenge. */
  respond(answer: Buffer | undefined): void
  /** What the backend said it can do, one entry a capability with its arguments, as written; empty before `announced`. */
  readonly capabilities: readonly string[]
}

export interface BackendOptions {
  /** STARTTLS must be done (leg tls = "starttls"). */
  readonly startTls: boolean
  /** Whether refusals are answered with the generic words. */
  readonly hideAuthErrors: boolean
  /** Bytes of the dialogue's own commands that tell the backend who the client is (IMAP ID, XCLIENT); undefined: forwarding none. */
  readonly announceClient: ClientAnnouncement | undefined
  /**
   * A PROXY header went ahead of everything in the clear. A backend that expects none takes it for commands, and its answers to
   * them may come at any time: no login before it has answered one of ours.
   */
  readonly headerInClear: boolean
  /** What the client's dialogue learned up to the login that is to be repeated. */
  readonly facts: DialogueFacts
}

/** Facts about the client for PROXY headers, XCLIENT and IMAP ID. Addresses are those of an inbound PROXY header when there was one. */
export interface ClientAnnouncement {
  readonly clientAddress: string
  readonly clientPort: number
  readonly localAddress: string
  readonly localPort: number
  readonly session: string
  /** What is left of the forwarding's time-to-live for the backend. */
  readonly ttl: number
  /** The TLS version of the client's leg as OpenSSL names it ("TLSv1.3"); undefined: no TLS. */
  readonly clientTls: string | undefined
}

/** What a protocol needs to make its fixed answers once per listener. */
export interface ListenerProfile {
  readonly listener: ListenerConfig
  readonly capabilities: CapabilitiesConfig
  /** server.hostname; undefined: the connection's local address. */
  readonly hostname: string | undefined
  /** limits.preauth_buffer. */
  readonly preauthBuffer: number
}

/** What is known of one client connection when its dialogue begins. */
export interface ClientConnection {
  /** TLS is up already. */
  readonly secure: boolean
  readonly localAddress: string
  readonly clientAddress: string
  /** STARTTLS may be offered (listener tls = "starttls" and not yet secure). */
  readonly session: string
}

/** A listener's dialogue factory: fixed answers are Buffers made once, in `Protocol.prepare`. */
export interface PreauthFactory {
  open(port: PreauthPort, connection: ClientConnection): Preauth
  /** The protocol's "too busy" line, or an empty buffer where none exists. */
  readonly tooBusy: Buffer
}

/**
 * What a protocol's clients are told before a login, held against what a backend says it can do. Names are compared in
 * upper case; what is the proxy's own to say (TLS, mechanisms) is not among them.
 */
export interface Claims {
  /** The configuration's key for them. */
  readonly key: string
  /** What the configuration tells clients that the backend behind it must be able to do. */
  claimed(capabilities: CapabilitiesConfig): readonly string[]
  /** The same of a backend, as written there. */
  offered(capabilities: readonly string[]): readonly string[]
  /** The mechanisms that a backend offers, in upper case; `password` stands for a login command of the protocol's own. */
  mechanisms(capabilities: readonly string[]): readonly string[]
}

/** A protocol in which the client logs in with the proxy: a dialogue on either leg, then the bridge. */
export interface LoginProtocol {
  readonly kind: 'login'
  readonly name: DialogueProtocol
  /** Makes the fixed answers of a listener. */
  prepare(profile: ListenerProfile): PreauthFactory
  /** Opens the dialogue with a backend. */
  backend(port: BackendPort, options: BackendOptions): BackendDialogue
  readonly claims: Claims
}

/** A protocol that is bridged whole and unread, to one destination for all: no login, no account. */
export interface PassthroughProtocol {
  readonly kind: 'passthrough'
  readonly name: ProtocolName
  /** What the client is told, before the close, when the listener is full. */
  readonly tooBusy: Buffer
  /** … when the destination can't be reached. */
  readonly unavailable: Buffer
}

/** A protocol whose requests are routed one by one: a backend's connection carries requests of many accounts, and no login. */
export interface RequestProtocol {
  readonly kind: 'request'
  readonly name: ProtocolName
}

export type Protocol = LoginProtocol | PassthroughProtocol
